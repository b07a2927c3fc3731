"""``sgg data``."""

from typing import TYPE_CHECKING

from sgg_ray.cli.options import AsJson, ConfigPath, Debug, Overrides
from sgg_ray.cli.run import run
from sgg_ray.config import load_config

if TYPE_CHECKING:
    from rich.console import Console


def data(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Look at the rows of all tasks: classes, lengths, languages, duplicates, leaks, contradictions."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or ())
        from sgg_ray import report
        from sgg_ray.models import look_at_data

        look = look_at_data(loaded)
        if as_json:
            report.print_json(look.to_dict())
            return
        report.print_data(console, look)

    run(work, as_json, debug)
