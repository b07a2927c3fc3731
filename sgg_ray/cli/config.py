"""``sgg config``."""

import typer

from sgg_ray.config import config_schema

config_app = typer.Typer(help="About the configuration file.", no_args_is_help=True)


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the configuration file."""
    from sgg_ray import report

    report.print_json(config_schema())
