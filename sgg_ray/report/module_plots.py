"""Which modules a training's gradients are large in, and where they agree: a heat map over modules and steps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.report.plots import new_figure, save_figure

if TYPE_CHECKING:
    import pandas as pd

_KEY = re.compile(r"^module/(.+)/(norm|direction_cosine|alignment_cosine)$")
_TITLES = {"norm": "‖g‖", "direction_cosine": "cos(g, r)", "alignment_cosine": "cos(g, ĝ_S)"}


def module_table(events: Sequence[Mapping[str, Any]], run: str = "guided") -> pd.DataFrame:
    """One row a step and module: ``step``, ``module``, ``norm`` and the cosines; no rows where nothing was viewed.

    Args:
        events: those of the run folder; a step that is there twice, after a resume, counts once.
        run: whose; events without the key ``run`` belong to it.
    """
    import pandas as pd

    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for event in events:
        if "step" not in event or event.get("run", run) != run:
            continue
        for key, value in event.items():
            if found := _KEY.match(key):
                row = rows.setdefault((event["step"], found[1]), {"step": event["step"], "module": found[1]})
                row[found[2]] = value
    return pd.DataFrame(list(rows.values()), columns=pd.Index(["step", "module", *_TITLES]))


def plot_modules(table: pd.DataFrame, path: str | Path) -> Path | None:
    """A panel for each measure of :func:`module_table`; draws nothing and returns None without rows."""
    if table.empty:
        return None
    modules = sorted(table.module.unique(), key=_order)
    steps = sorted(table.step.unique())
    measures = [name for name in _TITLES if np.isfinite(table[name].astype(float)).any()]
    figure = new_figure(4.4 * len(measures) + 1.0, 1.4 + 0.28 * max(4, len(modules)))
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, measures):
        values = table.pivot_table(index="module", columns="step", values=name, aggfunc="last", dropna=False)
        values = values.reindex(index=modules, columns=steps).to_numpy(dtype=float)
        cosine = name != "norm"
        if not cosine:
            values = np.log10(np.where(values > 0, values, np.nan))
        image = axis.imshow(
            np.ma.masked_invalid(values),
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu" if cosine else "viridis",
            **({"vmin": -1.0, "vmax": 1.0} if cosine else {}),
        )
        axis.set_facecolor("#dddddd")
        places = np.unique(np.linspace(0, len(steps) - 1, min(6, len(steps))).round().astype(int))
        axis.set_xticks(places, [str(steps[place]) for place in places])
        axis.set_yticks(range(len(modules)), modules)
        axis.set_xlabel("step")
        axis.set_title(_TITLES[name] if cosine else "log₁₀ ‖g‖", fontsize=11)
        figure.colorbar(image, ax=axis)
    return save_figure(figure, path)


def _order(module: str) -> tuple[int, str, int]:
    """Embeddings first, then numbered modules in their order, then the rest."""
    name, _, number = module.rpartition(".")
    if module == "embeddings":
        return 0, "", 0
    return (1 if name != "heads" else 2, name, int(number)) if number.isdigit() else (3, module, 0)
