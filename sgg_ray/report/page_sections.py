"""The parts of ``report.html`` that describe one training or scoring, and how to repeat a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.config import listed_labels
from sgg_ray.evaluation import (
    ClassificationMetrics,
    GenerationComparison,
    GenerationMetrics,
    LabelSetMetrics,
    PairedComparison,
    RegressionMetrics,
)
from sgg_ray.report.cells import results_cells, scores_cells
from sgg_ray.report.kind_tables import kind_table
from sgg_ray.report.model_result import ModelResult
from sgg_ray.report.page import PageTable, Section, as_sentence, pictures, sentences
from sgg_ray.report.run_tables import wrong_rows
from sgg_ray.report.tables import conclusions

if TYPE_CHECKING:
    import pandas as pd

    from sgg_ray.alignment import AlignmentReport
    from sgg_ray.tasks import Task

MOST_WRONG = 40  # rows that are listed
MOST_CLASSES = 12  # of which the whole confusion matrix is shown
MOST_CONFUSIONS = 12
LONGEST_TEXT = 600  # characters of one text

SCORE_PICTURES = {
    "scores.png": "Alignment of each source with the target, with its interval. Bars are the table's numbers.",
    "similarity.png": "Cosines of the tasks' mean gradients as observed. With few examples every observed cosine is "
    "nearer to 0 than the true one; the table's alignment is corrected for that, so it differs.",
    "layers.png": "Where in the model the sources agree with the target: observed cosines, layer by layer.",
}
TRAINING_PICTURES = {
    "curves.png": "The training step by step: faint lines are single steps, strong ones running means.",
    "modules.png": "Size and direction of the gradient, module by module.",
}


def scores_section(report: AlignmentReport, folder: Path) -> Section:
    """The ranked sources and their pictures."""
    notes = [f"{source.source}: {source.note}" for source in report.ranked() if source.note]
    table = PageTable(*scores_cells(report), f"sources for {report.target}, best first")
    return Section("Sources", [as_sentence(report.advice), *notes], [table], pictures(folder, SCORE_PICTURES))


def quality_section(results: Sequence[ModelResult], lines: Sequence[str] = ()) -> Section:
    """Every model on the same test rows."""
    return Section("Quality", [*lines], [PageTable(*results_cells(results))])


def quality_lines(results: Sequence[ModelResult]) -> list[str]:
    """What the numbers show, in sentences."""
    last = results[-1]
    other = kind_table(results)
    if isinstance(last.metrics, RegressionMetrics | LabelSetMetrics):
        assert other is not None
        return sentences(other.lines)
    if isinstance(last.metrics, GenerationMetrics):
        share, gain = last.metrics.exact_match, last.gain
        lines = [f"{last.name} gives the reference in {100 * share:.1f} % of {last.metrics.rows:,} test rows"]
        if isinstance(gain, GenerationComparison):
            verdict = gain.exact_match.verdict
            lines.append(f"exact matches, compared with {results[0].name}: {verdict}")
        return sentences(lines)
    assert isinstance(last.metrics, ClassificationMetrics)
    share = f"{100 * last.metrics.accuracy:.1f} %"
    first = f"{last.name} labels {share} of {last.metrics.rows:,} {last.rows} correctly"
    if isinstance(last.gain, PairedComparison):
        gain = last.gain
        first += (
            f", {100 * gain.difference:+z.1f} points compared with {results[0].name} (95 % interval "
            f"{100 * gain.low:+z.1f} … {100 * gain.high:+z.1f})"
        )
    return sentences([first, *conclusions(results)[1:]])


def wrong_section(
    frame: pd.DataFrame, metrics: object, labels: Sequence[str], what: str = "test rows"
) -> Section:
    """The test rows that went wrong, those that the model was surest of first, and what is taken for what.

    Args:
        frame: predictions.parquet of a run.
        metrics: of the model; those of a classifier have a confusion matrix.
        labels: in the order of the matrix.
        what: the rows are called.
    """
    wrong = wrong_rows(frame)
    shown = wrong.head(MOST_WRONG)
    line = f"{len(wrong):,} of {len(frame):,} {what} are wrong."
    if "error" in frame:
        return _errors_section(frame, shown)
    if len(shown) < len(wrong):
        line += f" Shown are {len(shown)}; predictions.parquet has all of them."
    if "predicted" not in frame:
        rows = [
            [_shortened(row["prompt"]), _shortened(row["reference"]), _shortened(row["generated"])]
            for row in shown.to_dict("records")
        ]
        table = PageTable(["prompt", "reference", "generated"], rows, "the largest loss first")
        return Section("Rows that went wrong", [line], [table] if rows else [])
    fields = list(frame.columns[: list(frame.columns).index("label")])
    rows = [
        [str(row["label"]), str(row["predicted"]), f"{100 * row['confidence']:.0f} %"]
        + [_shortened(row[name]) for name in fields]
        for row in shown.to_dict("records")
    ]
    tables = (
        [_confusion_table(metrics.confusion, labels)] if isinstance(metrics, ClassificationMetrics) else []
    )
    if rows:
        headings = ["label", "predicted", "confidence", *fields]
        tables.append(PageTable(headings, rows, "the model's surest mistakes first"))
    return Section("Rows that went wrong", [line], tables)


def _errors_section(frame: pd.DataFrame, shown: pd.DataFrame) -> Section:
    fields = list(frame.columns[: list(frame.columns).index("label")])
    rows = [
        [f"{row['label']:g}", f"{row['predicted']:.3f}", f"{row['error']:+z.3f}"]
        + [_shortened(row[name]) for name in fields]
        for row in shown.to_dict("records")
    ]
    table = PageTable(["true", "predicted", "error", *fields], rows, "the largest errors first")
    return Section("Largest errors", [f"Shown are {len(shown)} of {len(frame):,} test rows."], [table])


def _confusion_table(confusion: np.ndarray, labels: Sequence[str]) -> PageTable:
    """The whole matrix, or of many classes the most frequent mistakes."""
    if len(labels) <= MOST_CLASSES:
        rows = [[label, *map(str, counts)] for label, counts in zip(labels, confusion.tolist())]
        return PageTable(["true \\ predicted", *labels], rows, "how many rows of each label get which")
    mistakes = confusion * (1 - np.eye(len(labels), dtype=confusion.dtype))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_CONFUSIONS]
    places = [np.unravel_index(place, mistakes.shape) for place in order]
    rows = [
        [labels[true], labels[said], str(mistakes[true, said])]
        for true, said in places
        if mistakes[true, said]
    ]
    return PageTable(["label", "predicted", "rows"], rows, "the most frequent mistakes")


def data_section(tasks: Sequence[Task]) -> Section:
    """How many rows each task has, and what was dropped or repaired while reading."""
    rows = [
        [
            task.name,
            task.role,
            f"{len(task.train):,}",
            f"{len(task.test):,}" if len(task.test) else "",
            _classes(task),
        ]
        for task in tasks
    ]
    notes = [f"{task.name}: {note}" for task in tasks for note in task.notes]
    table = PageTable(["task", "role", "training rows", "test rows", "labels"], rows)
    return Section("Data", notes, [table])


def training_section(folder: Path) -> Section:
    """Pictures of the training."""
    return Section("Training", pictures=pictures(folder, TRAINING_PICTURES))


def reproduce_section(record: Mapping[str, Any], command: str) -> Section:
    """What it takes to repeat the run: command, seed, rows, versions, commit.

    Args:
        record: what run.json holds.
        command: of ``sgg``, such as ``train``.
    """
    git = record.get("git")
    commit = "not in a repository"
    if git:
        commit = git["commit"] + (", with changes that were not committed" if git.get("changed") else "")
    facts = [
        ["seed", str(record.get("seed", ""))],
        ["git commit of the working directory", commit],
        ["hash of all rows", str(record.get("content", ""))],
        ["MLflow run", str(record.get("mlflow_run_id") or "none")],
    ]
    versions = [[name, version] for name, version in record.get("versions", {}).items()]
    return Section(
        "How to repeat it",
        [
            "Save the configuration below as config.yaml (it is in the run's folder too), and give this command where "
            "its paths hold. All randomness follows from the seed: shots, splits, batches, dropout.",
        ],
        [PageTable(["what", "value"], facts), PageTable(["package", "version"], versions)],
        code=f"sgg {command} config.yaml --name {record.get('name', 'run')}-again",
    )


def configuration_section(text: str) -> Section:
    """The whole configuration, as config.yaml has it."""
    return Section("Configuration", code=text)


def _classes(task: Task) -> str:
    if task.generates:
        return "answers"
    more = f" and {len(task.labels) - MOST_CLASSES} more" if len(task.labels) > MOST_CLASSES else ""
    return listed_labels(task.labels[:MOST_CLASSES]) + more


def _shortened(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 1]}…"
