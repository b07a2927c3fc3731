"""What the surroundings of a training want to hear of it, and give it beside its configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgg_ray.models import TaskModel
from sgg_ray.tasks import Task
from sgg_ray.training.choice import Choice
from sgg_ray.training.trainer import Event, Trainer
from sgg_ray.training.training_state import TrainingState
from sgg_ray.training.updates import Phase
from sgg_ray.training.weight_updates import WeightUpdates


@dataclass
class Hooks:
    """What the surroundings of a training want to hear of it. By default nothing."""

    on_events: Callable[[Sequence[Event]], None] = lambda events: None
    on_evaluation: Callable[[int, int], None] = lambda done, total: None
    # Keeps how far the training is, on every worker, every train.save_steps steps and after a member of an average.
    checkpoint: Callable[[TrainingState], None] | None = None
    # Asked after every step on worker 0: whether to keep a checkpoint besides those.
    checkpoint_wanted: Callable[[], bool] = lambda: False
    updates: WeightUpdates | None = None  # on worker 0
    # In its place on every worker that holds a part of a model: made once that is there.
    updates_of: Callable[[TaskModel], WeightUpdates] | None = None
    whole_model: bool = True  # whether a sharded model is put together on worker 0 at the end
    resume_from: Path | None = None  # folder of a TrainingState
    probe: tuple[Sequence[Task], Mapping[str, float]] | None = (
        None  # sources with weights, only to be looked at
    )
    # What is told of a further member of an average, by its strategy; the first one is told as the run itself.
    of_member: Callable[[str], "Hooks"] | None = None
    on_choice: Callable[[Choice], None] = lambda choice: None
    # Phases in place of those of the configuration, made once the trainer is there (docs/how-to-strategy.md).
    phases: Callable[[Trainer], Sequence[Phase]] | None = None
