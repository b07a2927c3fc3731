"""What the report of a comparison says, and that pictures are drawn for few and for many strategies."""

import json
import math

import numpy as np
import pytest
from rich.console import Console

from sgg_ray.evaluation import Cell, mean_ranks, standings
from sgg_ray.report import Comparison, plot_ranks, plot_shots, plot_stability, print_standings
from sgg_ray.report.comparison_plots import joined


def comparison(gains, shots=(4, 8), seeds=8, noise=0.01, **measures):
    """Strategies that are better than the first by known amounts."""
    random = np.random.default_rng(0)
    cells = []
    for number in shots:
        base = random.uniform(0.5, 0.6, seeds)
        for name, gain in gains.items():
            for seed in range(seeds):
                accuracy = float(base[seed] + gain + (random.normal(0, noise) if gain else 0))
                right = np.arange(200) < round(accuracy * 200)
                cells.append(Cell(name, "films", number, seed, accuracy, accuracy, right, **measures))
    first = next(iter(gains))
    return Comparison(
        rows=standings(cells, first, resamples=200),
        ranking=mean_ranks(cells),
        baseline=first,
        eval_split="test",
        seeds=list(range(seeds)),
        targets=["films"],
        descriptions={first: "as everybody does"},
    )


@pytest.fixture(scope="module")
def report():
    return comparison({"base_line": 0.0, "up": 0.1, "down": -0.1, "even": 0.0}, stability=0.3)


def test_the_conclusion_says_what_is_shown_and_what_is_not(report):
    better, worse, even, rank = report.conclusion()
    assert better == "better than base_line (p < 0.05 after Holm): up"
    assert worse == "worse than base_line (p < 0.05 after Holm): down"
    assert even == "no difference to base_line shown: even"
    assert rank.startswith("best mean rank: up (1.0 of 4, 16 splits;")


def test_few_pairs_are_said_to_be_too_few():
    lines = comparison({"a": 0.0, "b": 0.3}, shots=(4,), seeds=5).conclusion()
    assert lines[0] == "no difference to a shown: b"
    assert lines[1].startswith("5 pairs of cells cannot show a difference, however large")


def test_a_part_of_a_grid_says_so(report):
    from dataclasses import replace

    part = replace(report, missing=7, failures={"up on films": "out of memory"})
    assert part.conclusion()[0].startswith("7 cells are missing")
    assert "- up on films: out of memory" in part.markdown()


def test_the_main_table_has_a_column_for_each_number_of_shots_and_all(report):
    headings, rows = report.accuracies()
    assert headings[:4] == ["strategy", "4 shots", "8 shots", "all"]
    assert [row[0] for row in rows] == ["base_line", "up", "down", "even"]
    assert all(cell.endswith("▲") for cell in rows[1][1:4])
    assert all(cell.endswith("▼") for cell in rows[2][1:4])
    assert rows[0][4:] == ["", "", "", ""]
    assert float(rows[1][4]) == pytest.approx(10, abs=1)


def test_metrics_that_nobody_has_are_left_out(report):
    headings, rows = report.metrics()
    assert "gradient stability" in headings
    assert "peak MiB" not in headings
    assert all(len(row) == len(headings) for row in rows)


def test_markdown_latex_and_json_hold_the_same_numbers(report):
    cell = report.accuracies()[1][1][1].removesuffix(" ▲")
    assert cell in report.markdown()
    assert cell.replace("±", r"$\pm$") in report.latex()
    assert r"base\_line" in report.latex()
    columns = {line.count("&") for line in report.latex().splitlines() if line.endswith(r"\\")}
    assert len(columns) == 1
    plain = json.loads(json.dumps(report.to_dict()))
    assert [row["strategy"] for row in plain["rows"][:2]] == ["base_line", "up"]
    assert plain["rows"][1]["verdict"] == "better"


def test_it_is_printed_off_a_terminal(report, capsys):
    print_standings(Console(), report)
    printed = capsys.readouterr().out
    assert "better than base_line" in printed
    assert "up" in printed


@pytest.mark.parametrize("count", [3, 24])
def test_pictures_are_drawn(tmp_path, count):
    gains = {f"strategy-{number}": 0.01 * number for number in range(count)}
    drawn = comparison(gains, stability=0.2)
    paths = [
        plot_shots(drawn, tmp_path / "shots.png"),
        plot_ranks(drawn.ranking, tmp_path / "ranks.png"),
        plot_stability(drawn, tmp_path / "stability.png"),
    ]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_stability_that_was_not_measured_is_not_drawn(tmp_path):
    assert plot_stability(comparison({"a": 0, "b": 0.1}), tmp_path / "stability.png") is None


def test_bars_join_ranks_within_the_critical_difference():
    assert joined([1.0, 1.5, 2.4, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert joined([1.0, 1.5, 1.9, 2.0], 1.0) == [(0, 3)]
    assert joined([1.0, 3.0], 1.0) == []


def test_one_seed_has_no_spread():
    (row, *_) = comparison({"a": 0.0, "b": 0.1}, shots=(4,), seeds=1).rows
    assert math.isnan(row.sd)


@pytest.fixture
def drawn(monkeypatch):
    """Figures that are drawn, not saved."""
    from sgg_ray.report import comparison_plots

    figures = []
    monkeypatch.setattr(comparison_plots, "save_figure", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize("difference", [0.7, 4.2])
def test_the_bar_of_the_critical_difference_is_as_long_as_it_says(report, drawn, difference):
    from dataclasses import replace

    plot_ranks(replace(report.ranking, critical_difference=difference), "ranks.png")
    (axis,) = drawn[0].axes
    spans = [
        (y, part[:, 0]) for lines in axis.collections for part in lines.get_segments() for y in [part[0, 1]]
    ]
    top = max(y for y, xs in spans if np.ptp(xs) > 0)
    (bar,) = [xs for y, xs in spans if y == top and np.ptp(xs) > 0]
    assert np.ptp(bar) == pytest.approx(difference)
    assert axis.get_xlim()[1] > bar.max()  # all of it is in the picture
    assert f"critical difference {difference:.2f}" in "".join(text.get_text() for text in axis.texts)


def test_bars_that_join_ranks_end_at_the_ranks(drawn):
    close = comparison({"a": 0.0, "b": 0.004, "c": 0.2}, noise=0.02)
    plot_ranks(close.ranking, "ranks.png")
    red = [
        lines
        for lines in drawn[0].axes[0].collections
        if tuple(lines.get_color()[0][:3]) == (192 / 255, 57 / 255, 43 / 255)
    ]
    ranks = sorted(close.ranking.ranks.values())
    assert [sorted(lines.get_segments()[0][:, 0]) for lines in red] == [
        [ranks[first], ranks[last]] for first, last in joined(ranks, close.ranking.critical_difference)
    ]
    assert red


def test_one_number_of_shots_is_drawn_as_a_row_a_strategy(drawn):
    plot_shots(comparison({"base_line": 0.0, "up": 0.1, "down": -0.1}, shots=(8,)), "shots.png")
    (axis,) = drawn[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["down", "base_line", "up"]
    assert axis.get_title() == "Accuracy with 8 shots per class"
