"""Reads the cells that language_models.py wrote, or what was kept of them as CSV."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

KEPT = "language-models-{}.csv"
SPLIT = ["task", "shots", "seed"]
# Training losses between which gradients are compared; of two trainings one may be through them sooner.
BINS = ((0.5, 1.0), (0.2, 0.5), (0.05, 0.2))
OTHERS = ("distance", "sharpness", "shot_loss", "hvp_ratio", "alignment", "alignment unfitted")


def measure_names(frame: pd.DataFrame) -> list[str]:
    """Columns that say how a training went."""
    return [name for name in frame if name.startswith(("cosine ", "variation ")) or name in OTHERS]


def at_losses(curve: list[list[float | None]]) -> dict[str, float | None]:
    """Cosine of consecutive gradients and variation of their norm, over the steps of each range of losses.

    Args:
        curve: loss, norm of the target's gradient, and cosine (None where it was not measured) of each step.
    """
    found: dict[str, float | None] = {}
    for low, high in BINS:
        steps = [step for step in curve if step[0] is not None and low < step[0] <= high]
        cosines = [step[2] for step in steps if step[2] is not None]
        norms = np.array([step[1] for step in steps], dtype=float)
        found[f"cosine {low:g}"] = float(np.mean(cosines)) if cosines else None
        found[f"variation {low:g}"] = float(norms.std() / norms.mean()) if len(norms) > 2 else None
    return found


def read(folder: Path, stage: str, keep: Path | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trained cells of a stage, and the scores of the pools, one source a row.

    Args:
        stage: ``search``, ``second``, ``episodes``, ``measured`` or ``gemma``.
        keep: folder to write both to as CSV.
    """
    kept, kept_scores = folder / KEPT.format(stage), folder / KEPT.format(f"{stage}-scores")
    if kept.exists():
        frame, scores = pd.read_csv(kept), pd.read_csv(kept_scores)
    else:
        lines = [json.loads(line) for line in (folder / f"{stage}.jsonl").open()]
        cells = [{**line, **at_losses(line.get("curve", []))} for line in lines if "accuracy" in line]
        frame = pd.DataFrame(cells).drop(columns="curve").round(5)
        scores = pd.DataFrame(
            {
                **{name: line[name] for name in (*SPLIT, "pool")},
                "source": source,
                "value": value,
                "utility": utility,
            }
            for line in lines
            if "scores" in line
            for source, (value, utility) in line["scores"].items()
        ).round(5)
    if keep:
        frame.to_csv(keep / KEPT.format(stage), index=False)
        scores.to_csv(keep / KEPT.format(f"{stage}-scores"), index=False)
    frame["name"] = frame["strategy"] + frame["pool"].map(lambda pool: "" if pool == "clean" else f", {pool}")
    return frame.drop_duplicates([*SPLIT, "name"]), scores
