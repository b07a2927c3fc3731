"""``sgg init``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgg_ray.cli.options import Debug
from sgg_ray.cli.run import run
from sgg_ray.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.")] = Path(),
    data: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Your labelled rows; left out: an example.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Column with the texts; guessed if left out.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column with the labels; guessed if left out.")
    ] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--source", metavar="FILE", help="Older labelled rows that may help.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a commented configuration, for an example or for your own files."""

    def work(console: "Console") -> None:
        from sgg_ray.artifacts import write_example, write_from_files
        from sgg_ray.report import print_line
        from sgg_ray.tasks import guess_task

        if data is None:
            if text or label or source:
                raise ConfigError("--from: name the file that the other options are about")
            for path in write_example(folder):
                print_line(console, f"written: {path}")
        else:
            target = guess_task(data, "--from", text, label)
            sources = {path: guess_task(path, "--source") for path in source or ()}
            path, assumed = write_from_files(folder, data, target, sources)
            for line in assumed:
                print_line(console, f"assumed: {line}")
            print_line(console, f"written: {path}; look through it")
        change = f"cd {shlex.quote(str(folder))} && " if folder != Path() else ""
        print_line(console, f"next: {change}sgg score sgg.yaml, then sgg train sgg.yaml")

    run(work, False, debug)
