"""SIGTERM in the middle of writing leaves nothing half-written, whatever the command: one line, exit code 143."""

import pkgutil
import signal
import time

import pytest
import toy

from sgg_ray.cli.run import orderly_termination
from sgg_ray.errors import Terminated

LINE = "terminated; the same command starts over"


@pytest.fixture
def rows(here):
    return toy.write_rows(here / "in.jsonl", toy.sentences(3000, seed=13))


def struck(monkeypatch, place, at=1):
    """Send SIGTERM to this process when ``place`` is called for the ``at``-th time."""
    original = pkgutil.resolve_name(place)
    calls = 0

    def strike(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == at:
            signal.raise_signal(signal.SIGTERM)
        return original(*arguments, **named)

    monkeypatch.setattr(place, strike)


def require_orderly(result):
    assert result.exit_code == 143, result.output
    assert result.stderr.splitlines() == [LINE]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predict_leaves_no_hidden_file(sgg, no_ray, finished_run, rows, here, monkeypatch, suffix):
    struck(monkeypatch, "sgg_ray.prediction.predictor.predict", at=2)  # some rows are written by then
    require_orderly(sgg("predict", finished_run, "--data", rows, "--out", f"out{suffix}"))
    assert list(here.iterdir()) == [rows]


def test_predict_keeps_the_file_that_it_was_to_replace(sgg, no_ray, finished_run, rows, here, monkeypatch):
    (here / "out.csv").write_text("old")
    struck(monkeypatch, "os.replace")
    require_orderly(sgg("predict", finished_run, "--data", rows, "--out", "out.csv", "--overwrite"))
    assert (here / "out.csv").read_text() == "old"
    assert {path.name for path in here.iterdir()} == {"in.jsonl", "out.csv"}


def test_export_leaves_no_folder(sgg, no_ray, finished_run, here, monkeypatch):
    struck(monkeypatch, "sgg_ray.artifacts.export.save_file")
    require_orderly(sgg("export", finished_run, "--to", "exported"))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "place", "again"),
    [
        ("train", "train.train_driver.train", "the same command goes on from the last checkpoint"),
        ("tune", "tune.tune_driver.tune", "the same command goes on with the trials that are missing"),
        (
            "compare",
            "compare.compare_driver.compare",
            "the same command goes on with the cells that are missing",
        ),
        ("score", "score.score_driver.score", "the same command starts over"),
    ],
)
@pytest.mark.parametrize(
    ("number", "name", "code"), [("SIGTERM", "terminated", 143), ("SIGINT", "interrupted", 130)]
)
def test_a_command_that_is_stopped_says_what_comes_of_giving_it_again(
    sgg, no_ray, write_config, monkeypatch, command, place, again, number, name, code
):
    monkeypatch.setattr(
        f"sgg_ray.orchestration.{place}", lambda *_, **__: signal.raise_signal(getattr(signal, number))
    )
    result = sgg(command, write_config())
    assert result.exit_code == code, result.output
    assert result.stderr.splitlines()[-1] == f"{name}; {again}"


@pytest.mark.parametrize(
    ("number", "name", "code"), [("SIGTERM", "terminated", 143), ("SIGINT", "interrupted", 130)]
)
@pytest.mark.parametrize("replaced", [False, True])
def test_train_says_from_which_step_it_goes_on(
    sgg, no_ray, write_config, monkeypatch, number, name, code, replaced
):
    def stopped(*_, **__):
        try:
            signal.raise_signal(getattr(signal, number))
        except KeyboardInterrupt as raised:
            stop = KeyboardInterrupt() if replaced else raised  # Ray 2.60 raises its own in place of it
            stop.add_note("the same command goes on from step 37")
            raise stop from None

    monkeypatch.setattr("sgg_ray.orchestration.train.train_driver.train", stopped)
    result = sgg("train", write_config())
    assert result.exit_code == code, result.output
    assert result.stderr.splitlines()[-1] == f"{name}; the same command goes on from step 37"


def test_export_says_what_has_to_go_first(sgg, no_ray, finished_run, here, monkeypatch):
    struck(monkeypatch, "sgg_ray.artifacts.export.save_file")
    monkeypatch.setattr("sgg_ray.artifacts.write_lm_eval_task", lambda *_: "task")  # of a language model only
    result = sgg("export", finished_run, "--to", "exported", "--lm-eval", "task")
    line = "terminated; the same command starts over; delete exported and task first if they are there"
    assert (result.exit_code, result.stderr.splitlines()) == (143, [line])


def test_a_second_signal_does_not_disturb_the_clean_up(sgg, no_ray, finished_run, rows, here, monkeypatch):
    struck(monkeypatch, "sgg_ray.prediction.predictor.predict", at=2)
    struck(monkeypatch, "pathlib.Path.unlink")
    require_orderly(sgg("predict", finished_run, "--data", rows, "--out", "out.csv"))
    assert list(here.iterdir()) == [rows]


def test_what_ray_raises_in_place_of_a_signal_is_told_as_the_signal(
    sgg, no_ray, finished_run, rows, monkeypatch
):
    # Ray 2.60 forgets what a handler has raised while it waits, and raises KeyboardInterrupt itself.
    def waits(*_, **__):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("sgg_ray.prediction.predictor.predict", waits)
    require_orderly(sgg("predict", finished_run, "--data", rows, "--out", "out.csv"))


def test_a_signal_that_comes_in_a_destructor_is_not_lost():
    """Python ignores exceptions there, that of a signal's handler among them."""

    class Last:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def work():
        with orderly_termination():
            Last()
            time.sleep(20)

    began = time.monotonic()
    with pytest.raises(Terminated):
        work()
    assert time.monotonic() - began < 10
