"""`sgg tune`: search settings, judged on held-out shots, never on test rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, TuneConfig, dump_config, with_values
from sgg_ray.errors import ClusterError
from sgg_ray.evaluation import Trial, ranked, within_noise
from sgg_ray.orchestration.lifecycle import begin_run, recorded
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.capacity import check_capacity
from sgg_ray.orchestration.runtime.cluster import opened
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.tune.ray_search import search_with_ray_tune
from sgg_ray.orchestration.tune.sweep_plan import SweepPlan, concurrency, prepare_tuning
from sgg_ray.orchestration.tune.sweep_record import PLOTS, SweepRecord
from sgg_ray.orchestration.tune.sweep_scores import SweepScores
from sgg_ray.orchestration.tune.sweep_trial import PartScores
from sgg_ray.report import html_page, html_picture, html_sweep

# Runs the trials of a plan with the scores of its parts, so many beside each other, and tells the record.
Search = Callable[[SweepPlan, dict[str, list[PartScores]], int, SweepRecord], None]


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


def tune(
    config: Config,
    listener: Listener | None = None,
    executor: Executor | None = None,
    search: Search = search_with_ray_tune,
) -> TuneResult:
    """Search the space of ``config.tune`` and leave trials, the best configuration and an MLflow run a trial.

    A sweep that was killed goes on under the same name: finished trials are kept, others go on after their last
    finished training.

    Args:
        executor: what runs the task workers; Ray, as ``ray`` in the configuration says, unless given.
        search: what runs the trials.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster, or no trial that finished (exit 1).
    """
    listener = listener or NullListener()
    plan = prepare_tuning(config, listener)
    config = plan.config
    folder = RunFolder(config.ray.storage_path, config.name)
    with opened(config.ray, listener, executor, plan.settings.max_concurrent_trials or 1) as executor:
        check_capacity(config, executor)
        at_once = concurrency(plan, listener, executor)
        scores = SweepScores(plan, executor)
        tasks = [plan.target, *plan.sources]
        try:
            tracker = begin_run(config, folder, "tune", fingerprint(tasks), listener, tasks)
        except BaseException:
            scores.close()
            raise
        record = SweepRecord(config, plan.trials, len(plan.folds), folder, tracker, listener)
        with recorded(folder, tracker):
            try:
                parts = scores.of_parts(listener)
                listener.stage(plan.in_words(at_once))
                record.recall()
                search(plan, parts, at_once, record)
                result = TuneResult(folder.path, ranked(record.trials(), plan.settings.metric), plan.settings)
                if not result.trials or result.best.status != "finished":
                    raise ClusterError(_no_trial(result.trials))
                folder.write_text("best.yaml", dump_config(best_config(config, result.best)))
            finally:
                record.close()
            folder.finish()
        tracker.finish()
    return result


def best_config(config: Config, best: Trial) -> Config:
    """The configuration that trains with the best trial's values on all shots."""
    update = {"name": f"{config.name.removesuffix('-tune')}-best", "tune": None}
    return with_values(config, best.values).model_copy(update=update)


def _no_trial(trials: list[Trial]) -> str:
    notes = [trial.note for trial in trials if trial.note]
    return f"no trial finished{f' ({notes[0]})' if notes else ''}; look at events.jsonl in the run folder"
