"""`sgg train`: score, fine-tune under Ray Train, compare with the target alone, leave everything in a run folder."""

import json
import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.exceptions import RayError

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder, StorageFolder, write_model_card
from sgg_ray.bounded import parse_json
from sgg_ray.config import Config
from sgg_ray.errors import CheckpointError, SggError, TrainingError
from sgg_ray.evaluation import directional_alignment, gradient_stability
from sgg_ray.models import MODEL_MANIFEST, write_temperature
from sgg_ray.orchestration.evaluated_predictions import (
    Comparison,
    EvaluatedPredictions,
    Metrics,
    final_numbers,
    find_predicted,
    load_predicted,
    predicted_file,
    save_predicted,
)
from sgg_ray.orchestration.lifecycle import begin_run, fingerprint, read_tasks, recorded, refuse_other_rows
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.runtime.cluster import check_capacity, connected, grow
from sgg_ray.orchestration.runtime.event_log import Message, open_event_log
from sgg_ray.orchestration.score.score_driver import SCORES, record_report, stored_report, write_report
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.calibration_folds import (
    CALIBRATION,
    start_folds,
    temperature_of,
    usable_folds,
)
from sgg_ray.orchestration.train.torch_trainer import as_sgg_error, final_checkpoint, make_trainer
from sgg_ray.orchestration.train.train_worker import (
    BASELINE,
    GUIDED,
    MODEL,
    RESULT,
    train_alone,
)
from sgg_ray.prediction import Predictor
from sgg_ray.report import (
    ModelResult,
    html_page,
    html_picture,
    html_results,
    module_table,
    plot_curves,
    plot_modules,
)
from sgg_ray.tasks import Task
from sgg_ray.tracking import Tracker
from sgg_ray.training import Predicted, check_checkpoint

if TYPE_CHECKING:
    import pandas as pd

POLL_SECONDS = 0.5
CHOICE = "choice.json"  # what strategy auto decided, and why
SNAPSHOT = "checkpoint_manager_snapshot.json"  # what Ray 2.60 resumes from
TRAIN_STATE = "ray_train"  # Ray Train's own folder inside the run folder; removed when the run is finished


@dataclass(frozen=True)
class TrainResult:
    """What a training came to."""

    folder: Path
    metrics: Metrics
    baseline: Metrics | None
    comparison: Comparison | None  # guided − target-only, on the same test rows
    report: AlignmentReport | None
    summary: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "guided": self.metrics.to_dict(),
            BASELINE: self.baseline.to_dict() if self.baseline else None,
            "difference": self.comparison.to_dict() if self.comparison else None,
            **self.summary,
        }

    def rows(self) -> list[ModelResult]:
        """The models of the final comparison, the baseline first."""
        guided = ModelResult("guided", self.metrics, self.comparison)
        return [guided] if self.baseline is None else [ModelResult("target only", self.baseline), guided]

    def predict(self, texts: Sequence[str]) -> "pd.DataFrame":
        """Label, probability of each label and confidence of each text; of kind generation the answer to each."""
        return Predictor(self.folder / MODEL).predict(texts)

    def _repr_html_(self) -> str:
        title = f"{self.folder.name}, {self.metrics.rows} test rows"
        return html_page(title, html_results(self.rows()), html_picture(self.folder / "curves.png"))


@dataclass
class _Session:
    """Everything that the driver of one training holds."""

    config: Config
    target: Task
    sources: list[Task]
    folder: RunFolder
    tracker: Tracker
    listener: Listener
    last_step: dict[str, int] = field(default_factory=dict)
    received: int = 0  # messages from the workers


def prepare_training(config: Config, listener: Listener) -> tuple[Task, list[Task]]:
    """Everything that can be checked before a training starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    target, sources = read_tasks(config, listener)
    if resumes:
        _check_resumable(folder, fingerprint([target, *sources]))
    return target, sources


def _check_resumable(folder: RunFolder, content: str) -> None:
    refuse_other_rows(folder, content)
    if (folder.path / SCORES).exists():
        stored_report(folder)
    state = folder.state(TRAIN_STATE)
    try:
        latest = _latest(state)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"name: the snapshot in {state.path} cannot be read ({error}); delete the run folder or give the run "
            "another --name"
        ) from error
    if latest is None or state.filesystem is not None:
        return  # in an object store a file is whole or not there
    checkpoint = Path(state.path) / latest["checkpoint_dir_name"]
    if find_predicted(checkpoint) is None:
        check_checkpoint(checkpoint)


def _latest(state: StorageFolder) -> dict[str, Any] | None:
    """The last checkpoint in Ray's snapshot; none if there is none, or no whole snapshot in a local folder."""
    try:
        snapshot = parse_json(state.read(SNAPSHOT) or b"{}")
        if not isinstance(snapshot, dict):
            raise ValueError("it holds no JSON object")
        latest = snapshot.get("latest_checkpoint_result")
        if latest is not None and not (isinstance(latest, dict) and "checkpoint_dir_name" in latest):
            raise ValueError("it names no checkpoint")
        return latest
    except ValueError:
        if state.filesystem is not None:
            raise
        return None


