import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment
from sgg_ray.report import plot_curves, plot_layers, plot_scores, plot_similarity, plots


def make_events(steps: int, run: str | None = "guided"):
    random = np.random.default_rng(0)
    names = (
        "loss",
        "source_loss",
        "gradient_norm",
        "step_cosine",
        "direction_cosine",
        "penalty",
        "hvp_ratio",
    )
    for step in range(1, steps + 1):
        event = {"step": step, **{name: float(random.random()) for name in names}, "skipped": step == 3}
        yield {"run": run, **event} if run else event


def make_report(count: int) -> AlignmentReport:
    random = np.random.default_rng(1)
    sources = []
    for i in range(count):
        low, value, high = np.sort(random.uniform(-1, 1, 3))
        score = Score(value, low, high, 1.0, 0.5, value) if i != 1 else None
        sources.append(
            SourceAlignment(f"source-{i}", 8, "head", 0, score, "helps" if score else "failed", 0.1, "late")
        )
    similarity = np.eye(count + 1)
    similarity[-1, 0] = similarity[0, -1] = math.nan
    layers = {
        source.source: {"embeddings": 0.3, "0": -0.9, "1": math.nan}
        for source in sources
        if source.score is not None
    }
    return AlignmentReport("target", 0, "relu", sources, similarity, layers=layers)


def check_picture(path) -> np.ndarray:
    picture = imread(path)
    assert picture.shape[0] > 150
    assert picture.shape[1] > 400
    assert picture[..., :3].std() > 0.02  # not blank
    return picture


@pytest.mark.parametrize("steps", [0, 1, 2, 40])
def test_curves_of_any_length(tmp_path, steps):
    check_picture(plot_curves(list(make_events(steps)), tmp_path / "deep" / "curves.png", title="a run"))


def test_curves_show_only_what_was_measured(tmp_path):
    events = [{"step": step, "loss": 1.0 / step} for step in range(1, 20)]
    one = check_picture(plot_curves(events, tmp_path / "one.png"))
    four = check_picture(plot_curves(list(make_events(20)), tmp_path / "four.png"))
    assert one.shape[0] < four.shape[0]


def test_events_without_a_step_or_run_and_repeated_steps_are_understood():
    events = [
        *make_events(5, None),
        {"run": "guided", "warning": "late"},
        {"run": "guided", "step": 2, "loss": 9.0},
        *make_events(3, "target-only"),
    ]
    runs = plots._by_run(events, "guided")
    steps, columns = runs["guided"]
    assert steps.tolist() == [1, 2, 3, 4, 5]
    assert columns["loss"][1] == 9.0
    assert math.isnan(columns["penalty"][1])
    assert runs["target-only"][0].tolist() == [1, 2, 3]


def test_values_that_are_not_finite_do_not_matter(tmp_path):
    events = list(make_events(20))
    for name, bad in (("loss", math.nan), ("gradient_norm", math.inf), ("penalty", None)):
        events[4][name] = bad
    check_picture(plot_curves(events, tmp_path / "curves.png"))


def test_running_mean_keeps_constants_and_length():
    values = plots._running_mean(np.full(7, 2.0), 3)
    np.testing.assert_allclose(values, 2.0)
    np.testing.assert_allclose(plots._running_mean(np.array([0.0, 3.0, 6.0]), 3), [1.5, 3.0, 4.5])


@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_score_pictures_for_any_number_of_sources(tmp_path, count):
    report = make_report(count)
    check_picture(plot_scores(report, tmp_path / "scores.png"))
    check_picture(plot_similarity(report, tmp_path / "similarity.png"))
    check_picture(plot_layers(report, tmp_path / "layers.png"))


def test_drawing_leaves_no_state_and_reports_start_without_matplotlib(tmp_path):
    code = (
        "import sys, sgg_ray.report as r; assert 'matplotlib' not in sys.modules\n"
        f"r.plot_curves([{{'step': 1, 'loss': 1.0}}], {str(tmp_path / 'c.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("low", "left"), [(0.1, -0.02), (-0.1, -1.02)])
def test_the_axis_of_scores_goes_below_zero_only_where_something_is(tmp_path, monkeypatch, low, left):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    score = Score(0.5, low, 0.8, 1.0, 0.5, 0.5)
    source = SourceAlignment("films", 8, "head", 0, score, "helps", 1.0, "")
    plot_scores(AlignmentReport("target", 0, "relu", [source], np.eye(2)), tmp_path / "scores.png")
    assert figures[0].axes[0].get_xlim() == (left, 1.02)


def test_a_heat_map_of_many_tasks_stays_small(tmp_path):
    height, width, _ = imread(plot_similarity(make_report(60), tmp_path / "many.png")).shape
    assert max(height, width) < 2300
