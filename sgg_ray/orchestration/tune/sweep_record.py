"""The driver's record of a sweep: numbers trials, writes the run folder and MLflow, tells the listener."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import pandas as pd

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, TuneConfig
from sgg_ray.evaluation import Trial, ranked, within_noise
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.messages import (
    CalibrationProgress,
    Message,
    Recorded,
    RowsPredicted,
    TrialBegan,
    TrialReported,
    steps_of,
)
from sgg_ray.orchestration.run_page import write_page
from sgg_ray.orchestration.run_record import tracked_parameters
from sgg_ray.orchestration.runtime.executor import Inbox
from sgg_ray.orchestration.runtime.journal import Journal, Taken
from sgg_ray.orchestration.train.history import read_history
from sgg_ray.orchestration.tune.kept_trials import KeptTraining, KeptTrial, read_trials, write_trials
from sgg_ray.orchestration.tune.sweep_trial import TRAININGS
from sgg_ray.report import (
    conclusion,
    plot_importance,
    plot_parallel,
    sentences,
    sweep_markdown,
    sweep_sections,
    trial_line,
)
from sgg_ray.tracking import Tracker

PLOTS = ("importance.png", "parallel.png")


class SweepRecord:
    """Takes in what trials tell and what Ray Tune has at the end. The only writer of a sweep's files and runs."""

    def __init__(
        self,
        config: Config,
        total: int,
        folds: int,
        folder: RunFolder,
        tracker: Tracker,
        listener: Listener,
    ):
        assert config.tune is not None
        self.config, self.settings = config, config.tune
        self.total = total  # trials
        self.trainings = folds * config.tune.seeds  # of a trial
        self.folder, self.tracker, self.listener = folder, tracker, listener
        # Kept in run.json, so that a sweep that goes on keeps its MLflow runs.
        self.runs: dict[str, str] = dict(folder.record.get("trial_runs", {}))
        self.trackers: dict[str, Tracker] = {}
        self.kept: dict[str, KeptTrial] = {}
        self.values: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Trial] = {}
        self.journal = Journal(folder, _marks)

    def take_all(self, inbox: Inbox) -> None:
        """Take in what trials have told."""
        for message in inbox.fetch(self.journal.taken):
            self._take_in(message)
            inbox.done()

    def _take_in(self, message: Message) -> None:
        match message:
            case TrialBegan(trial, values):
                self._began(trial, dict(values))
            case TrialReported(trial, trainings, failure):
                self._trained(trial, list(trainings), failure)
            case Recorded():
                self._steps(message.run, self.journal.take(message))
            case RowsPredicted():
                pass  # of a trial's workers: a sweep shows trainings
            case CalibrationProgress():
                raise TypeError(f"a sweep calibrates nothing, but was told {message}")
            case _:
                assert_never(message)

    def _began(self, trial: str, values: dict[str, Any]) -> None:
        self.values[trial] = values
        if trial not in self.kept or not self.kept[trial].is_of(values):
            self.kept[trial] = KeptTrial(values=values)
            write_trials(self.folder, self.kept)
        self._tracker(trial)

    def _steps(self, run: str, taken: Taken) -> None:
        """Show new steps of one of a trial's trainings."""
        trial, training = _place(run)
        per = self.config.train.max_steps
        shown = [
            # That one of a trial's trainings ended early is no end of the trial.
            {**event, "step": event["step"] + training * per, "ended_early": 0.0}
            for event in steps_of(taken.fresh)
        ]
        if shown:
            self.listener.steps(f"trial {_number(trial)}", shown, per * self.trainings)

    def _trained(self, trial: str, done: list[Mapping[str, Any]], failure: str) -> None:
        """A training of the trial has ended, or the trial has."""
        status = "failed" if failure else "finished" if self._complete(done) else "unfinished"
        self._keep(trial, done, status, failure)
        trainings = [KeptTraining.of(training) for training in done]
        self.kept[trial] = KeptTrial(values=self.values[trial], trainings=trainings, failure=failure)
        write_trials(self.folder, self.kept)
        # MLflow's comparison opens with the metric that came first: what trials are judged by, not a curve.
        self._log_validation(trial)
        self._log_curve(trial)
        if status != "unfinished":
            self.listener.note(trial_line(self.found[trial], self.settings.metric))
            ended = sum(found.status != "unfinished" for found in self.found.values())
            self.listener.advance(ended, self.total, "trials")

    def _log_curve(self, trial: str) -> None:
        """Log the curve of the trial's first training, which stands for all: MLflow would drown in the others."""
        events = steps_of(self.journal.recorded(f"{trial}/0"))
        self._tracker(trial).log_curve(
            (int(event["step"]), {key: value for key, value in event.items() if key != "step"})
            for event in events
        )

    def recall(self) -> None:
        """Remember trials that had begun before the sweep was stopped (``kept``); those that had ended are complete."""
        self.kept = read_trials(self.folder)
        for trial, kept in self.kept.items():
            self.values[trial] = dict(kept.values)
            done = [training.model_dump() for training in kept.trainings]
            if kept.failure or self._complete(done):
                self._keep(trial, done, "failed" if kept.failure else "finished", kept.failure)
        if self.found:
            self.listener.note(f"{len(self.found)} finished trials are kept, the others resume")

    def take_results(self, results: Any) -> None:
        """What Ray Tune has in the end; it also knows of trials that ended before this process began."""
        for result in results:
            metrics = result.metrics or {}
            trial = Path(result.path).name
            self.values[trial] = dict(result.config or {})
            done = _trainings(result)
            failure = metrics.get("failure") or (_last_line(result.error) if result.error else "")
            status = "failed" if failure else "finished" if self._complete(done) else "stopped"
            self._keep(trial, done, status, failure)

    def trials(self) -> list[Trial]:
        """All trials that are known, by number."""
        return sorted(self.found.values(), key=lambda trial: trial.number)

    def close(self) -> None:
        """Write tables and plots of what there is, end the trials' MLflow runs."""
        trials = ranked(self.trials(), self.settings.metric)
        try:
            if trials:
                self._write(trials)
        finally:
            ended = {"finished": "finished", "stopped": "killed", "failed": "failed", "unfinished": "killed"}
            for trial, found in self.found.items():
                self._log_validation(trial)
                self._log_curve(trial)
                self._tracker(trial).finish(ended[found.status])

    def _write(self, trials: list[Trial]) -> None:
        self.folder.write_parquet("trials.parquet", trials_frame(trials, self.settings))
        folder, monitor = self.folder.path, self.settings.metric
        plot_parallel(trials, self.settings.space, monitor, folder / "parallel.png")
        drawn = plot_importance(trials, self.settings.space, monitor, folder / "importance.png")
        names = ["config.yaml", "trials.parquet", "parallel.png", *(["importance.png"] if drawn else [])]
        names += ["best.yaml"] if (folder / "best.yaml").exists() else []
        best = trials[0]
        if best.status == "finished":
            final = {"best/validation_loss": best.loss, "best/validation_accuracy": best.accuracy}
            numbers = {
                f"best/{key}": value for key, value in best.values.items() if isinstance(value, int | float)
            }
            self.tracker.log_metrics([(0, final | numbers)])
        self.tracker.describe(sweep_markdown(trials, self.settings))
        page = write_page(
            self.folder,
            "tune",
            sentences(conclusion(trials, self.settings)),
            sweep_sections(trials, self.settings, folder),
        )
        self.tracker.log_artifacts([*(folder / name for name in names), page])

    def _complete(self, done: Sequence[Mapping[str, Any]]) -> bool:
        return len(done) >= self.trainings

    def _log_validation(self, trial: str) -> None:
        """What the trial's trainings so far came to, as metrics of its run; the step counts trainings."""
        found = self.found[trial]
        values = {
            f"validation/{self.settings.metric}": getattr(found, self.settings.metric),
            "validation/loss": found.loss,
            "validation/accuracy": found.accuracy,
            f"validation/{self.settings.metric}_sd": found.spread(self.settings.metric),
            "validation/seconds": found.seconds,
        }
        self._tracker(trial).log_metrics([(len(found.losses), values)])

    def _keep(self, trial: str, done: Sequence[Mapping[str, Any]], status: Any, note: str) -> None:
        for number, part in enumerate(done):  # what was lost on the way is in them
            run = f"{trial}/{number}"
            if "history" in part:  # of a training before the sweep was stopped it is in events.jsonl already
                self._steps(run, self.journal.complete(read_history(run, part["history"])))
        values = self.values.get(trial, {})
        flat = self.config.flat()
        self.found[trial] = Trial(
            number=_number(trial),
            values=values,
            status=status,
            losses=[part["losses"] for part in done],
            correct=[part["correct"] for part in done],
            seconds=sum(part["seconds"] for part in done),
            note=note,
            own=bool(values) and all(flat.get(key) == value for key, value in values.items()),
        )

    def _tracker(self, trial: str) -> Tracker:
        """The child run of a trial in MLflow: named, tagged and described so that it is found among many."""
        if trial not in self.trackers:
            number, values = _number(trial), self.values.get(trial, {})
            self.trackers[trial] = self.tracker.child(
                f"{self.config.name} trial {number}",
                params={**tracked_parameters(self.config, "train"), **values},
                tags={
                    "sgg.command": "trial",
                    "sgg.trial": str(number),
                    "sgg.target": self.config.target.name,
                },
                run_id=self.runs.get(trial),
            )
        run_id = self.trackers[trial].run_id
        if run_id is not None and self.runs.get(trial) != run_id:
            self.runs[trial] = run_id
            self.folder.update(trial_runs=self.runs)
        return self.trackers[trial]