def _last_whole(state: StorageFolder, listener: Listener) -> ray.train.Checkpoint | None:
    """Ray 2.60 writes its snapshot over the last one, so that a full disk leaves half of one; checkpoints stay."""
    if state.filesystem is not None or _latest(state) is not None:
        return None
    Path(state.path, SNAPSHOT).unlink(missing_ok=True)
    for folder in sorted(Path(state.path).glob("checkpoint_*"), reverse=True):
        with suppress(CheckpointError):
            check_checkpoint(folder)
            listener.note(f"Ray's snapshot in {state.path} is torn: going on from its last whole checkpoint")
            return ray.train.Checkpoint.from_directory(folder)
    return None


def train(config: Config, listener: Listener | None = None) -> TrainResult:
    """Fine-tune on the target with the scored mixture of sources and guidance, and evaluate on the whole test split.

    A run that was killed goes on under the same name: scores, the finished baseline and the last checkpoint are kept.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster or training (exit 1) later.
    """
    listener = listener or NullListener()
    folder = RunFolder(config.ray.storage_path, config.name)
    target, sources = prepare_training(config, listener)
    listener.stage("starting Ray")
    with connected(config.ray):
        grow(config.ray, listener)
        check_capacity(config)
        tracker = begin_run(config, folder, "train", fingerprint([target, *sources]), listener)
        with recorded(folder, tracker):
            return _train(_Session(config, target, sources, folder, tracker, listener))


def _train(session: _Session) -> TrainResult:
    config, folder = session.config, session.folder
    exchange, report = _scores(session)
    try:
        weights = report.weights if report else {}
        if report and not any(weights.values()) and config.alignment.weighting != "none":
            session.listener.note("no source is usable: training on the target alone, with guidance")
        baseline = _fit(session, weights, exchange)
    finally:
        if exchange is not None:
            exchange.close()
    _calibrate(session, weights)
    session.listener.stage("writing the report")
    judged = EvaluatedPredictions.of(
        session.target, load_predicted(folder.path / predicted_file(session.target))
    )
    result = _evaluate(session, judged, baseline, report)
    _write(session, judged, result)
    folder.finish()
    session.tracker.finish()
    folder.state(TRAIN_STATE).delete()
    return result


def _scores(session: _Session) -> tuple[TaskWorkers | None, AlignmentReport | None]:
    """Scores of this run, from before if it was resumed; and the workers, if they are needed later on."""
    config, folder, listener = session.config, session.folder, session.listener
    if not session.sources:
        return None, None
    stored = folder.path / SCORES
    refreshed = config.alignment.refresh_interval > 0
    if stored.exists() and not refreshed:
        listener.note(f"scores from {stored}: this run goes on where it was stopped")
        return None, stored_report(folder)
    listener.stage("loading the model in the task workers")
    exchange = TaskWorkers.start(config, session.target, session.sources, listener)
    try:
        listener.stage("scoring the sources")
        report = exchange.score(listener=listener)
    except BaseException:
        exchange.close()
        raise
    write_report(folder, report)
    record_report(session.tracker, folder, report)
    listener.scores(report)
    if not refreshed:
        exchange.close()  # their memory is worth more to the training
        return None, report
    return exchange, report


