"""Everything that the driver of one training holds, and what it does with what workers tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, assert_never

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError
from sgg_ray.evaluation import GUIDED
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.messages import (
    CalibrationProgress,
    Entry,
    Message,
    Recorded,
    RowsPredicted,
    ScoresRefreshed,
    StepDone,
    StrategyChosen,
    TrialBegan,
    TrialReported,
    Warned,
    steps_of,
)
from sgg_ray.orchestration.runtime.executor import Executor, Inbox, Reference, WorkFailed
from sgg_ray.orchestration.runtime.journal import Journal, Taken
from sgg_ray.orchestration.score.score_driver import scored_metrics
from sgg_ray.tasks import Task
from sgg_ray.tracking import EventFiles, Tracker

T = TypeVar("T")
POLL_SECONDS = 0.5
FAILED = "training failed: "  # before what is told of an error that is none of this package
CHOICE = "choice.json"  # what strategy auto decided, and why


@dataclass
class Session:
    """The driver's side of one training."""

    config: Config
    target: Task
    sources: list[Task]
    folder: RunFolder
    tracker: Tracker
    listener: Listener
    executor: Executor
    journal: Journal = field(init=False)
    event_files: EventFiles | None = field(init=False)  # of TensorBoard, if they are asked for
    shown: dict[str, float] = field(
        default_factory=dict
    )  # last step of each run that the listener has heard of

    def __post_init__(self):
        self.journal = Journal(self.folder)
        self.event_files = EventFiles(self.folder.path) if self.config.tracking.tensorboard else None

    def pass_on(self, inbox: Inbox) -> None:
        """Write, log and show what the workers have told."""
        self._take_all(inbox, inbox.fetch(self.journal.taken))

    def close(self, inbox: Inbox) -> None:
        """Write, log and show for the last time what the workers have told; they stop before their next checkpoint."""
        self._take_all(inbox, inbox.close(self.journal.taken))

    def wait_for(self, inbox: Inbox, reference: Reference[T]) -> T:
        """Wait for what a training comes to, passing on what it tells.

        Raises:
            SggError: what stopped it.
        """
        while True:
            done = self.executor.wait([reference], seconds=POLL_SECONDS)
            self.pass_on(inbox)
            if done:
                try:
                    return reference.get()
                except WorkFailed as error:
                    raise ClusterError(f"{FAILED}{error}") from error

    def complete(self, history: Recorded) -> None:
        """Take the whole history of a training that has ended: what was lost on the way is in it."""
        self._tell(history.run, self.journal.complete(history))

    def recall(self, run: str) -> None:
        """Tell MLflow of a run that ended before this process began: it may lack what was under way to it."""
        self._log_curve(run, self.journal.recorded(run))

    def _log_curve(self, run: str, entries: Sequence[Entry]) -> None:
        self.tracker.log_curve(_points(entries, "" if run == GUIDED else f"{run}/"))
        if self.event_files is not None:
            self.event_files.log_curve(run, _points(entries, ""))

    def _take_all(self, inbox: Inbox, messages: Sequence[Message]) -> None:
        for message in messages:
            self._take_in(message)
            inbox.done()

    def _take_in(self, message: Message) -> None:
        match message:
            case Recorded(run):
                self._tell(run, self.journal.take(message))
            case RowsPredicted(run, done, total):
                self.listener.advance(done, total, f"test rows predicted, {run}")
            case CalibrationProgress(run, events):
                self.listener.steps(run, list(events), self.config.train.max_steps)
            case TrialBegan() | TrialReported():
                raise TypeError(f"a training has no trials, but was told {message}")
            case _:
                assert_never(message)

    def _tell(self, run: str, taken: Taken) -> None:
        """MLflow gets every entry, and drops those that it has; people hear of new ones."""
        self._log_curve(run, taken.entries)
        before = self.shown.get(run, -1)
        events = [event for event in steps_of(taken.fresh) if event["step"] > before]
        if events:
            self.shown[run] = events[-1]["step"]
            self.listener.steps(run, events, self.config.train.max_steps)
        for entry in taken.fresh:
            if isinstance(entry, Warned):
                self.listener.note(entry.text)
            if isinstance(entry, StrategyChosen):
                self.folder.write_json(CHOICE, dict(entry.choice))
                self.tracker.log_artifacts([self.folder.path / CHOICE])
                self.listener.note(f"strategy auto: {entry.text}")


def _points(entries: Sequence[Entry], prefix: str) -> list[tuple[int, dict[str, Any]]]:
    """Step and metrics, whose names begin with ``prefix``, of those entries that have any."""
    points: list[tuple[int, dict[str, Any]]] = []
    for entry in entries:
        match entry:
            case StepDone(values):
                named = {prefix + name: value for name, value in values.items() if name != "step"}
                points.append((int(values["step"]), named))
            case ScoresRefreshed(report):
                points.append((report.step, scored_metrics(report)))
            case Warned() | StrategyChosen():
                pass
            case _:
                assert_never(entry)
    return points
