"""``sgg runs`` and ``sgg show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgg_ray.cli.options import AsJson, Debug, RunName
from sgg_ray.cli.run import run

if TYPE_CHECKING:
    from rich.console import Console

    from sgg_ray.artifacts import RunSummary

SCORES = "scores.json"
runs_app = typer.Typer(help="List the runs of a folder, or remove some.", invoke_without_command=True)
Storage = Annotated[Path, typer.Option("--storage", metavar="DIR", help="Folder of the run folders.")]


@runs_app.callback()
def runs(
    context: typer.Context,
    storage: Storage = Path("runs"),
    command: Annotated[str | None, typer.Option("--command", help="Only those of this command.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only those with this target.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those with this status.")] = None,
    sort: Annotated[
        Literal["started", "quality", "gain"],
        typer.Option("--sort", help="What comes first: newest, or best."),
    ] = "started",
    most: Annotated[int | None, typer.Option("--most", min=1, help="Lines to show.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List runs with their quality and gain, the newest or the best first."""
    if context.invoked_subcommand is not None:
        return

    def work(console: "Console") -> None:
        from sgg_ray import report
        from sgg_ray.artifacts.run_list import list_runs

        wanted = {"command": command, "target": target, "status": status}
        found = [
            entry
            for entry in list_runs(storage)
            if all(value is None or getattr(entry, name) == value for name, value in wanted.items())
        ]
        found = _ordered(found, sort)[:most]
        if as_json:
            report.print_json({"runs": [entry.to_dict() for entry in found]})
        elif found:
            report.print_runs(console, [entry.to_dict() for entry in found])
        else:
            report.print_line(console, f"no such runs in {storage}")

    run(work, as_json, debug)


def _ordered(found: "list[RunSummary]", sort: str) -> "list[RunSummary]":
    """Runs without the number that is sorted by come last."""
    if sort == "started":
        return found
    return sorted(found, key=lambda entry: (getattr(entry, sort) is None, -(getattr(entry, sort) or 0.0)))


@runs_app.command()
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Runs to delete, with their models.")],
    storage: Storage = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    debug: Debug = False,
) -> None:
    """Delete run folders. What MLflow has of them stays."""

    def work(console: "Console") -> None:
        from sgg_ray import report
        from sgg_ray.artifacts.run_list import removable_runs, remove_runs
        from sgg_ray.errors import ConfigError

        number = len(removable_runs(storage, names))
        folders = f"{number} run folder{'s' * (number > 1)}"
        try:
            agreed = yes or typer.confirm(f"delete {folders} from {storage}?", err=True)
        except typer.Abort:  # nobody is there to answer
            raise ConfigError("nothing was deleted; add --yes where nobody can answer") from None
        if not agreed:
            raise ConfigError("nothing was deleted")
        for folder in remove_runs(storage, names):
            report.print_line(console, f"deleted {folder}")

    run(work, False, debug, "`sgg runs` lists what is left")


def show(
    trained: RunName,
    most: Annotated[int, typer.Option("--wrong", min=0, help="Wrong test rows to show.")] = 10,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a training came to: settings, sources, quality, and the test rows that went wrong."""

    def work(console: "Console") -> None:
        from sgg_ray import report

        report.print_line(console, "reading the run", style="bold")
        import pandas as pd

        from sgg_ray.alignment import AlignmentReport
        from sgg_ray.artifacts.finished_run import open_run, read_part
        from sgg_ray.bounded import read_json

        found = open_run(trained)
        metrics = found.metrics
        frame = read_part(found.path, "predictions.parquet", pd.read_parquet)
        scores = None
        if (found.path / SCORES).is_file():
            scores = read_part(found.path, SCORES, lambda file: AlignmentReport.from_dict(read_json(file)))
        if as_json:
            wrong = report.wrong_rows(frame).head(most)
            rows = [{str(key): str(value) for key, value in row.items()} for row in wrong.to_dict("records")]
            report.print_json({"folder": str(found.path), "metrics": metrics, "wrong": rows})
            return
        report.print_pairs(console, found.path.name, report.settings_of(found.config.flat()))
        if scores is not None:
            report.print_scores(console, scores)
        report.print_quality(console, metrics)
        report.print_wrong_rows(console, frame, most, metrics.get("evaluated", "test rows"))

    run(work, as_json, debug)
