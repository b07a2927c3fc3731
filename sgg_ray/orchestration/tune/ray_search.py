"""The search of a sweep, by Ray Tune: which trials, in which order, how many beside each other."""

import os
import queue
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from sgg_ray.config import Distribution
from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.runtime.event_log import LogInbox
from sgg_ray.orchestration.tune.kept_trials import KeptTrial
from sgg_ray.orchestration.tune.sweep_plan import SweepPlan, own_values
from sgg_ray.orchestration.tune.sweep_record import SweepRecord
from sgg_ray.orchestration.tune.sweep_trial import PartScores, Sweep, run_trial

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


def search_with_ray_tune(
    plan: SweepPlan, scores: dict[str, list[PartScores]], at_once: int, record: SweepRecord
) -> None:
    """Run Ray Tune in a thread while this one takes in what trials tell, and delete Ray's own files at the end.

    Args:
        scores: of each held-out part, by ``score_key``.
        at_once: trials beside each other.
        record: takes what trials come to.

    Raises:
        ClusterError: Ray Tune cannot go on.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in TUNE_ENVIRONMENT.items()})
    inbox = LogInbox()
    groups = record.folder.state(GROUP_STATE)
    sweep = Sweep(
        plan.config, plan.target, plan.sources, plan.folds, scores, inbox.log, dict(record.kept), groups
    )
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
    for state in (TUNE_STATE, GROUP_STATE):
        record.folder.state(state).delete()


def _tuner(plan: SweepPlan, trainable: Any, at_once: int, record: SweepRecord) -> ray_tune.Tuner:
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


def _searcher(plan: SweepPlan, at_once: int, kept: Mapping[str, KeptTrial]) -> Any:
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


def _domain(values: Distribution, grid: bool) -> Any:
    if values.uniform is not None:
        return ray_tune.uniform(*values.uniform)
    if values.log_uniform is not None:
        return ray_tune.loguniform(*values.log_uniform)
    if values.integer is not None:
        return ray_tune.randint(values.integer[0], values.integer[1] + 1)
    return ray_tune.grid_search(values.choice or []) if grid else ray_tune.choice(values.choice or [])
