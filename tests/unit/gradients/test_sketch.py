import numpy as np
import pytest
import torch

from sgg_ray.errors import ConfigError
from sgg_ray.gradients import Sketcher
from sgg_ray.gradients.sketch import mix, placement, stream_key


def _by_definition(vector: torch.Tensor, size: int, seed: int, start: int) -> torch.Tensor:
    """The module docstring's formula, one coordinate at a time, with Python integers."""
    word_key, *keys = [stream_key(seed, stream) for stream in range(3)]
    sketch = np.zeros(size)
    for position, value in enumerate(vector.tolist(), start):
        row, column = divmod(position, size)
        offset, low, turn = (int(values[0]) for values in placement(np.array([row]), size, tuple(keys)))
        bucket = ((column + offset) % size) ^ low
        sign = turn * (-1) ** (mix((column // 32) ^ word_key) >> (column % 32) & 1)
        sketch[bucket] += sign * value
    return torch.from_numpy(sketch).float()


@pytest.mark.parametrize("size", [32, 96, 1024])
@pytest.mark.parametrize("start", [0, 5, 1000, 2**33 + 7])
@pytest.mark.parametrize("length", [1, 31, 3001])
def test_follows_its_definition(size: int, start: int, length: int):
    vectors = torch.randint(-8, 9, (2, length)).float()  # whole numbers: sums are exact in any order
    expected = torch.stack([_by_definition(vector, size, 3, start) for vector in vectors])
    assert torch.equal(Sketcher(size, 3).sketch(vectors, start), expected)
    assert torch.equal(Sketcher(size, 3).sketch(vectors[0], start), expected[0])


def test_placement_in_whole_numbers():
    """Rows of any position: what NumPy makes of them is what the hash of one Python integer is."""
    keys = stream_key(5, 1), stream_key(5, 2)
    rows = [0, 1, 2, 3, 1000, 2**32 - 1, 2**32, 2**40 + 3]
    for row, offset, low, turn in zip(rows, *placement(np.array(rows), 96, keys)):
        bits = mix((row & 0xFFFFFFFF) ^ keys[0])
        assert offset == 4 * (bits % 24)
        assert low == (row ^ mix(((row >> 2) & 0xFFFFFFFF) ^ keys[1])) & 3
        assert turn == (-1 if bits >> 31 else 1)


def test_signs_and_offsets_are_balanced():
    """Of 65 536 rows and as many columns; the bounds are five standard deviations."""
    sketcher = Sketcher(65536, 11)
    offsets, lows, turns = placement(np.arange(65536), 65536, sketcher.row_keys)
    assert abs(turns.mean()) < 5 / 256
    assert abs(sketcher.signs.mean()) < 5 / 256
    assert abs(np.corrcoef(turns, offsets)[0, 1]) < 5 / 256
    assert np.bincount(lows).tolist() == [65536 // 4] * 4
    neighbours = turns[1:] * turns[:-1]
    assert abs(neighbours.mean()) < 5 / 256


def test_bits_stay_the_same_for_ever():
    """Sketches of different versions and machines are compared: these numbers must never change."""
    sketch = Sketcher(32, 7).sketch(torch.arange(1, 201).float())
    assert sketch.tolist()[:8] == [434.0, -263.0, 34.0, 473.0, -237.0, 589.0, -33.0, -135.0]


def test_pieces_add_up():
    vector, sketcher = torch.randn(10_000), Sketcher(128, 1)
    whole = sketcher.sketch(vector)
    ends = ((0, 77), (77, 6001), (6001, 10_000))
    total = torch.stack([sketcher.sketch(vector[start:end], start=start) for start, end in ends]).sum(0)
    torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-4)


def test_is_linear_and_rows_are_independent():
    vectors, sketcher = torch.randn(3, 5000), Sketcher(256, 1)
    sketches = sketcher.sketch(vectors)
    for vector, sketch in zip(vectors, sketches):
        torch.testing.assert_close(sketcher.sketch(vector), sketch, rtol=1e-5, atol=1e-5)
    mixed = sketcher.sketch(2 * vectors[0] - 3 * vectors[1])
    torch.testing.assert_close(mixed, 2 * sketches[0] - 3 * sketches[1], rtol=1e-4, atol=1e-4)


def test_seeds_are_independent():
    vector = torch.randn(100_000)
    cosine = torch.cosine_similarity(
        Sketcher(4096, 1).sketch(vector), Sketcher(4096, 2).sketch(vector), dim=0
    )
    assert abs(cosine) < 5 / 4096**0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_summed_in_float32(dtype: torch.dtype):
    vector = torch.randint(-8, 9, (3001,)).to(dtype)
    assert torch.equal(Sketcher(64, 3).sketch(vector), Sketcher(64, 3).sketch(vector.float()))


def _count_sketch(vectors: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    length = vectors.shape[1]
    buckets = torch.randint(size, (length,), generator=generator)
    signs = torch.randint(2, (length,), generator=generator) * 2.0 - 1
    return torch.zeros(len(vectors), size).index_add_(1, buckets, vectors * signs)


def _columns(width: int) -> torch.Tensor:
    """Two matrices whose energy sits in a few columns, as outlier features make it."""
    scale = torch.ones(width)
    scale[torch.randperm(width)[:4]] = 50.0
    return (torch.randn(2, 200_000 // width, width) * scale).flatten(1)


def _rank_one(width: int) -> torch.Tensor:
    """Two matrices u vᵀ of positive numbers, as gradients of a layer are where its inputs are positive."""
    rows, columns = torch.rand(2, 200_000 // width, 1), torch.rand(2, 1, width)
    return (rows * columns).flatten(1)


@pytest.mark.parametrize(
    ("make", "parallel"),
    [
        (lambda: torch.randn(2, 200_000), False),
        (lambda: _columns(64), False),
        (lambda: _columns(96), False),
        (lambda: _columns(1024), False),
        (lambda: _rank_one(64), True),
        (lambda: _rank_one(96), True),
        (lambda: _rank_one(1024), True),
        (lambda: torch.ones(2, 200_000) + 0.3 * torch.randn(2, 200_000), True),
    ],
    ids=[
        "dense",
        "columns of a width that divides D",
        "of one that does not",
        "of the sketch's own width",
        "rank one, of a width that divides D",
        "rank one, of one that does not",
        "rank one, of the sketch's own width",
        "all of one sign",
    ],
)
def test_cosine_error_is_that_of_count_sketch(make, parallel):
    torch.manual_seed(0)
    size, trials = 1024, 60
    mine, theirs = [], []
    for seed in range(trials):
        vectors = make()
        exact = torch.cosine_similarity(vectors[0], vectors[1], dim=0)
        for errors, (a, b) in (
            (mine, Sketcher(size, seed).sketch(vectors)),
            (theirs, _count_sketch(vectors, size, torch.Generator().manual_seed(seed))),
        ):
            errors.append((torch.cosine_similarity(a, b, dim=0) - exact).item())
    rmse, baseline = (float(np.sqrt(np.mean(np.square(errors)))) for errors in (mine, theirs))
    assert rmse < (1.6 if parallel else 1.3) / size**0.5
    # Up to √2 where rows are parallel; of 60 trials each, the ratio's own spread is 13 %.
    assert rmse < (1.75 if parallel else 1.35) * baseline
    assert abs(np.mean(mine)) < 4 / (size * trials) ** 0.5


@pytest.mark.parametrize("size", [0, 16, 100])
def test_sizes_off_the_word_grid_are_refused(size: int):
    with pytest.raises(ConfigError, match="multiple of 32"):
        Sketcher(size, 0)


def test_parts_of_other_tensors_and_none_at_all():
    vectors, sketcher = torch.randint(-8, 9, (3, 4000)).float(), Sketcher(64, 3)
    for part in (vectors[:, ::2], vectors[0, ::3], vectors[::2], vectors.T[:5], vectors.view(3, 2, 2000)):
        assert torch.equal(sketcher.sketch(part), sketcher.sketch(part.clone().contiguous()))
    assert torch.equal(sketcher.sketch(torch.zeros(2, 0)), torch.zeros(2, 64))
    assert torch.equal(sketcher.sketch(torch.zeros(0)), torch.zeros(64))
    assert sketcher.sketch(torch.zeros(0, 100)).shape == (0, 64)
