"""``sgg doctor``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import AsJson, Debug
from sgg_ray.cli.run import announce_loading, run
from sgg_ray.errors import EXIT_FAILED, SggError

if TYPE_CHECKING:
    from rich.console import Console


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]", help="Configuration whose needs are checked; default: those of an empty file."
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Also run a toy task through score, train, predict and export.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check that this machine has everything a run needs, and suggest fixes."""

    def work(console: "Console") -> None:
        from sgg_ray import report
        from sgg_ray.config import RayConfig, TrackingConfig, load_config

        loaded = load_config(config) if config else None
        cluster, tracking = (loaded.ray, loaded.tracking) if loaded else (RayConfig(), TrackingConfig())  # pyright: ignore[reportCallIssue]
        checks = []
        # One display for all of it: its clock shows that a check that takes long is still being made.
        with report.ProgressDisplay(console) as display:
            announce_loading(display)
            from sgg_ray.orchestration.doctor.check import Check
            from sgg_ray.orchestration.doctor.checks import examine
            from sgg_ray.orchestration.doctor.smoke import run_smoke

            display.stage("checking this machine")

            def try_everything() -> Check:
                started = time.perf_counter()
                try:
                    found, holds = run_smoke(loaded, display), True
                except SggError as error:
                    found, holds = error.problems[0], False
                found += f" in {time.perf_counter() - started:.0f} s"
                return Check("smoke", holds, found, "fix the problem named above, or report it")

            for check in examine(cluster, tracking, try_everything if smoke else None):
                checks.append(check)
                report.print_check(console, check.name, check.holds, check.found, check.fix)
        failed = [check.name for check in checks if not check.holds]
        if as_json:
            report.print_json({"checks": [check.to_dict() for check in checks], "holds": not failed})
        else:
            report.print_line(console, f"to fix: {', '.join(failed)}" if failed else "all checks passed")
        if failed:
            raise SystemExit(EXIT_FAILED)

    run(work, as_json, debug)
