"""Sign-and-fold sketches: D floats that keep the inner products of vectors of any length.

Position p of the vector lies in row i = p div D, column j = p mod D. It is added, with a sign, to the bucket

    ((j + 4·offset_i) mod D) xor low_i,      sign bit = bit (p mod 32) of word(p div 32).

``word``, ``offset_i`` and ``low_i`` come from a counter-based hash of the position and the seed: nothing of
size P is stored, and every process and device makes the same sketch. It is linear, unbiased for inner
products, and the cosine of two sketches has an error of about 1/√D.

Why the rows are moved: the columns of a weight matrix whose width divides D come back at the same columns of
every row. Gradients have few columns that are much larger than the rest (outlier features of language
models), and these would all pile up in the same few buckets. A hashed offset for each row spreads them over
all of D, so D may share factors with the layers' widths. The offset is a multiple of 4 to keep the loads of a
GPU aligned, and ``low_i``, which runs through a hashed order of 0, 1, 2, 3 every four rows, spreads the
remaining residues at no cost.

References: Charikar, Chen, Farach-Colton 2002 (CountSketch, which hashes the bucket of every position instead
of every row); Weinberger et al. 2009 (feature hashing).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sgg_ray.errors import ConfigError
from sgg_ray.gradients.kernels import triton_kernels

MASK = 0xFFFFFFFF
SIGN_BIT = -(1 << 31)
SPAN = 1 << 20  # coordinates whose words are hashed at once: fewer, larger operations
BLOCK = 1 << 18  # coordinates that are signed and added at once: they stay in a core's cache
WORD_STREAM, ROW_STREAM, LOW_STREAM = 0, 1, 2


ROUNDS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB))  # shifts and factors of ``mix``
LAST_SHIFT = 14


def mix(x: int) -> int:
    """32 random-looking bits from a 32-bit counter.

    The finaliser ``triple32`` (Wellons, *Hash function prospector*, 2018), bias 0.0208.
    """
    for shift, factor in ROUNDS:
        x = ((x ^ x >> shift) * factor) & MASK
    return x ^ x >> LAST_SHIFT


def mix_all(counters: Tensor) -> Tensor:
    """``mix`` of int32 counters, in place: twice as fast as in int64, of which processors have few instructions."""
    shifted = torch.empty_like(counters)

    def fold(shift: int) -> None:
        torch.bitwise_right_shift(counters, shift, out=shifted)
        counters.bitwise_xor_(shifted.bitwise_and_(MASK >> shift))  # the sign bit is not shifted in

    for shift, factor in ROUNDS:
        fold(shift)
        counters.mul_(_signed(factor))
    fold(LAST_SHIFT)
    return counters


def _signed(word: int) -> int:
    """The int32 that has these 32 bits."""
    return word - (word >> 31 << 32)


def stream_key(seed: int, stream: int) -> int:
    """The 32-bit key of one of the hash streams of a seed."""
    key = mix((seed & MASK) ^ 0x9E3779B9)
    key = mix(key ^ ((seed >> 32) & MASK))
    return mix((key + stream) & MASK)


def placement(row: int, size: int, keys: tuple[int, int]) -> tuple[int, int]:
    """(4·offset_i, low_i) of a row; ``keys`` are those of the row and the low stream."""
    offset = 4 * (mix((row ^ keys[0]) & MASK) % (size // 4))
    return offset, (row ^ mix(((row >> 2) ^ keys[1]) & MASK)) & 3


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
        self.row_keys = stream_key(seed, ROW_STREAM), stream_key(seed, LOW_STREAM)

    def sketch(self, vector: Tensor, start: int = 0, out: Tensor | None = None) -> Tensor:
        """Sketch a vector, or each row of a matrix; or one piece of a vector that is longer.

        Args:
            vector: [P] or [n, P], any floating type; summed in float32.
            start: position of the first coordinate in the whole vector: the sketches of the pieces add up.
            out: [D] or [n, D] float32; the sketch is added to it.

        Returns:
            [D] or [n, D] float32: ``out``, or a new tensor.
        """
        rows = vector.detach().reshape(-1, vector.shape[-1])
        if (fast := triton_kernels(rows)) and rows.numel():
            sums = fast.fold(rows, start, self.size, (self.word_key, *self.row_keys))
        else:
            sums = self._fold(rows, start)
        folded = _put_lanes_into_place(sums).reshape(*vector.shape[:-1], self.size)
        return folded if out is None else out.add_(folded)

    def _fold(self, rows: Tensor, start: int) -> Tensor:
        """The signed sums [4, n, D], one for each value of ``low_i``: swapping neighbours is left to the end."""
        # Twice as wide, so that a row that is moved beyond the end need not be cut; wrapped around at the end.
        sums = rows.new_zeros(4, len(rows), 2 * self.size, dtype=torch.float32)
        for position, signed in self._signed(rows, start):
            end = position + signed.shape[1]
            for row in range(position // self.size, (end - 1) // self.size + 1):
                first, last = max(position, row * self.size), min(end, (row + 1) * self.size)
                offset, low = placement(row, self.size, self.row_keys)
                landing = first - row * self.size + offset
                target = sums[low].narrow(1, landing, last - first)
                target.add_(signed.narrow(1, first - position, last - first))
        return sums[..., : self.size] + sums[..., self.size :]

    def _signed(self, rows: Tensor, start: int) -> Iterator[tuple[int, Tensor]]:
        """(position, [n, m]) pieces of the rows [n, P] with their signs; a piece is overwritten by the next."""
        end = start + rows.shape[1]
        width = max(32, BLOCK // max(1, len(rows)) // 32 * 32)
        shifts = torch.arange(31, -1, -1, dtype=torch.int32, device=rows.device)
        signs = torch.empty(width // 32, 32, dtype=torch.int32, device=rows.device)
        signed = torch.empty(len(rows), width, dtype=torch.int32, device=rows.device)
        for base in range(start // 32 * 32, end, max(width, SPAN // width * width)):
            limit = min(end, base + max(width, SPAN // width * width))
            words = self._words(base // 32, (limit + 31) // 32, rows.device)
            for aligned in range(base, limit, width):
                first, last = max(start, aligned), min(limit, aligned + width)
                used = words[(aligned - base) // 32 : (last - base + 31) // 32]
                mask = torch.bitwise_left_shift(used.unsqueeze(1), shifts, out=signs[: len(used)])
                mask = mask.bitwise_and_(SIGN_BIT).view(-1)[first - aligned : last - aligned]
                piece = rows[:, first - start : last - start].float().view(torch.int32)
                result = torch.bitwise_xor(piece, mask, out=signed[:, : last - first])
                yield first, result.view(torch.float32)

    def _words(self, begin: int, end: int, device: torch.device) -> Tensor:
        """The hashed words begin..end−1, int32."""
        counters = torch.arange(_signed(begin & MASK), _signed(begin & MASK) + end - begin, device=device)
        return mix_all(counters.to(torch.int32).bitwise_xor_(_signed(self.word_key)))


def _put_lanes_into_place(sums: Tensor) -> Tensor:
    """[4, n, D] sums by ``low_i`` → [n, D]: bucket b of the sum for low goes to b xor low."""
    grouped = sums.view(4, -1, sums.shape[-1] // 4, 4)
    lanes = torch.arange(4, device=sums.device)
    total = grouped[0]
    for low in (1, 2, 3):
        total = total + grouped[low][..., lanes ^ low]
    return total.reshape(-1, sums.shape[-1])
