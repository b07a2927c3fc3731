"""Sign-and-fold sketches: D floats that keep the inner products of vectors of any length.

Position p of the vector lies in row i = p div D, column j = p mod D. It is added, with a sign, to the bucket

    ((j + 4·offset_i) mod D) xor low_i,      sign = turn_i · (−1)^(bit (j mod 32) of word(j div 32)).

``offset_i``, ``low_i``, ``turn_i`` and ``word`` come from a hash of the row, of the column and the seed: nothing of
size P is stored, and every process and device makes the same sketch. It is linear, unbiased for inner
products, and the cosine of two sketches has an error of about 1/√D.

Why a sign of the row times a sign of the column is enough: coordinates of one row never meet, so what is added up by
mistake are pairs from two rows. The product of the four signs of two such pairs has mean zero unless both are from the
same two rows and the same two columns, as it has with a sign hashed for every coordinate. The exception are two rows
that are moved alike, one pair in D: their columns' signs cancel, and they meet as a whole. It makes the variance of an
inner product up to twice that of such a sketch, if all rows are parallel, and as large as that if they are not.
But adding a row is one operation over D values, which reads each of them once.

Why the rows are moved: the columns of a weight matrix whose width divides D come back at the same columns of
every row. Gradients have few columns that are much larger than the rest (outlier features of language
models), and these would all pile up in the same few buckets. A hashed offset for each row spreads them over
all of D, so D may share factors with the layers' widths. The offset is a multiple of 4 to keep the loads of a
GPU aligned, and ``low_i``, which runs through a hashed order of 0, 1, 2, 3 every four rows, spreads the
remaining residues at no cost.

References: Charikar, Chen, Farach-Colton 2002 (CountSketch, which hashes bucket and sign of every position instead
of every row and column); Weinberger et al. 2009 (feature hashing).
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sgg_ray.errors import ConfigError
from sgg_ray.gradients.kernels import triton_kernels

Counters = TypeVar("Counters", int, np.ndarray)

MASK = 0xFFFFFFFF
WORD_STREAM, ROW_STREAM, LOW_STREAM = 0, 1, 2


def mix(x: Counters) -> Counters:
    """32 random-looking bits from a 32-bit counter, or from each of an array of uint64.

    The finaliser ``triple32`` (Wellons, *Hash function prospector*, 2018), bias 0.0208.
    """
    for shift, factor in ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB)):
        x = ((x ^ (x >> shift)) * factor) & MASK
    return x ^ (x >> 14)


def stream_key(seed: int, stream: int) -> int:
    """The 32-bit key of one of the hash streams of a seed."""
    key = mix((seed & MASK) ^ 0x9E3779B9)
    key = mix(key ^ ((seed >> 32) & MASK))
    return mix((key + stream) & MASK)


def placement(
    rows: np.ndarray, size: int, keys: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4·offset_i, low_i, turn_i) of rows i, int64 [rows]; ``keys`` are those of the row and the low stream."""
    rows = rows.astype(np.uint64)
    bits = mix((rows & MASK) ^ keys[0])
    lows = (rows ^ mix(((rows >> 2) & MASK) ^ keys[1])) & 3
    return (
        (4 * (bits % (size // 4))).astype(np.int64),
        lows.astype(np.int64),
        1 - 2 * (bits >> 31).astype(np.int64),
    )


def column_signs(size: int, key: int) -> Tensor:
    """The signs ±1 of the columns, [D] float32; ``key`` is that of the word stream."""
    words = mix(np.arange(size // 32, dtype=np.uint64) ^ key)
    bits = (words[:, None] >> np.arange(32, dtype=np.uint64)) & 1
    return torch.from_numpy(1 - 2 * bits.reshape(-1).astype(np.float32))


class Sketcher:
    """Makes sketches of one size and seed. Only sketches of the same size and seed can be compared.

    Args:
        size: D, a multiple of 32.
        seed: any integer.

    Raises:
        ConfigError: a size that is no multiple of 32.
    """

    def __init__(self, size: int, seed: int):
        if size < 32 or size % 32:
            near = max(32, round(size / 32) * 32)
            raise ConfigError(f"alignment.summary.size: must be a multiple of 32, found {size}; use {near}")
        self.size = size
        self.seed = seed
        self.word_key = stream_key(seed, WORD_STREAM)
        self.signs = column_signs(size, self.word_key)
        self.row_keys = stream_key(seed, ROW_STREAM), stream_key(seed, LOW_STREAM)

    def sketch(self, vector: Tensor, start: int = 0) -> Tensor:
        """Sketch a vector, or each row of a matrix; or one piece of a vector that is longer.

        Args:
            vector: [P] or [n, P], any floating type; summed in float32.
            start: position of the first coordinate in the whole vector: the sketches of the pieces add up. Also how
                positions beyond 2³² are checked without a vector of that length.

        Returns:
            [D] or [n, D] float32.
        """
        rows = vector.detach().reshape(vector.shape[:-1].numel(), vector.shape[-1]).contiguous()
        if triton_kernels(rows) and rows.numel():
            from sgg_ray.gradients.cuda_sketch import fold

            sums = fold(rows, start, self.size, (self.word_key, *self.row_keys))
        else:
            sums = self._fold(rows, start)
        return _put_lanes_into_place(sums).reshape(*vector.shape[:-1], self.size)

    def _fold(self, vectors: Tensor, start: int) -> Tensor:
        """The signed sums [4, n, D], one for each value of ``low_i``: swapping neighbours is left to the end."""
        first, skipped = divmod(start, self.size)
        head = self.size - skipped
        rows = (vectors[:, :head], *vectors[:, head:].split(self.size, dim=1))
        placed = placement(first + np.arange(len(rows)), self.size, self.row_keys)
        offsets, lows, turns = (values.tolist() for values in placed)
        signs = self.signs.to(vectors.device)
        # Twice as wide, so that a row that is moved beyond the end need not be cut; wrapped around at the end.
        sums = vectors.new_zeros(4, len(vectors), 2 * self.size, dtype=torch.float32)
        lanes = sums.unbind()
        # In the order of ``low_i``: the sums of one value stay in a core's cache, those of all four may not.
        for i in sorted(range(len(rows)), key=lows.__getitem__):
            piece, column = rows[i], skipped if i == 0 else 0
            width = piece.shape[1]
            own = signs if width == self.size else signs[column : column + width]
            target = lanes[lows[i]].narrow(1, offsets[i] + column, width)
            target.addcmul_(piece.float(), own, value=turns[i])
        return sums[..., : self.size] + sums[..., self.size :]


def _put_lanes_into_place(sums: Tensor) -> Tensor:
    """[4, n, D] sums by ``low_i`` → [n, D]: bucket b of the sum for low goes to b xor low."""
    grouped = sums.view(4, -1, sums.shape[-1] // 4, 4)
    lanes = torch.arange(4, device=sums.device)
    total = grouped[0]
    for low in (1, 2, 3):
        total = total + grouped[low].index_select(-1, lanes ^ low)
    return total.reshape(-1, sums.shape[-1])
