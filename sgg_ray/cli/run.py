"""What every command does around its work: a console, the plan, errors as lines and exit codes."""

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from sgg_ray.config import Config, TargetConfig
from sgg_ray.errors import (
    EXIT_FAILED,
    EXIT_TERMINATED,
    SggError,
    Terminated,
    in_words,
    machine_error,
    one_line,
)
from sgg_ray.secrets import redacted

if TYPE_CHECKING:
    from rich.console import Console

    from sgg_ray.report import ProgressDisplay


def run(
    work: Callable[["Console"], None],
    as_json: bool,
    debug: bool,
    again: str = "the same command starts over",
) -> None:
    """Do the work, and turn deliberate errors into lines on stderr and an exit code.

    Args:
        again: what comes of giving the command again after it was stopped, in words; a note of the exception that
            stopped it says it better.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Our own error tells of a hub that is not reached; libraries' warnings to each other are nothing to act on.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not debug:
        warnings.simplefilter("ignore", FutureWarning)
        # It logs tracebacks of what it tells as well.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        from sgg_ray.report.console import make_console

        with orderly_termination():
            work(make_console(as_json))
    except SggError as error:
        if debug:
            typer.echo(redacted(traceback.format_exc()), err=True)
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise SystemExit(error.exit_code) from None
    except Terminated as stop:
        typer.echo(f"terminated; {_again(stop, again)}", err=True)
        raise SystemExit(EXIT_TERMINATED) from None
    except KeyboardInterrupt as stop:
        typer.echo(f"interrupted; {_again(stop, again)}", err=True)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            typer.echo(redacted(traceback.format_exc()), err=True)
        typer.echo(f"error: {one_line(_in_words(error))}", err=True)
        raise SystemExit(EXIT_FAILED) from None


def _again(stop: BaseException, again: str) -> str:
    """What comes of giving the command again: what the work has noted at what stopped it, or else ``again``."""
    notes = [note for error in (stop, stop.__cause__) for note in getattr(error, "__notes__", ())]
    return notes[-1] if notes else again


@contextmanager
def orderly_termination() -> Iterator[None]:
    """SIGTERM, as of Kubernetes, Slurm and spot machines, raises :class:`Terminated`: what was begun is put in order.

    Further ones change nothing: whoever cannot wait sends SIGKILL.
    """

    came = False

    def terminate(number: int, frame: object) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    def told_once_more(unraisable: "sys.UnraisableHookArgs") -> None:
        """Python ignores what a handler raises while a destructor or a weak reference's callback runs."""
        if not isinstance(unraisable.exc_value, Terminated):
            hook(unraisable)
            return
        signal.signal(signal.SIGTERM, terminate)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()  # once that has returned

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may ask for signals
        return
    before, hook = signal.signal(signal.SIGTERM, terminate), sys.unraisablehook
    sys.unraisablehook = told_once_more
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if came:
            raise Terminated from interrupt  # Ray 2.60 raises one of its own in place of the handler's
        raise
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _in_words(error: Exception) -> str:
    """One line for an error that nobody raised on purpose: the machine's, or else one of this package."""
    if said := machine_error(error):
        return in_words(said)
    return f"{type(error).__name__}: {error} (--debug shows where; please report it)"


def _workers(config: Config) -> str:
    fewest, most = config.ray.fewest_workers, config.ray.num_workers
    return str(most) if fewest == most else f"{fewest} to {most}"


def announce_loading(display: "ProgressDisplay") -> None:
    """What a command imports next takes seconds, on a busy machine many: say so first."""
    display.stage("loading PyTorch and Ray")


def show_plan(console: "Console", config: Config, command: str) -> dict[str, Any]:
    """Print what is about to be done, and return it."""
    from sgg_ray import report

    settings = config.train
    source_rows = f" and {settings.source_batch_size} source" if config.sources else ""
    plan: dict[str, Any] = {
        "model": config.model.path + (f" + {config.model.adapter.peft_type}" if config.model.adapter else ""),
        "target": f"{config.target.name}, {_shots(config.target)}",
        "sources": ", ".join(source.name for source in config.sources) or "none",
    }
    if command == "train" and config.target.unlabelled:
        plan["unlabelled texts"] = (
            f"{config.target.unlabelled.path}, at most {config.target.unlabelled.max_rows}"
        )
    if command == "train":
        plan["strategy"] = _strategy(config)
    if command != "score":
        # The members of an average have guidance of their own.
        plan |= {} if config.train.method == "auto" else {"guidance": _guidance(config)}
        plan |= {
            "steps": f"{settings.max_steps} of {settings.batch_size} target{source_rows} rows",
            "workers": f"{_workers(config)} × {config.ray.cpus_per_worker:g} CPU, "
            f"{config.ray.gpus_per_worker:g} GPU",
        }
    plan["run folder"] = run_folder(config)
    plan = {key: redacted(value) for key, value in plan.items()}
    report.print_plan(console, f"sgg {command}", plan)
    return plan


def _guidance(config: Config) -> str:
    guidance = config.guidance
    of_sources = (
        f", alignment {guidance.lambda_alignment:g}, source {guidance.lambda_source:g}"
        if config.sources
        else ""
    )
    return (
        f"direction {guidance.lambda_direction:g}, magnitude {guidance.lambda_magnitude:g}{of_sources}; "
        f"H·v by {guidance.hvp}"
    )


def _strategy(config: Config) -> str:
    if config.train.method == "auto":
        most = config.train.budget
        trainings = f"up to {most} trainings (of a language model one)" if most > 1 else "one training"
        trainings += ", the last one on unlabelled texts," if config.target.unlabelled else ","
        why = "chosen from the sources' utilities and the shots"
        return f"auto: {trainings} {why} (as the file says: --strategy none)"
    return config.strategy or "as the file says"


def _shots(target: TargetConfig) -> str:
    if target.kind == "generation":
        return f"{target.shots} examples with completions"
    if target.test.is_none:
        shots = "all rows" if target.shots == "all" else f"{target.shots} shots per class"
        return f"{shots}; no test rows: quality by cross-validation"
    if target.shots == "all":
        return "all rows that are not for testing"
    return (
        f"{target.shots} rows"
        if target.kind in ("regression", "multiple_choice")
        else f"{target.shots} shots per class"
    )


def run_folder(config: Config) -> str:
    """Where the run's files are, in the words of the configuration."""
    from sgg_ray.artifacts import location

    return location(config.ray.storage_path, config.name)


def end_dry_run(plan: dict[str, Any], as_json: bool) -> None:
    """Print the plan as JSON, where that was asked for."""
    from sgg_ray import report

    if as_json:
        report.print_json(plan)
