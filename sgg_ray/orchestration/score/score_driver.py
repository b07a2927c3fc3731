"""`sgg score`: which sources pull the model the way the target does."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder
from sgg_ray.artifacts.row_table import ROWS, numbers_of, read_rows, shown_rows, write_rows
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.orchestration.lifecycle import begin_run, read_tasks, recorded
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_page import PAGE, write_page
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.capacity import check_capacity
from sgg_ray.orchestration.runtime.cluster import opened
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.row_scoring import require_labels, score_pool_rows
from sgg_ray.orchestration.score.sharded_scores import score_in_parts
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.report import (
    MOST_ROWS,
    as_sentence,
    data_section,
    html_page,
    html_picture,
    html_scores,
    plot_layers,
    plot_scores,
    plot_similarity,
    row_counts,
    rows_page,
    scores_section,
)
from sgg_ray.scoring import TaskRows
from sgg_ray.tasks import Task
from sgg_ray.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

SCORES = "scores.json"
ROWS_PAGE = "rows.html"
LAYERS = "layers.png"


@dataclass(frozen=True)
class ScoreResult:
    """Result of a scoring: the report, its run folder, and whether it was already there (``cached``)."""

    report: AlignmentReport
    folder: Path
    cached: bool = False

    def rows(self) -> "pd.DataFrame":
        """One line a row, if rows were scored: see docs/rows.md.

        Raises:
            ConfigError: they were not.
        """
        return read_rows(self.folder)

    def _repr_html_(self) -> str:
        return html_page(
            f"Alignment with {self.report.target}: {self.report.advice}",
            html_scores(self.report),
            html_picture(self.folder / "scores.png"),
        )


def prepare_scoring(
    config: Config, listener: Listener, rows: bool = False
) -> tuple[Task, list[Task], AlignmentReport | None]:
    """Everything that can be checked before a scoring starts; also the report of an equal one that is finished.

    Args:
        rows: whether rows are to be scored, too.

    Raises:
        SggError: bad input (exit 2).
    """
    if not config.sources:
        raise ConfigError("sources: there is nothing to score; add at least one source")
    target, sources = read_tasks(config, listener)
    if rows:
        if config.ray.sharding is not None:
            raise ConfigError(
                "ray.sharding: rows are scored by whole models; remove it, or score without rows"
            )
        require_labels(target)
    folder = RunFolder(config.ray.storage_path, config.name)
    cached = _finished(folder, config, fingerprint([target, *sources]))
    if rows and not (folder.path / ROWS).is_file():
        cached = None
    if cached is None:
        folder.check(config)
    return target, sources, cached


def score(
    config: Config, listener: Listener | None = None, executor: Executor | None = None, rows: bool = False
) -> ScoreResult:
    """Score every source of ``config`` against its target and leave a run folder and an MLflow run.

    The same settings on the same rows are not computed twice: the finished run's report is returned.

    Args:
        executor: what runs the task workers; Ray, as ``ray`` in the configuration says, unless given.
        rows: score every row of the sources and every shot, too: rows.parquet and rows.html in the run folder.

    Raises:
        SggError: bad input (exit 2) before anything starts, a failing cluster (exit 1) later.
    """
    listener = listener or NullListener()
    folder = RunFolder(config.ray.storage_path, config.name)
    target, sources, cached = prepare_scoring(config, listener, rows)
    if cached is not None:
        return ScoreResult(cached, folder.path, cached=True)
    content = fingerprint([target, *sources])
    with opened(config.ray, listener, executor) as executor:
        check_capacity(config, executor)
        tracker = begin_run(config, folder, "score", content, listener, [target, *sources])
        with recorded(folder, tracker):
            report, found = score_sources(config, target, sources, listener, executor, folder, rows)
            _require_a_score(report)  # a report without any would be taken for an answer next time
            write_report(folder, report)
            record_report(tracker, folder, report)
            page = [scores_section(report, folder.path), data_section([target, *sources])]
            write_page(folder, "score", [as_sentence(report.advice)], page)
            tracker.log_artifact(folder.path / PAGE)
            if found:
                record_rows(config, found, folder, tracker)
            folder.finish()
    tracker.finish()
    return ScoreResult(report, folder.path)


def _require_a_score(report: AlignmentReport) -> None:
    if all(row.score is None for row in report.sources):
        first = report.sources[0]
        raise ClusterError(f"no source could be scored; of '{first.source}': {first.note}")


def score_sources(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    listener: Listener,
    executor: Executor,
    folder: RunFolder,
    rows: bool = False,
) -> tuple[AlignmentReport, dict[str, TaskRows]]:
    """Start the task workers, score once, look where in the model sources agree, and end the workers.

    Args:
        folder: of the run.
        rows: whether rows are to be scored, too.
    """
    if config.ray.sharding is not None:
        return score_in_parts(config, target, sources, folder, listener, executor), {}
    listener.stage("loading the model in the task workers")
    workers = TaskWorkers.start(config, target, sources, listener, executor)
    try:
        listener.stage("scoring the sources")
        report = workers.score(listener=listener)
        listener.stage("comparing gradients layer by layer")
        try:
            report = replace(report, layers=workers.layers(listener))
        except ClusterError as error:  # a picture, no part in the scores
            listener.note(f"no comparison layer by layer: {error}")
        if not rows:
            return report, {}
        return report, score_pool_rows(config, target, sources, workers, report, folder, listener)
    finally:
        workers.close()


def record_rows(config: Config, found: dict[str, TaskRows], folder: RunFolder, tracker: Tracker) -> None:
    """Write the scores of rows to the run folder and log them to MLflow."""
    settings = config.alignment.row_weighting, config.alignment.row_share
    write_rows(folder.path / ROWS, found, *settings)
    counts = [count for one in found.values() for count in row_counts(numbers_of(one))]
    shown = shown_rows(found, MOST_ROWS, *settings)
    folder.write_text(ROWS_PAGE, rows_page(shown, counts, f"{config.name}: rows for {config.target.name}"))
    tracker.log_artifacts([folder.path / ROWS, folder.path / ROWS_PAGE])


def write_report(folder: RunFolder, report: AlignmentReport) -> None:
    """Write the scores to the run folder as JSON, Parquet and figures."""
    folder.write_parquet("scores.parquet", report.to_pandas())
    plot_scores(report, folder.path / "scores.png")
    plot_similarity(report, folder.path / "similarity.png")
    if report.layers:
        plot_layers(report, folder.path / LAYERS)
    folder.write_json(SCORES, report.to_dict())


def record_report(tracker: Tracker, folder: RunFolder, report: AlignmentReport) -> None:
    """Log scores, shares and the files of the report to MLflow."""
    tracker.log_curve([(report.step, scored_metrics(report))])
    names = ["config.yaml", SCORES, "scores.parquet", "scores.png", "similarity.png"]
    names += [LAYERS] if report.layers else []
    tracker.log_artifacts([folder.path / name for name in names])


def scored_metrics(report: AlignmentReport) -> dict[str, float]:
    """Score and weight of each source, by the names they have in MLflow."""
    values = {f"score/{row.source}": row.score.value for row in report.sources if row.score is not None}
    return values | {f"weight/{row.source}": row.weight for row in report.sources}


def _finished(folder: RunFolder, config: Config, content: str) -> AlignmentReport | None:
    """The report of a finished scoring with the same settings and rows."""
    record = folder.record
    same = (
        record.get("status") == "finished"
        and record.get("content") == content
        and record.get("command") == "score"
    )
    if not same or record.get("settings") != json.loads(json.dumps(config.flat())):
        return None
    folder.fetch()
    return stored_report(folder)


def stored_report(folder: RunFolder) -> AlignmentReport:
    """The scores that a run has written.

    Raises:
        ConfigError: they are gone or torn.
    """
    try:
        return AlignmentReport.from_dict(json.loads((folder.path / SCORES).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"name: {folder.path / SCORES} cannot be read ({type(error).__name__}: {error}); delete the run folder, "
            "or choose another --name"
        ) from error
