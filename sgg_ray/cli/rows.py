"""``sgg rows``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import AsJson, Debug, Overwrite, Raw
from sgg_ray.cli.run import run

if TYPE_CHECKING:
    from rich.console import Console


def rows(
    scored: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Name of a finished `sgg score --rows` in runs/, or its folder or URI."
        ),
    ],
    source: Annotated[
        str | None, typer.Option("--source", help="Only rows of this task; the target counts, too.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=0, help="Rows to show.")] = 20,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="File to write: rows that are neither likely wrong nor duplicates, with weights; .csv, .jsonl or "
            ".parquet.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    raw: Raw = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the rows whose labels are likely wrong, or export the others."""

    def work(console: "Console") -> None:
        from sgg_ray import report
        from sgg_ray.artifacts import files
        from sgg_ray.artifacts.finished_run import run_files
        from sgg_ray.artifacts.row_table import export_rows, read_rows, worst_rows

        frame = read_rows(run_files(scored, "sgg score --rows"))
        worst = worst_rows(frame, source)
        counts = export_rows(frame, export, source, raw, overwrite) if export else None
        if as_json:
            listed = [files.as_json(row) for row in worst.head(most).to_dict("records")]
            exported = {"exported": {**counts, "file": str(export)}} if counts else {}
            report.print_json({"tasks": report.row_counts(worst.sort_index()), "rows": listed, **exported})
            return
        report.print_row_counts(console, worst.sort_index())
        report.print_worst_rows(console, worst, most)
        if counts:
            left = f"{counts['suspects']:,} likely wrong and {counts['duplicates']:,} duplicates left out"
            report.print_line(console, f"{counts['rows']:,} rows written to {export}; {left}")
            if counts["marked"]:
                report.print_line(
                    console,
                    f"{counts['marked']:,} cells that look like formulas got an apostrophe; --raw keeps them",
                )

    run(work, as_json, debug)
