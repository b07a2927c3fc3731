"""Triton version of the sketch. Imported only where there is a GPU."""

# Triton is not installed where there is no GPU, and its kernels are a language of their own.
# pyright: reportMissingImports=false, reportIndexIssue=false
# pyright: reportPossiblyUnboundVariable=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUPS, SKETCH_WARPS, SKETCH_PROGRAMS = 256, 4, 2112


@triton.jit
def _mix(x):
    """:func:`sgg_ray.gradients.sketch.mix` in 32-bit arithmetic, which wraps by itself."""
    x = x ^ (x >> 17)
    x = x * 0xED5AD4BB
    x = x ^ (x >> 11)
    x = x * 0xAC4C1B51
    x = x ^ (x >> 15)
    x = x * 0x31848BAB
    return x ^ (x >> 14)


@triton.jit
def _fold_rows(
    vector_ptr, quad, row, origin, length, word_key, row_key, SIZE: tl.constexpr, MASKED: tl.constexpr
):
    """The signed values of one row of the fold that land in the bucket groups ``quad``, in order of their lanes."""
    QUADS: tl.constexpr = SIZE // 4
    bits = _mix(row.to(tl.uint32) ^ row_key)
    offset = bits % QUADS
    column = quad - offset.to(tl.int32)
    column = tl.where(column < 0, column + QUADS, column)
    lane = tl.arange(0, 4)
    place = row.to(tl.int64) * SIZE - origin
    index = (place + column * 4)[:, None] + lane[None, :]
    if MASKED:
        x = tl.load(vector_ptr + index, (index >= 0) & (index < length), other=0.0)
    else:
        x = tl.load(vector_ptr + index)
    word = _mix((column // 8).to(tl.uint32) ^ word_key) >> ((column % 8) * 4).to(tl.uint32)
    sign = ((word[:, None] >> lane[None, :].to(tl.uint32)) << 31) ^ (bits & 0x80000000)
    return (x.to(tl.float32).to(tl.uint32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)


@triton.jit
def _fold_kernel(
    vector_ptr,
    out_ptr,
    origin,
    length,
    stride,
    first_group,
    last_group,
    word_key,
    row_key,
    low_key,
    SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One tile of buckets over a share of the groups of four rows. out: [shares, 4, vectors, SIZE]."""
    share, shares = tl.program_id(1), tl.num_programs(1)
    which, vectors = tl.program_id(2), tl.num_programs(2)
    quad = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    vector_ptr += which.to(tl.int64) * stride
    word_key, row_key, low_key = word_key.to(tl.uint32), row_key.to(tl.uint32), low_key.to(tl.uint32)
    # Buckets beyond SIZE, where the tile does not divide it, repeat the first ones and are not stored.
    inside = quad < SIZE // 4
    quad = tl.where(inside, quad, 0)
    zero = tl.zeros([GROUPS, 4], tl.float32)
    sum0, sum1, sum2, sum3 = zero, zero, zero, zero
    for step in range(0, tl.cdiv(last_group - first_group - share, shares)):
        group = first_group + share + step * shares
        # The row whose low_i is n is the one with row mod 4 = n xor h.
        h = (_mix(group.to(tl.uint32) ^ low_key) & 3).to(tl.int32)
        row = group * 4
        sum0 += _fold_rows(vector_ptr, quad, row + h, origin, length, word_key, row_key, SIZE, MASKED)
        sum1 += _fold_rows(vector_ptr, quad, row + (h ^ 1), origin, length, word_key, row_key, SIZE, MASKED)
        sum2 += _fold_rows(vector_ptr, quad, row + (h ^ 2), origin, length, word_key, row_key, SIZE, MASKED)
        sum3 += _fold_rows(vector_ptr, quad, row + (h ^ 3), origin, length, word_key, row_key, SIZE, MASKED)
    out_ptr += (share * 4 * vectors + which) * SIZE
    place = out_ptr + quad[:, None] * 4 + tl.arange(0, 4)[None, :]
    store = inside[:, None] & (tl.arange(0, 4)[None, :] >= 0)
    tl.store(place, sum0, store)
    tl.store(place + vectors * SIZE, sum1, store)
    tl.store(place + 2 * vectors * SIZE, sum2, store)
    tl.store(place + 3 * vectors * SIZE, sum3, store)


def fold(rows: Tensor, start: int, size: int, keys: tuple[int, int, int]) -> Tensor:
    """The signed sums [4, n, size] of vectors [n, P], one for each value of ``low_i``, still to be put into place.

    Args:
        rows: contiguous along the last dimension.
        start: position of the first coordinate.
        size: D.
        keys: of the word, the row and the low stream.
    """
    count, length = rows.shape
    first, last = start // (4 * size), -(-(start + length) // (4 * size))
    inner_first, inner_last = -(-start // (4 * size)), (start + length) // (4 * size)
    if inner_last <= inner_first:
        parts = [(first, last, True)]
    else:
        parts = [
            (first, inner_first, True),
            (inner_first, inner_last, False),
            (inner_last, last, True),
        ]
    tiles = triton.cdiv(size // 4, GROUPS)
    wanted = max(1, SKETCH_PROGRAMS // (tiles * count))
    sums = []
    for begin, end, masked in parts:
        if end == begin:
            continue
        shares = min(wanted, end - begin)
        out = torch.empty(shares, 4, count, size, dtype=torch.float32, device=rows.device)
        _fold_kernel[(tiles, shares, count)](
            rows,
            out,
            start,
            length,
            rows.stride(0),
            begin,
            end,
            *keys,
            size,
            GROUPS,
            masked,
            num_warps=SKETCH_WARPS,
        )
        sums.append(out.sum(0) if shares > 1 else out[0])
    total = sums[0]
    for part in sums[1:]:
        total = total + part
    return total
