"""Norms and cosines of a step's gradients, module by module: what those of the whole vector hide."""

import re

import torch
from torch import Tensor

from sgg_ray.gradients import FlatParameters

PREFIX = "module/"  # of the keys in events, which are module/<module>/<measure>
NORM, DIRECTION, ALIGNMENT = "norm", "direction_cosine", "alignment_cosine"
_NUMBERED = re.compile(
    r"(?:^|\.)(\w+\.\d+)(?:\.|$)"
)  # layer.3 of backbone.encoder.layer.3.output.dense.weight


def module_of(parameter: str) -> str:
    """The module that a parameter is counted to: a numbered one (layer.3, heads.0), "embeddings", or "other"."""
    found = _NUMBERED.search(parameter)
    if found:
        return found[1]
    return "embeddings" if "embed" in parameter or re.search(r"\bw[tp]e\b", parameter) else "other"


class ModuleView:
    """Measures gradients where the parameters of each module lie in the flat buffer.

    Args:
        parameters: the flat buffer.
        private: the target's own parameters, beginning at 0.
        shared: those shared with sources, directly after; heads of sources behind them are not looked at.
    """

    def __init__(self, parameters: FlatParameters, private: slice, shared: slice):
        self.parameters, self.shared = parameters, shared
        self.modules: dict[str, list[slice]] = {}
        size = max(private.stop, shared.stop)
        for name, where in parameters.slices.items():
            if where.stop <= size:
                self.modules.setdefault(module_of(name), []).append(where)

    def measure(self, gradient: Tensor, reference: Tensor | None, source: Tensor | None) -> dict[str, Tensor]:
        """‖g‖, cos(g, r) and cos(g, ĝ_S) of each module, as scalars on the device.

        Args:
            gradient: g [P].
            reference: r, or None.
            source: ĝ_S [P], or None; compared on shared parameters, as the alignment term does.
        """
        found: dict[str, Tensor] = {}
        for module, slices in self.modules.items():
            found[f"{PREFIX}{module}/{NORM}"] = self._dot(gradient, gradient, slices).sqrt()
            if reference is not None:
                found[f"{PREFIX}{module}/{DIRECTION}"] = self._cosine(gradient, reference, slices)
            common = [where for where in slices if where.start >= self.shared.start]
            if source is not None and common:
                found[f"{PREFIX}{module}/{ALIGNMENT}"] = self._cosine(gradient, source, common)
        return found

    def _dot(self, one: Tensor, other: Tensor, slices: list[slice]) -> Tensor:
        dots = torch.stack([torch.dot(one[where], other[where]) for where in slices])
        return self.parameters.sum_shards(dots.sum())

    def _cosine(self, one: Tensor, other: Tensor, slices: list[slice]) -> Tensor:
        """nan where one of both is zero."""
        lengths = self._dot(one, one, slices).sqrt() * self._dot(other, other, slices).sqrt()
        return self._dot(one, other, slices) / lengths
