"""`sgg tune`: search settings with Ray Tune, judged on held-out shots, never on test rows."""

import math
import os
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import ray
from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, Distribution, TuneConfig, depends_on_scores, dump_config, with_values
from sgg_ray.errors import CapacityError, ClusterError, ConfigError
from sgg_ray.evaluation import Trial, ranked, within_noise
from sgg_ray.orchestration.lifecycle import begin_run, read_tasks, recorded, refuse_other_rows
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.cluster import check_capacity, connected, grow, rooms
from sgg_ray.orchestration.runtime.event_log import Inbox
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.tune.kept_trials import KeptTrial
from sgg_ray.orchestration.tune.sweep_record import PLOTS, SweepRecord
from sgg_ray.orchestration.tune.sweep_trial import Sweep, run_trial, score_key
from sgg_ray.report import html_page, html_picture, html_sweep
from sgg_ray.tasks import Fold, Task, hold_out

POLL_SECONDS = 0.5
TUNE_STATE = "ray_tune"  # Ray Tune's own folder inside the run folder
GROUP_STATE = "ray_groups"  # Ray Train's, of trials that have several workers
RETRIES = 2  # of a trial whose process died

# Read by Ray Tune 2.60 in the driver: its loggers write files that nobody here reads.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even when asked for silence
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class TuneResult:
    """Result of a sweep: its trials and the configuration with the best values."""

    folder: Path
    trials: list[Trial]  # best first
    settings: TuneConfig

    @property
    def best(self) -> Trial:
        """The best finished trial."""
        return self.trials[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        near = {trial.number for trial in within_noise(self.trials, self.settings.metric)}
        return {
            "folder": str(self.folder),
            "best": str(self.folder / "best.yaml"),
            "trials": [
                {
                    "trial": trial.number,
                    "status": trial.status,
                    "values": dict(trial.values),
                    "loss": trial.loss if trial.losses else None,
                    "accuracy": trial.accuracy if trial.losses else None,
                    "within_noise_of_best": trial.number in near,
                    "note": trial.note,
                }
                for trial in self.trials
            ],
        }

    def _repr_html_(self) -> str:
        title = f"{self.folder.name}: {len(self.trials)} trials"
        pictures = (html_picture(self.folder / name) for name in PLOTS)
        return html_page(title, html_sweep(self.trials, self.settings), *pictures)


@dataclass(frozen=True)
class _Plan:
    """What is known before a sweep starts."""

    config: Config
    settings: TuneConfig
    target: Task
    sources: list[Task]
    folds: list[Fold]


def prepare_tuning(config: Config, listener: Listener) -> _Plan:
    """Everything that can be checked before a sweep starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    settings = config.tune or TuneConfig()  # pyright: ignore[reportCallIssue]
    config = config.model_copy(update={"tune": settings})
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    target, sources = read_tasks(config, listener)
    folds = hold_out(target, settings.folds, config.seed)
    if settings.scheduler == "asha" and len(folds) * settings.seeds < 2:
        raise ConfigError("tune.scheduler: asha needs trials of two trainings or more; raise folds or seeds")
    if resumes:
        refuse_other_rows(folder, fingerprint([target, *sources]))
    if config.alignment.refresh_interval:
        listener.note("trials score the sources once: alignment.refresh_interval is for training")
    return _Plan(config, settings, target, sources, folds)


def tune(config: Config, listener: Listener | None = None) -> TuneResult:
    """Search the space of ``config.tune`` and leave trials, the best configuration and an MLflow run a trial.

    A sweep that was killed goes on under the same name: finished trials are kept, others go on after their last
    finished training.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster, or no trial that finished (exit 1).
    """
    listener = listener or NullListener()
    plan = prepare_tuning(config, listener)
    config = plan.config
    folder = RunFolder(config.ray.storage_path, config.name)
    os.environ.update({name: os.environ.get(name, value) for name, value in TUNE_ENVIRONMENT.items()})
    listener.stage("starting Ray")
    with connected(config.ray):
        grow(config.ray, listener, plan.settings.max_concurrent_trials or 1)
        check_capacity(config)
        at_once = concurrency(config, plan.settings, listener)
        scoring = _Scoring(plan)
        content = fingerprint([plan.target, *plan.sources])
        try:
            tracker = begin_run(config, folder, "tune", content, listener, [plan.target, *plan.sources])
        except BaseException:
            scoring.close()
            raise
        record = SweepRecord(config, _trials(plan.settings), len(plan.folds), folder, tracker, listener)
        with recorded(folder, tracker):
            try:
                reports = scoring.reports(listener)
                listener.stage(_stage(plan, at_once))
                _search(plan, reports, at_once, record)
                result = TuneResult(folder.path, ranked(record.trials(), plan.settings.metric), plan.settings)
                if not result.trials or result.best.status != "finished":
                    raise ClusterError(_no_trial(result.trials))
                folder.write_text("best.yaml", dump_config(best_config(config, result.best)))
            finally:
                record.close()
            folder.finish()
        tracker.finish()
        for state in (TUNE_STATE, GROUP_STATE):
            folder.state(state).delete()
    return result


def best_config(config: Config, best: Trial) -> Config:
    """The configuration that trains with the best trial's values on all shots."""
    update = {"name": f"{config.name.removesuffix('-tune')}-best", "tune": None}
    return with_values(config, best.values).model_copy(update=update)


def concurrency(config: Config, settings: TuneConfig, listener: Listener) -> int:
    """How many trials fit at a time: all workers of a trial must find room at once, each on one node.

    Raises:
        CapacityError: there is not even room for one trial.
    """
    asked = config.ray
    cpus, gpus = asked.cpus_per_worker, asked.gpus_per_worker
    found = rooms(cpus, gpus)
    fit = sum(found) // asked.num_workers
    need = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    if fit < 1:
        raise CapacityError(
            f"ray.num_workers: a trial needs {asked.num_workers} × {need}, the cluster's nodes have room for "
            f"{sum(found)} of "
            "these; request less"
        )
    at_once = min(fit, settings.max_concurrent_trials or fit)
    limit = " (tune.max_concurrent_trials)" if at_once < fit else ""
    each = f"{asked.num_workers} × {need}" if asked.num_workers > 1 else need
    nodes = f"{len(found)} node{'s' * (len(found) > 1)}"
    listener.note(f"{at_once} trials at a time{limit}: {each} a trial, room for {fit} on {nodes}")
    return at_once


class _Scoring:
    """Scores the sources for every part that is held out: its rows must not have a say in the weights.

    The first task workers start at once, so that they load the model while the driver opens MLflow.
    """

    def __init__(self, plan: _Plan):
        self.plan = plan
        space = plan.settings.space
        keys = [key for key in space if depends_on_scores(key)]
        combinations = product(*(space[key].extremes for key in keys))
        # What is searched can change the scores: then there are several scorings, one after the other.
        self.waiting = [dict(zip(keys, values)) for values in combinations] if plan.sources else []
        self.workers = self._launch(self.waiting[0]) if self.waiting else None

    def _launch(self, values: dict[str, Any]) -> TaskWorkers:
        return TaskWorkers.launch(with_values(self.plan.config, values), self.plan.target, self.plan.sources)

    def reports(self, listener: Listener) -> dict[str, list[Any]]:
        """A report for each part, by ``score_key``."""
        found = {}
        try:
            for values in self.waiting:
                listener.stage(
                    "loading the model in the task workers" + (f" with {values}" if values else "")
                )
                self.workers = self.workers or self._launch(values)
                found[score_key(values)] = self._score(self.workers, listener)
                self.close()
        finally:
            self.close()
        return found

    def _score(self, workers: TaskWorkers, listener: Listener) -> list[Any]:
        workers.ready(listener)
        listener.stage("scoring the sources")
        found = []
        for number, fold in enumerate(self.plan.folds, start=1):
            found.append(workers.score(kept=fold.kept))
            listener.advance(number, len(self.plan.folds), "parts of the shots scored")
        return found

    def close(self) -> None:
        """End the task workers that are there."""
        if self.workers is not None:
            self.workers.close()
            self.workers = None


def _stage(plan: _Plan, at_once: int) -> str:
    settings, parts = plan.settings, len(plan.folds)
    held = len(plan.folds[0].held)
    trials = _trials(settings)
    how = f"{parts} parts of {held} shots held out in turn" if parts > 1 else f"{held} shots held out"
    seeds = f", {settings.seeds} seeds" if settings.seeds > 1 else ""
    return f"searching: {trials} trials, {at_once} at a time; {how}{seeds}"


def _trials(settings: TuneConfig) -> int:
    """How many trials a sweep has."""
    if settings.search != "grid":
        return settings.num_samples
    return math.prod(len(values.extremes) for values in settings.space.values())


def _search(plan: _Plan, reports: dict[str, list[Any]], at_once: int, record: SweepRecord) -> None:
    """Run Ray Tune in a thread while this one takes in what trials tell."""
    kept = record.recall()
    inbox = Inbox()
    groups = record.folder.state(GROUP_STATE)
    sweep = Sweep(plan.config, plan.target, plan.sources, plan.folds, reports, inbox.log, kept, groups)
    shared = ray.put(sweep)
    asked = plan.config.ray
    need = {"CPU": asked.cpus_per_worker}
    if asked.gpus_per_worker:
        need["GPU"] = asked.gpus_per_worker
    if asked.num_workers > 1:
        # The trial only waits for its workers: a CPU that it held could keep them from starting for ever. Ray Tune 2.60
        # refuses to ask for nothing at all.
        need = {"memory": float(2**20)}
    trainable = ray_tune.with_resources(ray_tune.with_parameters(run_trial, sweep=shared), need)
    tuner = _tuner(plan, trainable, at_once, record)
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def fit() -> None:
        try:
            box.put(tuner.fit())
        except BaseException as error:
            box.put(error)

    thread = threading.Thread(target=fit, name="ray-tune", daemon=True)
    thread.start()
    while True:
        thread.join(POLL_SECONDS)
        ended = not thread.is_alive()
        record.take_all(inbox)
        if ended:
            break
    outcome = box.get()
    if isinstance(outcome, BaseException):
        raise ClusterError(f"the search failed: {str(outcome).strip().splitlines()[-1]}") from outcome
    record.take_results(outcome)


def _tuner(plan: _Plan, trainable: Any, at_once: int, record: SweepRecord) -> ray_tune.Tuner:
    """A search from the beginning: what an earlier process has left of one is deleted unread, see `kept_trials`."""
    state = record.folder.state(TUNE_STATE)
    state.delete()
    settings = plan.settings
    mode = "min" if settings.metric == "loss" else "max"
    grid = settings.search == "grid"
    scheduler = None
    if settings.scheduler == "asha":
        scheduler = ASHAScheduler(
            time_attr="trainings",
            max_t=len(plan.folds) * settings.seeds,
            grace_period=1,
            reduction_factor=2,
        )
    return ray_tune.Tuner(
        trainable,
        param_space={key: _domain(values, grid) for key, values in settings.space.items()},
        tune_config=ray_tune.TuneConfig(
            metric=settings.metric,
            mode=mode,
            num_samples=1 if grid else settings.num_samples,
            # Ray 2.60 heeds this for searchers such as Optuna's only; its own generator has to be told by itself.
            max_concurrent_trials=at_once if settings.search == "optuna" else None,
            search_alg=_searcher(plan, at_once, record.kept),
            scheduler=scheduler,
            reuse_actors=True,  # the next trial finds the libraries loaded
            trial_name_creator=_numbered,
            trial_dirname_creator=_numbered,
        ),
        run_config=ray_tune.RunConfig(
            name=state.name,
            storage_path=state.parent,
            storage_filesystem=state.filesystem,
            verbose=0,
            failure_config=ray_tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=ray_tune.CheckpointConfig(num_to_keep=1),
        ),
    )


def _numbered(trial: Any) -> str:
    """Trials by their place in the search, from 1 on; the searches of Ray 2.60 count from 0 or from 1."""
    place = int(trial.experiment_tag.split("_")[0])
    return f"trial_{place + ('_' in trial.trial_id)}"


def _searcher(plan: _Plan, at_once: int, kept: Mapping[str, KeptTrial]) -> Any:
    """What proposes trials, no more than ``at_once`` beside each other.

    The file's own values come first, so that the sweep says what it has won.
    """
    own = own_values(plan.config, plan.settings)
    first = [own] if own is not None else None
    if plan.settings.search == "optuna":
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if kept:  # what it proposes follows from what it has seen: trials that have begun are proposed first, in order
            names = sorted(kept, key=lambda name: int(name.rsplit("_", 1)[1]))
            first = [dict(kept[name].values) for name in names]
        return OptunaSearch(points_to_evaluate=first, seed=plan.config.seed)
    if plan.settings.search == "grid":
        first = None  # it has them already, or does not want them
    return BasicVariantGenerator(
        points_to_evaluate=first, max_concurrent=at_once, random_state=plan.config.seed
    )


def own_values(config: Config, settings: TuneConfig) -> dict[str, Any] | None:
    """What the file itself sets the searched keys to; None where that lies outside the space."""
    flat = config.flat()
    own = {key: flat.get(key) for key in settings.space}
    return own if all(values.holds(own[key]) for key, values in settings.space.items()) else None


def _domain(values: Distribution, grid: bool) -> Any:
    if values.uniform is not None:
        return ray_tune.uniform(*values.uniform)
    if values.log_uniform is not None:
        return ray_tune.loguniform(*values.log_uniform)
    if values.integer is not None:
        return ray_tune.randint(values.integer[0], values.integer[1] + 1)
    return ray_tune.grid_search(values.choice or []) if grid else ray_tune.choice(values.choice or [])


def _no_trial(trials: list[Trial]) -> str:
    notes = [trial.note for trial in trials if trial.note]
    return f"no trial finished{f' ({notes[0]})' if notes else ''}; look at events.jsonl in the run folder"
