"""Triton versions of the passes over flat vectors. Imported only where there is a GPU.

All of them are bound by memory: one read of each input, one write of each output. Loads are of 16 bytes a thread,
which Triton can prove only for pieces whose start and length are multiples of 16 values: :func:`pieces` cuts them so.
"""

# Triton is not installed where there is no GPU, and its kernels are a language of their own.
# pyright: reportMissingImports=false, reportIndexIssue=false
# pyright: reportPossiblyUnboundVariable=false, reportOperatorIssue=false

import itertools
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

ALIGNED = 16  # values; what Triton specialises integers and pointers on
SPLIT_FROM = 1 << 22  # shorter vectors are not worth two more launches
BLOCK, WARPS = 1024, 4  # of the elementwise passes
GRAM_PROGRAMS = 2112  # 16 for each of the 132 multiprocessors of an H100 or H200


def pieces(*vectors: Tensor | None) -> Iterator[tuple[slice, int]]:
    """Cut vectors of the same length and alignment into (slice, length): an odd head, an aligned body, a tail."""
    first = next(vector for vector in vectors if vector is not None)
    length, item = first.numel(), first.element_size()
    head = (-first.data_ptr() // item) % ALIGNED
    offsets = {(vector.data_ptr() // item) % ALIGNED for vector in vectors if vector is not None}
    if length < SPLIT_FROM or len(offsets) > 1:
        cuts = [0, length]
    else:
        cuts = [0, head, head + (length - head) // ALIGNED * ALIGNED, length]
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            yield slice(start, stop), stop - start


@triton.jit
def _gram_kernel(
    g_ptr, r_ptr, s_ptr, out_ptr, length, HAS_R: tl.constexpr, HAS_S: tl.constexpr, BLOCK: tl.constexpr
):
    program, programs = tl.program_id(0), tl.num_programs(0)
    lanes = tl.arange(0, BLOCK)
    zero = tl.zeros([BLOCK], tl.float32)
    gg, gr, gs, rr, rs, ss = zero, zero, zero, zero, zero, zero
    for step in range(0, tl.cdiv(tl.cdiv(length, BLOCK) - program, programs)):
        offsets = (program + step * programs).to(tl.int64) * BLOCK + lanes
        mask = offsets < length
        g = tl.load(g_ptr + offsets, mask, other=0.0)
        gg += g * g
        if HAS_R:
            r = tl.load(r_ptr + offsets, mask, other=0.0)
            gr += g * r
            rr += r * r
        if HAS_S:
            s = tl.load(s_ptr + offsets, mask, other=0.0)
            gs += g * s
            ss += s * s
        if HAS_R and HAS_S:
            rs += r * s
    out_ptr += program * 9
    tl.store(out_ptr + 0, tl.sum(gg))
    tl.store(out_ptr + 1, tl.sum(gr))
    tl.store(out_ptr + 2, tl.sum(gs))
    tl.store(out_ptr + 3, tl.sum(gr))
    tl.store(out_ptr + 4, tl.sum(rr))
    tl.store(out_ptr + 5, tl.sum(rs))
    tl.store(out_ptr + 6, tl.sum(gs))
    tl.store(out_ptr + 7, tl.sum(rs))
    tl.store(out_ptr + 8, tl.sum(ss))


def gram(gradient: Tensor, reference: Tensor | None, source: Tensor | None) -> Tensor:
    """Inner products, see :func:`sgg_ray.gradients.kernels.gram`; float32 within a program, float64 over all."""
    totals = []
    for where, length in pieces(gradient, reference, source):
        programs = min(GRAM_PROGRAMS, triton.cdiv(length, BLOCK))
        partial = torch.empty(programs, 9, dtype=torch.float32, device=gradient.device)
        g = gradient[where]
        r = g if reference is None else reference[where]
        s = g if source is None else source[where]
        _gram_kernel[(programs,)](
            g, r, s, partial, length, reference is not None, source is not None, BLOCK, num_warps=WARPS
        )
        totals.append(partial.sum(0, dtype=torch.float64))
    total = totals[0] if len(totals) == 1 else torch.stack(totals).sum(0)
    return total.view(3, 3)


@triton.jit
def _combine_kernel(
    g_ptr,
    r_ptr,
    s_ptr,
    theta_ptr,
    moved_ptr,
    weights_ptr,
    length,
    HAS_R: tl.constexpr,
    HAS_S: tl.constexpr,
    MOVE: tl.constexpr,
    TRACK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < length
    a = tl.load(weights_ptr + 0).to(tl.float32)
    g = tl.load(g_ptr + offsets, mask)
    v = a * g
    if HAS_R:
        b = tl.load(weights_ptr + 1).to(tl.float32)
        r = tl.load(r_ptr + offsets, mask)
        v += b * r
        if TRACK:
            keep = tl.load(weights_ptr + 4).to(tl.float32)
            gain = tl.load(weights_ptr + 5).to(tl.float32)
            tl.store(r_ptr + offsets, tl.where(gain != 0, keep * r + gain * g, r), mask)
    if HAS_S:
        c = tl.load(weights_ptr + 2).to(tl.float32)
        v += c * tl.load(s_ptr + offsets, mask)
    if MOVE:
        scale = tl.load(weights_ptr + 3).to(tl.float32)
        theta = tl.load(theta_ptr + offsets, mask)
        tl.store(moved_ptr + offsets, theta + v, mask)
        tl.store(g_ptr + offsets, scale * g, mask)
    else:
        tl.store(g_ptr + offsets, v, mask)


def combine(
    gradient: Tensor,
    reference: Tensor | None,
    source: Tensor | None,
    weights: Tensor,
    values: Tensor | None,
    moved: Tensor | None,
    track: bool,
) -> None:
    """One combining pass, see :func:`sgg_ray.gradients.kernels.combine`; ``weights`` are in one tensor."""
    move = values is not None and moved is not None
    for where, length in pieces(gradient, reference, source, values, moved):
        g = gradient[where]
        _combine_kernel[(triton.cdiv(length, BLOCK),)](
            g,
            g if reference is None else reference[where],
            g if source is None else source[where],
            values[where] if values is not None and move else g,
            moved[where] if moved is not None and move else g,
            weights,
            length,
            reference is not None,
            source is not None,
            move,
            track and reference is not None,
            BLOCK,
            num_warps=WARPS,
        )


@triton.jit
def _track_kernel(g_ptr, r_ptr, momentum_ptr, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < length
    keep = tl.load(momentum_ptr).to(tl.float32)
    gain = tl.load(momentum_ptr + 1).to(tl.float32)
    g = tl.load(g_ptr + offsets, mask)
    r = tl.load(r_ptr + offsets, mask)
    tl.store(r_ptr + offsets, tl.where(gain != 0, keep * r + gain * g, r), mask)


def track(gradient: Tensor, reference: Tensor, momentum: Tensor) -> None:
    """Move the reference towards the gradient, see :func:`sgg_ray.gradients.kernels.track`."""
    for where, length in pieces(gradient, reference):
        grid = (triton.cdiv(length, BLOCK),)
        _track_kernel[grid](gradient[where], reference[where], momentum, length, BLOCK, num_warps=WARPS)
