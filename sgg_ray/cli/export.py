"""``sgg export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgg_ray.cli.options import AsJson, Debug, RunName
from sgg_ray.cli.run import run
from sgg_ray.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def export(
    trained: RunName,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="New folder for the model.")],
    form: Annotated[
        Literal["sentence-transformers", "transformers", "adapter"] | None,
        typer.Option(
            "--form", help="Library that will load it; 'adapter' keeps the adapter separate from its model."
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="Also write the folder to this repository of the hub (HF_TOKEN).",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A repository that --push makes is visible to all.")
    ] = False,
    lm_eval: Annotated[
        Path | None,
        typer.Option(
            "--lm-eval",
            metavar="DIR",
            help="Also write the test rows as a task of lm-evaluation-harness into this new folder.",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a trained model as a folder that other libraries load."""

    def work(console: "Console") -> None:
        from sgg_ray import report

        report.print_line(console, "loading the model", style="bold")
        from sgg_ray.artifacts import check_push, default_form, export_model, open_run, write_lm_eval_task
        from sgg_ray.artifacts import push as push_folder

        if public and not push:
            raise ConfigError(
                "--public: it is about a repository; name one with --push owner/name, or leave it out"
            )
        token = check_push(push) if push else ""
        found = open_run(trained)
        chosen = form or default_form(found)
        task = write_lm_eval_task(found, lm_eval, to) if lm_eval else None
        folder = export_model(found, to, chosen)
        commit = push_folder(folder, push, token, public) if push else None
        if as_json:
            report.print_json({"folder": str(folder), "form": chosen, "task": task, "commit": commit})
            return
        report.print_line(console, f"written to {folder}; {folder / 'README.md'} explains how to load it")
        if task:
            report.print_line(console, f"task {task} in {lm_eval}; its first line is the command")
        if commit:
            report.print_line(console, f"pushed: {commit}")

    again = "the same command starts over"
    if push or lm_eval:  # one of several things may be finished
        left = " and ".join(str(place) for place in (to, lm_eval) if place)
        again = f"{again}; delete {left} first if {'they are' if lm_eval else 'it is'} there"
    run(work, as_json, debug, again)
