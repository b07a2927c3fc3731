"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run and its folder.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check file, data and model, show the plan, start nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a finished training in runs/, or its folder or URI.")
]
