"""``sgg score``."""

from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import AsJson, ConfigPath, Debug, DryRun, Name, Overrides
from sgg_ray.cli.run import announce_loading, end_dry_run, run, run_folder, show_plan
from sgg_ray.config import load_config

if TYPE_CHECKING:
    from rich.console import Console


def score(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    rows: Annotated[
        bool,
        typer.Option(
            "--rows", help="Also score every row: wrong labels, duplicates, outliers; see sgg rows."
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Rank the sources by how well their gradients agree with the target's."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name)
        # A scoring and a training of one file are two runs, with a folder each.
        suffix = "rows" if rows else "score"
        loaded = loaded if name else loaded.model_copy(update={"name": f"{loaded.name}-{suffix}"})
        from sgg_ray import report

        with report.ProgressDisplay(console) as display:
            plan = show_plan(console, loaded, "score")
            announce_loading(display)
            from sgg_ray.orchestration.score import score_driver

            if dry_run:
                score_driver.prepare_scoring(loaded, display, rows)
                end_dry_run(plan, as_json)
                return
            result = score_driver.score(loaded, display, rows=rows)
        if as_json:
            found = {"rows": report.row_counts(result.rows())} if rows else {}
            report.print_json(
                {**result.report.to_dict(), **found, "folder": run_folder(loaded), "cached": result.cached}
            )
            return
        report.print_scores(console, result.report)
        if rows:
            report.print_row_counts(console, result.rows())
            report.print_line(console, f"more: sgg rows {run_folder(loaded)}, or open rows.html there")
        if result.cached:
            console.print(
                f"scored before with the same settings and rows; delete {run_folder(loaded)} to score again"
            )
        report.print_line(console, f"written to {run_folder(loaded)}")

    run(work, as_json, debug)
