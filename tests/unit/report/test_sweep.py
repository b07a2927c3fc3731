"""The table of a sweep, what it concludes, and its pictures."""

import numpy as np
import pytest

from sgg_ray.config import TuneConfig
from sgg_ray.evaluation import Trial
from sgg_ray.report import plot_importance, plot_parallel, sweep_markdown, trial_line
from sgg_ray.report.sweep_plots import conclusion

SETTINGS = TuneConfig.model_validate(
    {
        "space": {
            "guidance.lambda_direction": {"log_uniform": [0.001, 1]},
            "model.pooling": {"choice": ["mean", "cls"]},
        }
    }
)


def trials(count=12):
    """The lower the direction, the better; pooling does not matter. Trial 1 is the file's own."""
    random = np.random.default_rng(0)
    rows = random.random(24)
    found = []
    for number in range(1, count + 1):
        direction = 10 ** -(3 * number / count)
        losses = rows + direction + random.normal(0, 0.0003, 24)
        values = {"guidance.lambda_direction": direction, "model.pooling": "mean" if number % 2 else "cls"}
        parts = [part.tolist() for part in np.split(losses, 4)]
        correct = [[loss < 0.8 for loss in part] for part in parts]
        found.append(Trial(number, values, "finished", parts, correct, own=number == 1))
    return found


def test_the_conclusion_says_what_was_won_over_the_file():
    best, gain = conclusion(trials(), SETTINGS)
    assert best == "best: trial 12; all others are clearly worse"
    assert "than the file's own values its held-out loss is 0.5" in gain
    assert gain.endswith("a gain")


def test_the_conclusion_admits_that_nothing_was_shown():
    noisy = [
        Trial(1, {}, "finished", [[0.5, 0.9], [0.1, 0.4]], [[True] * 2] * 2, own=True),
        Trial(2, {}, "finished", [[0.1, 1.0], [0.3, 0.2]], [[True] * 2] * 2),
    ]
    best, gain = conclusion(noisy, SETTINGS)
    assert best == "best: trial 2; within noise of it: trial 1"
    assert gain.endswith("no difference shown")
    own = [noisy[0], Trial(2, {}, "finished", [[1.5, 1.9], [1.1, 1.4]], [[True] * 2] * 2)]
    assert conclusion(own, SETTINGS)[1] == "no trial did better than the file's own values"
    assert conclusion([Trial(1, {}, "failed", note="NaN")], SETTINGS) == ["no trial finished"]


def test_the_table_lists_failures_with_their_reason():
    text = sweep_markdown(
        [*trials(3), Trial(9, {"guidance.lambda_direction": 0.5}, "failed", note="not finite")], SETTINGS
    )
    last = text.splitlines()[5]
    assert "| 9 |" in last
    assert "not finite" in last
    assert "as in the file" in text
    assert trial_line(Trial(9, {}, "failed", note="not finite"), "loss").startswith(
        "trial 9 failed: not finite"
    )


def test_pictures_are_drawn_where_there_is_something_to_see(tmp_path):
    assert plot_parallel(trials(), SETTINGS.space, "loss", tmp_path / "parallel.png").stat().st_size > 10_000
    assert plot_importance(trials(), SETTINGS.space, "loss", tmp_path / "importance.png")
    assert (tmp_path / "importance.png").stat().st_size > 5_000


@pytest.mark.parametrize("found", [[], trials(3), [Trial(1, {}, "failed")]])
def test_few_trials_draw_no_importance_and_break_nothing(found, tmp_path):
    assert not plot_importance(found, SETTINGS.space, "loss", tmp_path / "importance.png")
    assert not (tmp_path / "importance.png").exists()
    plot_parallel(found, SETTINGS.space, "accuracy", tmp_path / "parallel.png")


def test_importance_finds_what_matters():
    from sgg_ray.report.sweep_plots import _importances

    shares = _importances(trials(40), SETTINGS.space, "loss")
    assert shares["guidance.lambda_direction"] > 0.8


def test_the_best_trial_is_the_darkest_and_no_line_is_too_light_for_a_white_page():
    from sgg_ray.report.sweep_plots import rank_colour

    lightness = [
        0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in (rank_colour(place, 12) for place in range(12))
    ]
    assert lightness == sorted(lightness)
    assert lightness[0] < 0.2
    assert lightness[-1] < 0.75
