"""The command line: parse, call one function, print. Nothing heavy is imported before it is needed."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from sgg_ray.cli.compare import compare
from sgg_ray.cli.config import config_app
from sgg_ray.cli.data import data
from sgg_ray.cli.doctor import doctor
from sgg_ray.cli.export import export
from sgg_ray.cli.init import init
from sgg_ray.cli.options import OnceCommand
from sgg_ray.cli.predict import predict
from sgg_ray.cli.rows import rows
from sgg_ray.cli.runs import runs_app, show
from sgg_ray.cli.score import score
from sgg_ray.cli.serve import serve
from sgg_ray.cli.train import train
from sgg_ray.cli.tune import tune

app = typer.Typer(
    help="Few-shot adaptation of language models with structured gradient guidance, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sgg_ray {version('sgg-ray')}")
        raise typer.Exit


@app.callback()
def _options(
    wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


for command in (init, doctor, data, score, rows, train, tune, compare, predict, serve, export, show):
    app.command(cls=OnceCommand)(command)
app.add_typer(runs_app, name="runs")
app.add_typer(config_app, name="config")


def main() -> None:
    """Entry point of ``sgg``."""
    app(prog_name="sgg", args=sys.argv[1:])
