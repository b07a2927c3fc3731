"""Passes over the flat vectors g (gradient), r (reference) and s (source gradient), each value read once.

On CUDA these are hand-written Triton kernels (:mod:`sgg_ray.gradients.cuda`). The plain torch versions here
are the reference, and what runs elsewhere; they work through the vectors in chunks that stay in the cache.
All scalars are tensors on the device: nothing here waits for the GPU.
"""

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

CPU_CHUNK = 1 << 17  # fewer calls than with smaller ones, and what is read twice still lies in the cache
GPU_CHUNK = 1 << 24  # bounds the temporaries where Triton is missing


@dataclass(frozen=True)
class Weights:
    """What :func:`combine` multiplies by: scalars on the device, in one tensor so that a kernel fetches them at once.

    ``values``: (a, b, c) of v = a·g + b·r + c·s; ``scale`` of g; and, if the reference moves on, (keep, gain) of
    r ← keep·r + gain·g. [4] or [6], float64, contiguous.
    """

    values: Tensor


def gram(gradient: Tensor, reference: Tensor | None, source: Tensor | None) -> Tensor:
    """Inner products of g, r and s.

    Args:
        gradient: g [n].
        reference: r [n]; None counts as zeros.
        source: s [n]; None counts as zeros.

    Returns:
        [3, 3] symmetric, float64, on the device.
    """
    if (fast := triton_kernels(gradient)) and gradient.numel():
        return fast.gram(gradient, reference, source)
    vectors = (gradient, reference, source)
    products = torch.zeros(3, 3, dtype=torch.float64, device=gradient.device)
    if gradient.numel() == 0:
        return products
    for first in range(3):
        for second in range(first, 3):
            left, right = vectors[first], vectors[second]
            if left is None or right is None:
                continue
            # float32 within a chunk, float64 over the chunks
            parts = [torch.dot(left[where], right[where]) for where in _chunks(gradient)]
            products[first, second] = products[second, first] = torch.stack(parts).sum(dtype=torch.float64)
    return products


def combine(
    gradient: Tensor,
    reference: Tensor | None,
    source: Tensor | None,
    weights: Weights,
    *,
    values: Tensor | None = None,
    moved: Tensor | None = None,
    track: bool = False,
) -> None:
    """One pass that moves the parameters along v = a·g + b·r + c·s, or turns g into v, and moves the
    reference on.

    With ``values`` θ: ``moved`` ← θ + v and g ← scale·g. Without: g ← v. Then, if ``track``, r ← keep·r +
    gain·g with the g that was read, unless gain is 0: then r stays as it is, also where g is not finite.

    Args:
        gradient: g [n], changed in place.
        reference: r [n] or None.
        source: s [n] or None.
        weights: scalars.
        values: θ [n].
        moved: [n], takes θ + v.
        track: whether to move the reference on.
    """
    if (fast := triton_kernels(gradient)) and gradient.numel():
        fast.combine(gradient, reference, source, weights.values, values, moved, track)
        return
    a, b, c, scale, *momentum = weights.values.to(gradient.dtype).unbind()
    for where in _chunks(gradient):
        g = gradient[where]
        v = g * a
        if reference is not None:
            v.addcmul_(reference[where], b)
        if source is not None:
            v.addcmul_(source[where], c)
        if track and reference is not None:
            _track(g, reference[where], *momentum)
        if values is not None and moved is not None:
            torch.add(values[where], v, out=moved[where])
            g.mul_(scale)
        else:
            g.copy_(v)


def track(gradient: Tensor, reference: Tensor, momentum: Tensor) -> None:
    """r ← keep·r + gain·g in one pass; r stays as it is where gain is 0, whatever g holds.

    Args:
        gradient: g [n].
        reference: r [n], changed in place.
        momentum: [2] (keep, gain), float64.
    """
    if (fast := triton_kernels(gradient)) and gradient.numel():
        fast.track(gradient, reference, momentum)
        return
    keep, gain = momentum.to(reference.dtype)
    for where in _chunks(gradient):
        _track(gradient[where], reference[where], keep, gain)


def _track(g: Tensor, r: Tensor, keep: Tensor, gain: Tensor) -> None:
    torch.where(gain != 0, torch.addcmul(r * keep, g, gain), r, out=r)


def triton_kernels(vector: Tensor) -> ModuleType | None:
    """The module of Triton kernels if they can work on ``vector``."""
    return _load_triton() if vector.device.type == "cuda" and vector.dtype != torch.float64 else None


@functools.cache
def _load_triton() -> ModuleType | None:
    try:
        from sgg_ray.gradients import cuda

        cuda.gram(torch.ones(1, device="cuda"), None, None)  # compiles: needs a C compiler on the machine
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        warnings.warn(
            f"the Triton kernels cannot be used here ({reason}): plain torch passes take their place, with the same "
            "results but more time and memory traffic",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return cuda


def _chunks(vector: Tensor) -> Iterator[slice]:
    size = CPU_CHUNK if vector.device.type == "cpu" else GPU_CHUNK
    for start in range(0, vector.numel(), size):
        yield slice(start, min(start + size, vector.numel()))
