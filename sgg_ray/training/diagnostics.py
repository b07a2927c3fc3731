"""What a training looks at and does not use: probes of sources, stability of gradients, module by module."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sgg_ray.config import Config
from sgg_ray.gradients import Sketcher
from sgg_ray.models import TokenisedRows
from sgg_ray.training.module_view import ModuleView
from sgg_ray.training.parameter_layout import Layout
from sgg_ray.training.passes import PROBE, Passes

# Windows of logging_steps steps of which one has a probe: the median of the windows' times is that of a plain one.
PROBED_WINDOWS = 3
STABILITY_SKETCH = 65536  # cosine error about 0.004, far below the step-to-step change it measures


class Diagnostics:
    """Measures the target's gradient beside a training, which goes on as if nobody had looked.

    Args:
        passes: of the training.
        layout: of the model's parameters.
        config: ``seed``, ``train.logging_steps`` and ``guidance.view_modules`` are read.
        probe: sources with weights whose mixture's gradient is compared with the target's now and then.
    """

    def __init__(
        self,
        passes: Passes,
        layout: Layout,
        config: Config,
        probe: Mapping[str, tuple[TokenisedRows, float]] | None = None,
    ):
        self.passes, self.flat = passes, layout.parameters
        self.window, self.view_every = config.train.logging_steps, config.guidance.view_modules
        self.compared = slice(0, layout.shared.stop)
        self.view = ModuleView(self.flat, layout.private, layout.shared) if self.view_every else None
        self.probe = dict(probe or {})
        self.probed = torch.zeros_like(self.flat.values) if self.probe else None
        self.sketcher = Sketcher(STABILITY_SKETCH, config.seed)
        self.previous: Tensor | None = None

    def before_target(self, step: int) -> None:
        """Take the gradient of the probe's mixture, where it is due. Overwrites the gradient buffer."""
        if self.probed is None or not self._probes(step):
            return
        rows = {name: tokens for name, (tokens, _) in self.probe.items()}
        weights = {name: weight for name, (_, weight) in self.probe.items()}
        drawn = self.passes.drawn(rows, step, weights)
        self.passes.backward(drawn, max(1, len(drawn)), step, PROBE)
        self.probed.copy_(self.flat.gradient)

    def of_target(self, step: int, reference: Tensor | None, source: Tensor | None) -> dict[str, Tensor]:
        """What there is to see in the target's gradient, which is in the buffer, before guidance changes it.

        Args:
            step: of the training.
            reference: r, or None.
            source: ĝ_S [P], or None.

        Returns:
            Scalars on the device by name: ``step_cosine``, ``source_cosine``, ``module/…``, as far as they are due.
        """
        metrics = self._stability(step)
        if self.probed is not None and self._probes(step):
            metrics["source_cosine"] = self.flat.cosine(
                self.flat.gradient[self.compared], self.probed[self.compared]
            )
        if self.view is not None and step % self.view_every == 0:
            metrics |= self.view.measure(self.flat.gradient, reference, source)
        return metrics

    def _probes(self, step: int) -> bool:
        return step % (PROBED_WINDOWS * self.window) == 0

    def _stability(self, step: int) -> dict[str, Tensor]:
        """Cosine of consecutive target gradients, from sketches: at every logged step, so that it costs little."""
        if step % self.window not in (self.window - 1, (self.window - 2) % self.window):
            self.previous = None
            return {}
        sketch, previous = self.sketcher.sketch(self.flat.gradient), self.previous
        self.previous = sketch
        # Shards have sketches of their own: their inner products add up as those of the shards do.
        return {} if previous is None else {"step_cosine": self.flat.cosine(sketch, previous)}
