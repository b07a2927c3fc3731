"""``report.html`` of a run folder: the parts that the command gives it, and how to repeat the run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sgg_ray.artifacts import RunFolder
from sgg_ray.report import Page, Section, configuration_section, reproduce_section, settings_of

PAGE = "report.html"


def write_page(folder: RunFolder, command: str, summary: Sequence[str], sections: Sequence[Section]) -> Path:
    """Write ``report.html``, last of all results: it shows pictures that the folder has by now.

    Args:
        command: of ``sgg``, such as ``train``.
        summary: what the run has shown, in sentences.
        sections: what only this command has.
    """
    record = folder.record
    started = str(record.get("started") or "")
    facts = [f"{name} {value}" for name, value in settings_of(record.get("settings", {})).items()]
    if started:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
        facts += [f"begun {started[:16].replace('T', ' ')} UTC", f"{seconds / 60:.1f} minutes"]
    config = (folder.path / "config.yaml").read_text(encoding="utf-8")
    page = Page(
        f"sgg {command}: {folder.name}",
        facts,
        summary,
        [*sections, reproduce_section(record, command), configuration_section(config)],
    )
    return folder.write_text(PAGE, page.html())
