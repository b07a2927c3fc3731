"""Where a task's rows come from, and how they are cleaned, split and, for experiments, poisoned."""

from sgg_ray.tasks.folds import Fold, hold_out
from sgg_ray.tasks.load import load_tasks
from sgg_ray.tasks.task import Rows, Task

__all__ = ["Fold", "hold_out", "Rows", "Task", "load_tasks"]
