"""``sgg predict``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import AsJson, Debug, Overwrite, Raw, RunName
from sgg_ray.cli.run import announce_loading, run

if TYPE_CHECKING:
    from rich.console import Console


def predict(
    trained: RunName,
    data: Annotated[
        Path,
        typer.Option("--data", help="File with texts: CSV, JSON, Parquet, Arrow or Excel, by its suffix."),
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .jsonl or .parquet.")],
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="Column with the texts or prompts, once for each column of a pair; default: the target's.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label", help="Column with true labels or references; default: the target's, if there."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Ray workers to spread the rows over; 0 = none.")
    ] = 0,
    overwrite: Overwrite = False,
    raw: Raw = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Label the rows of a file, or answer its prompts, with a trained model."""

    def work(console: "Console") -> None:
        from sgg_ray import report

        with report.ProgressDisplay(console) as display:
            announce_loading(display)
            from sgg_ray.orchestration.predict import predict_driver

            result = predict_driver.predict(
                trained,
                data,
                out,
                display,
                text=text,
                label=label,
                workers=workers,
                overwrite=overwrite,
                raw=raw,
            )
        if as_json:
            report.print_json(result.to_dict())
            return
        report.print_predictions(console, result.tally.to_dict(), result.seconds)
        report.print_line(console, f"written to {result.path}")

    run(work, as_json, debug)