def _fit(session: _Session, weights: dict[str, float], exchange: TaskWorkers | None) -> Predicted | None:
    """Run Ray Train, and the baseline beside it if there is room, else after it; return what the baseline predicts."""
    config, folder, listener = session.config, session.folder, session.listener
    log = open_event_log()
    name = predicted_file(session.target)
    stored = folder.path / f"baseline_{name}"
    wanted = config.train.baseline and not stored.exists()
    pending = _start_baseline(session, log) if wanted and _room_for_both(config, exchange) else None
    beside = " beside the target-only baseline" if pending is not None else ""
    listener.stage(f"training, {config.ray.num_workers} worker{'s' * (config.ray.num_workers > 1)}{beside}")
    try:
        if not (folder.path / name).exists():
            _run_ray_train(session, weights, exchange, log)
        if wanted:
            if pending is None:
                listener.stage("training the target-only baseline")
                pending = _start_baseline(session, log)
            predicted, _ = _await(session, log, pending)
            save_predicted(stored, predicted)
    except BaseException:
        with suppress(RayError):
            # Keeps what was told so far, and makes training workers stop before their next checkpoint.
            _pass_on(session, ray.get(log.close.remote(session.received)))
            if pending is not None:
                ray.cancel(pending, force=True)
        raise
    return load_predicted(stored) if stored.exists() else None


def _calibrate(session: _Session, weights: dict[str, float]) -> None:
    """Find the model's temperature. It is a convenience: a training that fails here does not fail the run."""
    config, folder, target = session.config, session.folder, session.target
    folds = usable_folds(config, target)
    if not folds or (folder.path / CALIBRATION).exists():
        return
    session.listener.stage(f"calibrating: {len(folds)} trainings that leave out a part of the shots")
    log = open_event_log()
    pending = start_folds(config, target, session.sources, weights, folds, log)
    try:
        predicted = [_await(session, log, reference) for reference in pending]
    except SggError as error:
        session.listener.note(f"the model is not calibrated: {error}")
        return
    except BaseException:
        with suppress(RayError):
            for reference in pending:
                ray.cancel(reference, force=True)
        raise
    found = temperature_of(target, folds, predicted)
    write_temperature(folder.path / MODEL, found["temperature"])
    folder.write_json(CALIBRATION, found)


def _start_baseline(session: _Session, log: Any) -> ray.ObjectRef:
    config = session.config
    options = {"num_cpus": config.ray.cpus_per_worker, "num_gpus": config.ray.gpus_per_worker}
    return train_alone.options(**options).remote(config, session.target, log)


def _room_for_both(config: Config, exchange: TaskWorkers | None) -> bool:
    """Whether the cluster holds one process more than the training workers (and the task workers that stay)."""
    resources, asked = ray.cluster_resources(), config.ray
    tasks = len(set(map(id, exchange.workers.values()))) if exchange else 0
    processes = asked.num_workers + 1
    return processes * asked.cpus_per_worker + tasks * asked.cpus_per_task_worker <= resources.get(
        "CPU", 0
    ) and processes * asked.gpus_per_worker + tasks * asked.gpus_per_task_worker <= resources.get("GPU", 0)


def _run_ray_train(
    session: _Session, weights: dict[str, float], exchange: TaskWorkers | None, log: Any
) -> None:
    """Fit in a thread while this one passes events on; then take the model out of the last checkpoint."""
    config, folder = session.config, session.folder
    tasks, state = ray.put((session.target, session.sources)), folder.state(TRAIN_STATE)
    whole = _last_whole(state, session.listener)
    trainer = make_trainer(config, tasks, weights, log, state, exchange=exchange, checkpoint=whole)
    box: dict[str, Any] = {}

    def fit() -> None:
        try:
            box["result"] = trainer.fit()
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        _pass_on(session, ray.get(log.fetch.remote(session.received)))
    _pass_on(session, ray.get(log.fetch.remote(session.received)))
    if "error" in box:
        raise as_sgg_error(box["error"], state.path)
    with final_checkpoint(box["result"]) as checkpoint:
        _take_over(checkpoint, folder)


def _take_over(checkpoint: Path, folder: RunFolder) -> None:
    """Copy model and results into the run folder; the predictions come last and mark the copy as complete."""
    model = folder.path / MODEL
    part = folder.path / f".{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(checkpoint / MODEL, part)
    shutil.rmtree(model, ignore_errors=True)
    os.replace(part, model)
    folder.write_text(RESULT, (checkpoint / RESULT).read_text(encoding="utf-8"))
    found = find_predicted(checkpoint)
    assert found is not None
    save_predicted(folder.path / found.name, load_predicted(found))


def _await(session: _Session, log: Any, reference: ray.ObjectRef) -> Any:
    """Wait for the baseline, passing events on."""
    while True:
        done, _ = ray.wait([reference], timeout=POLL_SECONDS)
        _pass_on(session, ray.get(log.fetch.remote(session.received)))
        if done:
            try:
                return ray.get(reference)
            except Exception as error:
                raise as_sgg_error(error) from error


