"""``sgg serve``."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import AsJson, Debug, RunName
from sgg_ray.cli.run import announce_loading, run
from sgg_ray.errors import EXIT_TERMINATED, Terminated

if TYPE_CHECKING:
    from rich.console import Console


def serve(
    trained: RunName,
    host: Annotated[
        str, typer.Option("--host", help="Interface to listen on; whoever reaches it may use the model.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8000,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Processes with the model, on the run's Ray cluster.")
    ] = 1,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Most texts that a replica sees at once.")
    ] = 64,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer HTTP requests with a trained model, until Ctrl-C or SIGTERM."""

    def work(console: "Console") -> None:
        from sgg_ray import report

        try:
            with ExitStack() as stack:
                with report.ProgressDisplay(console) as display:
                    announce_loading(display)
                    from sgg_ray.orchestration.serve import serve_driver

                    server = serve_driver.served(
                        trained, display, host=host, port=port, replicas=replicas, batch=batch
                    )
                    address = stack.enter_context(server)
                if as_json:
                    report.print_json({"address": address})
                    sys.stdout.flush()
                told = f"{address}/predict answers; {address}/docs describes it; Ctrl-C stops"
                report.print_line(console, told)
                serve_driver.wait_for_ever()
        except KeyboardInterrupt as stop:
            report.print_line(console, "stopped")
            raise SystemExit(EXIT_TERMINATED if isinstance(stop, Terminated) else 130) from None

    run(work, as_json, debug)