def trials_frame(trials: list[Trial], settings: TuneConfig) -> pd.DataFrame:
    """One row a trial, best first: number, status, means, spread, and a column for each key that was varied."""
    noise = {trial.number for trial in within_noise(trials, settings.metric)}
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "status": trial.status,
                "loss": trial.loss,
                "accuracy": trial.accuracy,
                "spread": trial.spread(settings.metric),
                "trainings": len(trial.losses),
                "rows": len(trial.badness(settings.metric)),
                "seconds": trial.seconds,
                "within_noise_of_best": trial.number in noise,
                "file_values": trial.own,
                "note": trial.note,
                **dict(trial.values),
            }
            for trial in trials
        ]
    )


def _trainings(result: Any) -> list[dict[str, Any]]:
    """What a trial's trainings came to, from its last checkpoint."""
    if result.checkpoint is None:
        return []
    with result.checkpoint.as_directory() as folder:
        return json.loads((Path(folder) / TRAININGS).read_text(encoding="utf-8"))


def _place(run: str) -> tuple[str, int]:
    """Trial and number of a training, from a name such as trial_3/0."""
    trial, _, training = run.rpartition("/")
    return trial, int(training)


def _marks(run: str) -> dict[str, Any]:
    """What the lines of a training in events.jsonl have in common."""
    trial, training = _place(run)
    return {"run": f"trial {_number(trial)}", "training": training}


def _number(trial: str) -> int:
    """The number in a trial's name, such as trial_3."""
    return int(trial.rsplit("_", 1)[1])


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