def _pass_on(session: _Session, messages: Sequence[Message]) -> None:
    """Write, log and show what the workers have told."""
    for message in messages:
        _take_in(session, *message)
        session.received += 1


def _take_in(session: _Session, run: str, kind: str, payload: Any) -> None:
    if kind == "steps":
        # After a restart the steps since the last checkpoint run again.
        events = [event for event in payload if event["step"] > session.last_step.get(run, -1)]
        if not events:
            return
        session.folder.append_events([{"run": run, **event} for event in events])
        session.last_step[run] = int(events[-1]["step"])
        prefix = "" if run == GUIDED else f"{run}/"
        session.tracker.log_metrics(
            [
                (int(e["step"]), {prefix + name: value for name, value in e.items() if name != "step"})
                for e in events
            ]
        )
        session.listener.steps(run, events, session.config.train.max_steps)
    elif kind == "evaluated":
        done, rows = payload
        session.listener.advance(done, rows, f"test rows predicted, {run}")
    elif kind == "report":
        session.folder.append_events([{"run": run, "scores": payload.to_dict()}])
        values = {f"weight/{row.source}": row.weight for row in payload.sources}
        values |= {f"score/{row.source}": row.score.value for row in payload.sources if row.score}
        session.tracker.log_metrics([(payload.step, values)])
    elif kind == "choice":
        text = payload.pop("text")
        session.folder.write_json(CHOICE, payload)
        session.folder.append_events([{"run": run, "choice": payload}])
        session.tracker.log_artifacts([session.folder.path / CHOICE])
        session.listener.note(f"strategy auto: {text}")
    elif kind == "calibration":
        session.listener.steps(run, payload, session.config.train.max_steps)
    else:
        session.folder.append_events([{"run": run, kind: payload}])
        session.listener.note(str(payload))


def _evaluate(
    session: _Session,
    judged: EvaluatedPredictions,
    baseline: Predicted | None,
    report: AlignmentReport | None,
) -> TrainResult:
    metrics = judged.metrics()
    other = comparison = None
    if baseline is not None:
        alone = EvaluatedPredictions.of(session.target, baseline)
        other, comparison = alone.metrics(), judged.minus(alone)
    every = [e for e in session.folder.read_events() if e.get("run") == GUIDED and "gradient_norm" in e]
    events = {
        event["step"]: event for event in every
    }.values()  # of a step that ran twice the later one counts

    def column(name: str) -> list[float]:
        return [event[name] for event in events if event.get(name) is not None]

    summary = {
        **json.loads((session.folder.path / RESULT).read_text(encoding="utf-8")),
        "gradient_stability": gradient_stability(column("gradient_norm"), column("step_cosine")).to_dict(),
        "directional_alignment": directional_alignment(column("alignment_cosine")),
    }
    stored = session.folder.path / CALIBRATION
    if stored.exists():
        found = json.loads(stored.read_text(encoding="utf-8"))
        summary["calibration"] = found | judged.calibration(found["temperature"])
    return TrainResult(session.folder.path, metrics, other, comparison, report, summary)


def _write(session: _Session, judged: EvaluatedPredictions, result: TrainResult) -> None:
    folder, target = session.folder, session.target
    folder.write_parquet("predictions.parquet", judged.frame())
    metrics = result.to_dict()
    folder.write_json("metrics.json", metrics)
    events = folder.read_events()
    plot_curves(events, folder.path / "curves.png")
    written = ["config.yaml", "metrics.json", "predictions.parquet", "curves.png"]
    if session.config.guidance.view_modules:
        modules = module_table(events)
        folder.write_parquet("modules.parquet", modules)
        drawn = plot_modules(modules, folder.path / "modules.png")
        written += ["modules.parquet", *(["modules.png"] if drawn else [])]
    write_model_card(
        folder.path / MODEL,
        config=session.config,
        target=target,
        sources=session.sources,
        report=result.report,
        metrics=metrics,
    )
    final = final_numbers(result.metrics, result.baseline, result.comparison)
    if calibration := result.summary.get("calibration"):
        final["test/ece"] = calibration["ece"]
        final["test/ece_uncalibrated"] = calibration["ece_uncalibrated"]
    session.tracker.log_metrics([(session.config.train.max_steps, final)])
    session.tracker.log_artifacts([folder.path / name for name in written])
    session.tracker.log_model(folder.path / MODEL, target.labels, session.config.tracking.register_as)
    if not (folder.path / MODEL / MODEL_MANIFEST).exists():
        raise TrainingError(f"{folder.path / MODEL}: the model was not written; look for a full disk")
