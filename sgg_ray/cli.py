"""The command line: parse, call one function, print. Nothing heavy is imported before it is needed."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgg_ray.config import Config, config_schema, load_config
from sgg_ray.errors import EXIT_FAILED, SggError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Few-shot adaptation of language models with structured gradient guidance, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="About the configuration file.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run and its folder.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check file, data and model, show the plan, start nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command()
def score(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Rank the sources by how well their gradients agree with the target's."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name)
        # A scoring and a training of one file are two runs, with a folder each.
        loaded = loaded if name else loaded.model_copy(update={"name": f"{loaded.name}-score"})
        from sgg_ray import orchestration, report

        with report.ProgressDisplay(console) as display:
            plan = _show_plan(console, loaded, "score")
            if dry_run:
                orchestration.prepare_scoring(loaded, display)
                _end_dry_run(plan, as_json)
                return
            result = orchestration.score(loaded, display)
        if as_json:
            report.print_json(
                {**result.report.to_dict(), "folder": str(result.folder), "cached": result.cached}
            )
            return
        report.print_scores(console, result.report)
        if result.cached:
            console.print(
                f"scored before with the same settings and rows; delete {result.folder} to score again"
            )
        report.print_line(console, f"written to {result.folder}")

    _run(work, as_json, debug)


@app.command()
def train(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune on the target with guidance from the sources, and evaluate."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name)
        from sgg_ray import orchestration, report

        with report.ProgressDisplay(console) as display:
            plan = _show_plan(console, loaded, "train")
            if dry_run:
                orchestration.prepare_training(loaded, display)
                _end_dry_run(plan, as_json)
                return
            result = orchestration.train(loaded, display)
        if as_json:
            report.print_json({**result.to_dict(), "folder": str(result.folder)})
            return
        rows = [report.ModelResult("guided", result.metrics, result.comparison)]
        if result.baseline is not None:
            rows.insert(0, report.ModelResult("target only", result.baseline))
        report.print_comparison(console, rows)
        report.print_line(console, f"model, metrics, predictions and curves are in {result.folder}")

    _run(work, as_json, debug)


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the configuration file."""
    from sgg_ray import report

    report.print_json(config_schema())


def _show_plan(console: "Console", config: Config, command: str) -> dict[str, Any]:
    from sgg_ray import report

    guidance, settings = config.guidance, config.train
    plan: dict[str, Any] = {
        "model": config.model.path + (f" + {config.model.adapter.method}" if config.model.adapter else ""),
        "target": f"{config.target.name}, {config.target.shots} shots per class",
        "sources": ", ".join(source.name for source in config.sources) or "none",
    }
    if command == "train":
        plan |= {
            "guidance": f"direction {guidance.direction:g}, magnitude {guidance.magnitude:g}, alignment "
            f"{guidance.alignment:g}, source {guidance.source:g}; H·v by {guidance.hvp}",
            "steps": f"{settings.steps} of {settings.batch_size} target and {settings.source_batch_size} source rows",
            "workers": f"{config.ray.workers} × {config.ray.cpus_per_worker:g} CPU, {config.ray.gpus_per_worker:g} GPU",
        }
    plan["run folder"] = str(Path(config.ray.storage) / config.name)
    report.print_plan(console, f"sgg {command}", plan)
    return plan


def _end_dry_run(plan: dict[str, Any], as_json: bool) -> None:
    from sgg_ray import report

    if as_json:
        report.print_json(plan)


def _run(work: Callable[["Console"], None], as_json: bool, debug: bool) -> None:
    """Do the work, and turn deliberate errors into lines on stderr and an exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from sgg_ray.report.layout import make_console

        work(make_console(as_json))
    except SggError as error:
        if debug:
            traceback.print_exc()
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from the last checkpoint", err=True)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"error: {type(error).__name__}: {error} (--debug shows where; please report it)", err=True
        )
        raise SystemExit(EXIT_FAILED) from None


def main() -> None:
    """Entry point of ``sgg``."""
    app(prog_name="sgg", args=sys.argv[1:])
