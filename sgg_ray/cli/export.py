"""``sgg export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgg_ray.cli.options import AsJson, Debug, RunName
from sgg_ray.cli.run import run

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
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a trained model as a folder that other libraries load."""

    def work(console: "Console") -> None:
        from sgg_ray import report

        report.print_line(console, "loading the model", style="bold")
        from sgg_ray.artifacts import default_form, export_model, open_run

        found = open_run(trained)
        chosen = form or default_form(found)
        folder = export_model(found, to, chosen)
        if as_json:
            report.print_json({"folder": str(folder), "form": chosen})
            return
        report.print_line(console, f"written to {folder}; {folder / 'README.md'} explains how to load it")

    run(work, as_json, debug)
