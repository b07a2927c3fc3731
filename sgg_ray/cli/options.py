"""Options that several commands have."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperOption


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice, of which the parser would silently take the last."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        """Parse the command line.

        Raises:
            BadParameter: an option that takes one value has several.
        """
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option, count in Counter(order).items():
            if isinstance(option, TyperOption) and count > 1 and not option.multiple and not option.is_flag:
                raise typer.BadParameter(f"{option.opts[0]} is given {count} times; give it once", ctx)
        return super().parse_args(ctx, args)


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file (repeatable)."),
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the run and its folder.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check file, data and model, show the plan, start nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="How to fine-tune: auto, or a strategy of sgg compare such as sgg, sgg-target, full, lora, setfit.",
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a finished training in runs/, or its folder or URI.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output file if it exists.")]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="Keep cells of a .csv that a spreadsheet takes for formulas as they are."),
]
