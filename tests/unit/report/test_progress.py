import io
import math

from rich.console import Console

from sgg_ray.report import ProgressDisplay, progress, training_line


def console(terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=120, highlight=False, markup=False, emoji=False
    )


def output(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def make_events(first: int, last: int):
    """The ``first`` to the ``last`` step; events count them from 0."""
    return [{"step": step - 1, "loss": 1.0 / step, "gradient_norm": 2.0} for step in range(first, last + 1)]


def test_plain_lines_come_now_and_then_and_at_the_end(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    target = console()
    with ProgressDisplay(target) as display:
        display.stage("Training")
        for step in range(1, 101):
            now[0] += 0.2
            display.steps("guided", make_events(step, step), 100)
    lines = output(target).splitlines()
    assert lines[0] == "Training"
    assert lines[1].startswith("guided 1/100  loss 1.000")
    assert lines[-1].startswith("guided 100/100  loss 0.010")
    assert len(lines) == 1 + 4 + 1  # 20 seconds, a line in five


def test_every_kind_of_work_has_its_own_lines():
    target = console()
    with ProgressDisplay(target) as display:
        display.advance(1, 4, "tasks summarised")
        display.advance(2, 4, "tasks summarised")
        display.steps("guided", make_events(1, 5), 10)
        display.steps("target-only", make_events(1, 5), 10)
        display.note("imdb: 3 duplicate rows dropped [sic]")
    lines = output(target).splitlines()
    assert [line.split()[0] for line in lines] == ["tasks", "guided", "target-only", "imdb:"]
    assert lines[-1].endswith("[sic]")


def test_skipped_steps_are_counted():
    target = console()
    with ProgressDisplay(target) as display:
        display.steps("guided", [{"step": 0, "loss": math.nan, "skipped": True}], 2)
        display.steps("guided", [{"step": 1, "loss": 0.5, "skipped": False}], 2)
        display.steps("guided", [], 2)
    assert output(target) == "guided 1/2    1 skipped\nguided 2/2  loss 0.500  1 skipped\n"


def test_a_training_that_ends_early_is_done():
    target = console()
    with ProgressDisplay(target) as display:
        display.steps("guided", [{"step": 59, "loss": 0.01, "seconds": 2.0, "ended_early": 1.0}], 150)
    assert output(target) == "guided 60/60  loss 0.010  fitted: ends 90 steps early\n"


def test_a_live_display_ends_with_the_last_numbers():
    target = console(terminal=True)
    with ProgressDisplay(target) as display:
        display.stage("Scoring")
        display.advance(4, 4, "tasks summarised")
        display.stage("Training")
        display.steps("guided", make_events(1, 10), 10)
        display.note("a note")
    text = output(target)
    assert "10/10" in text
    assert "loss 0.100" in text
    assert "\x1b[33ma note" in text


def test_on_a_narrow_terminal_counts_stay_whole_and_a_stage_ends_what_is_above_it():
    target = Console(file=io.StringIO(), force_terminal=True, width=70, highlight=False, markup=False)
    with ProgressDisplay(target) as display:
        display.stage("Training")
        display.steps("test rows predicted, target-only", make_events(1, 150), 150)
        display.stage("Reporting")
    text = output(target)
    assert text.rindex("150/150") < text.index("Reporting")
    assert " s" in text[text.index("Reporting") :]  # a clock, as long as there is no bar


def test_a_training_line_leaves_out_what_was_not_measured():
    assert (
        training_line({"step": 3, "loss": 0.5, "penalty": None, "alignment_cosine": math.nan}) == "loss 0.500"
    )
    assert training_line({"step": 3}) == ""


def test_the_time_that_is_left_follows_from_the_last_steps():
    target = console()
    with ProgressDisplay(target) as display:
        display.steps("guided", [{"step": 9, "loss": 0.5, "seconds": 2.0}], 30)
        display.steps("full", [{"step": 29, "loss": 0.5, "seconds": 2.0}], 30)
    assert output(target) == "guided 10/30  loss 0.500  40 s left\nfull 30/30  loss 0.500\n"
