"""Results in a notebook: what they show is escaped, complete, and survives without its pictures."""

import pytest
from test_comparison import comparison
from test_sweep import SETTINGS, trials

from sgg_ray.evaluation import Trial
from sgg_ray.orchestration.compare.compare_driver import CompareResult
from sgg_ray.orchestration.tune.tune_driver import TuneResult
from sgg_ray.report.html import html_picture, html_table
from sgg_ray.report.plots import new_figure, save_figure


@pytest.fixture
def picture(tmp_path):
    def draw(name):
        figure = new_figure(1, 1)
        return save_figure(figure, tmp_path / name)

    return draw


def test_a_comparison_shows_table_conclusion_and_pictures(tmp_path, picture):
    picture("shots.png")
    found = comparison({"base_line": 0.0, "<b>up</b>": 0.1})
    page = CompareResult(tmp_path, found, [], 32, 1.0, 0.1)._repr_html_()
    assert "0 of 32 cells" in page
    assert page.count("<table") == 1
    assert "&lt;b&gt;up" in page
    assert "<b>up" not in page
    assert "better than base_line" in page
    assert page.count("data:image/png;base64,") == 1  # ranks.png is not there


def test_a_sweep_shows_its_best_trials(tmp_path, picture):
    picture("parallel.png")
    page = TuneResult(tmp_path, trials(), SETTINGS)._repr_html_()
    assert "12 trials" in page
    assert "best: trial 12" in page
    assert page.count("data:image/png;base64,") == 1
    assert "no trial finished" in TuneResult(tmp_path, [Trial(1, {}, "failed")], SETTINGS)._repr_html_()


def test_what_stands_in_a_table_or_a_file_name_is_no_html(tmp_path, picture):
    table = html_table(["a", "n"], [["<script>", "+1.0"], ["b", ""]])
    assert "&lt;script&gt;" in table
    assert table.count("right") == 3  # the column of numbers with its heading
    assert html_picture(tmp_path / "nothing.png") == ""
