"""Statistics over a grid of trainings, against published examples and their own definitions."""

import math

import numpy as np
import pytest

from sgg_ray.evaluation.standings import Cell, holm, mean_ranks, nemenyi, signed_rank, standings


def cell(strategy, accuracy, *, target="films", shots=8, seed=0, rows=100, **measures):
    right = np.arange(rows) < round(accuracy * rows)
    return Cell(strategy, target, shots, seed, accuracy, accuracy, right, **measures)


def grid(values, **options):
    """Cells of {strategy: accuracy by seed}."""
    return [
        cell(name, accuracy, seed=seed, **options)
        for name, accuracies in values.items()
        for seed, accuracy in enumerate(accuracies)
    ]


def test_the_signed_rank_test_gives_the_documented_example():
    """Cross- and self-fertilised corn plants, as in the documentation of scipy.stats.wilcoxon."""
    differences = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
    assert signed_rank(differences) == pytest.approx(0.041259765625)


def test_equal_cells_show_nothing():
    assert signed_rank([0.0, 0.0, 0.0]) == 1.0
    assert math.isnan(signed_rank([]))


def test_holm_gives_the_documented_example():
    """As R's p.adjust(method = "holm") does."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.01, math.nan, 0.02])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])


def test_the_critical_difference_is_that_of_demsar():
    """Demšar (2006), section 3.2.2: four classifiers on 14 data sets, and his table of q_0.05."""
    assert nemenyi(4, 14) == pytest.approx(1.25, abs=0.005)
    for strategies, quantile in ((2, 1.960), (5, 2.728), (10, 3.164)):
        scale = math.sqrt(strategies * (strategies + 1) / 6)
        assert nemenyi(strategies, 1) == pytest.approx(quantile * scale, abs=0.002)


def test_means_spreads_and_pairs():
    cells = grid({"base": [0.5, 0.6, 0.7], "other": [0.6, 0.7, 0.8]})
    base, other = standings(cells, "base")
    assert base.contrast is None
    assert (base.mean, base.sd, base.cells) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    assert other.contrast.difference == pytest.approx(0.1)
    assert other.contrast.low == pytest.approx(0.1)
    assert other.contrast.high == pytest.approx(0.1)
    assert (other.contrast.gained, other.contrast.lost) == (30, 0)
    assert other.contrast.mcnemar == pytest.approx(2 * 0.5**30)
    assert other.contrast.wilcoxon == pytest.approx(0.25)  # three pairs cannot show more
    assert other.contrast.verdict == "no difference shown"


def test_the_spread_over_seeds_leaves_out_that_of_the_targets():
    cells = grid({"base": [0.5, 0.52]}) + grid({"base": [0.9, 0.92]}, target="tweets")
    (base,) = standings(cells, "base")
    assert base.seed_sd == pytest.approx(np.std([0.5, 0.52], ddof=1))
    assert base.sd > 0.2


def test_shots_stand_by_themselves_and_together():
    cells = [
        cell(name, 0.5 + 0.01 * shots * factor, shots=shots, seed=seed)
        for name, factor in (("base", 1), ("other", 2))
        for shots in (4, 8)
        for seed in range(4)
    ]
    found = standings(cells, "base")
    assert [(row.strategy, row.shots, row.cells) for row in found] == [
        ("base", 4, 4),
        ("other", 4, 4),
        ("base", 8, 4),
        ("other", 8, 4),
        ("base", None, 8),
        ("other", None, 8),
    ]
    assert found[-1].contrast.pairs == 8
    assert found[-1].contrast.verdict == "better"


def test_only_pairs_count_and_correction_is_over_strategies():
    random = np.random.default_rng(0)
    base = random.uniform(0.4, 0.6, 10)
    cells = grid({"base": base, "up": base + 0.02, "down": base - 0.02, "same": base})
    found = {row.strategy: row for row in standings(cells[1:], "base")}
    assert found["up"].contrast.pairs == 9
    assert found["up"].contrast.verdict == "better"
    assert found["down"].contrast.verdict == "worse"
    assert found["same"].contrast.verdict == "no difference shown"
    assert found["up"].contrast.wilcoxon_holm == pytest.approx(3 * found["up"].contrast.wilcoxon)


def test_the_interval_covers_the_mean_difference():
    random = np.random.default_rng(3)
    base = random.uniform(0.4, 0.6, 30)
    gains = random.normal(0.03, 0.05, 30)
    contrast = standings(grid({"base": base, "other": base + gains}), "base")[1].contrast
    half = 1.96 * gains.std(ddof=1) / np.sqrt(30)
    assert contrast.low == pytest.approx(gains.mean() - half, abs=0.004)
    assert contrast.high == pytest.approx(gains.mean() + half, abs=0.004)


def test_measures_are_means_over_cells_that_have_them():
    cells = [cell("base", 0.5, stability=0.2), cell("base", 0.5, seed=1, stability=math.nan)]
    (base,) = standings(cells, "base")
    assert base.measures["stability"] == 0.2
    assert math.isnan(base.measures["alignment"])
    assert base.to_dict()["stability"] == 0.2
    assert base.to_dict()["verdict"] is None


def test_other_test_rows_are_refused():
    with pytest.raises(ValueError, match="the same test rows"):
        standings([cell("base", 0.5), cell("other", 0.5, rows=50)], "base")


def test_ranks_are_over_complete_splits():
    cells = grid({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6], "c": [0.8, 0.6]})
    ranking = mean_ranks(cells)
    assert ranking.splits == 2
    assert ranking.ranks == pytest.approx({"a": 1.0, "b": 2.25, "c": 2.75})
    assert mean_ranks(grid({"a": [0.5, 0.5], "b": [0.5, 0.5]})) is None
