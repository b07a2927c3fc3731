"""What one task tells another about its gradient: as long at most as a sketch, whatever the model's size."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from sgg_ray.gradients.sketch import Sketcher


@dataclass(frozen=True, eq=False)
class GradientSummary:
    """The sum of a task's per-example gradients, sketched or exact.

    Attributes:
        task: name of the task.
        space: name of the parameters that the gradient was taken over.
        step: training step whose parameters it was taken at.
        examples: how many examples were summed.
        vector: [D] float32.
        dimension: P, length of the vector before sketching.
        seed: of the sketch; None if exact.
    """

    task: str
    space: str
    step: int
    examples: int
    vector: np.ndarray
    dimension: int
    seed: int | None

    @property
    def mean(self) -> np.ndarray:
        """[D] mean gradient over the examples."""
        return self.vector / np.float32(max(self.examples, 1))

    @property
    def norm(self) -> float:
        """Norm of the mean gradient (of its sketch: within about 1/√(2D) of the exact one)."""
        return float(np.linalg.norm(self.mean.astype(np.float64)))

    @property
    def nbytes(self) -> int:
        """Size of the vector in bytes."""
        return self.vector.nbytes

    def cosine(self, other: "GradientSummary") -> float:
        """Cosine between the two gradients; nan if one of them is zero.

        Raises:
            ValueError: they differ in space, dimension or sketch.
        """
        self._check(other, ("space", "dimension", "seed"))
        mine, theirs = self.vector.astype(np.float64), other.vector.astype(np.float64)
        norms = np.linalg.norm(mine) * np.linalg.norm(theirs)
        return float(mine @ theirs / norms) if norms > 0 else float("nan")

    def _check(self, other: "GradientSummary", fields: tuple[str, ...]) -> None:
        for field in fields:
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(
                    f"summaries of {self.task!r} and {other.task!r} cannot be compared: {field} is {mine!r} "
                    f"and {theirs!r}; compute both with the same settings"
                )
        if self.vector.shape != other.vector.shape:
            raise ValueError(
                f"summaries of {self.task!r} and {other.task!r} cannot be compared: they have "
                f"{self.vector.size} and {other.vector.size} values; use the same alignment.summary"
            )


class Summariser:
    """Compresses gradients over one parameter space.

    Args:
        dimension: P.
        size: D of the sketch.
        seed: of the sketch.
        kind: "sketch", which stays exact where a sketch would be no smaller, or "exact".
    """

    def __init__(self, dimension: int, size: int, seed: int, kind: Literal["sketch", "exact"] = "sketch"):
        self.dimension = dimension
        self.sketcher = Sketcher(size, seed) if kind == "sketch" and dimension > size else None

    def compress(self, vectors: Tensor) -> Tensor:
        """Gradients [n, P] → what is sent [n, D], float32; [n, P] if exact."""
        return self.sketcher.sketch(vectors) if self.sketcher else vectors.float()

    @property
    def sent(self) -> int:
        """Number of values that a gradient is compressed to."""
        return self.sketcher.size if self.sketcher else self.dimension

    def add_piece(self, total: Tensor, piece: Tensor, start: int) -> None:
        """Add what is sent of a piece of a gradient [n]; that of all its pieces is what :meth:`compress` makes of it.

        Args:
            total: [D] float32, changed in place.
            piece: values that begin at position ``start`` of the gradient.
        """
        if self.sketcher:
            total += self.sketcher.sketch(piece, start)
        else:
            total[start : start + len(piece)] += piece

    def summary(self, task: str, space: str, step: int, parts: Tensor, examples: int) -> GradientSummary:
        """Summary of a task from compressed gradients.

        Args:
            task: name.
            space: name of the parameter space.
            step: training step.
            parts: [n, D] from :meth:`compress`: sums over disjoint sets of examples.
            examples: in all parts together.
        """
        vector = parts.sum(0).float().cpu().numpy()
        seed = self.sketcher.seed if self.sketcher else None
        return GradientSummary(task, space, step, examples, vector, self.dimension, seed)
