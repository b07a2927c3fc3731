"""How the rows of a pool reach the task workers: a task an object, fetched by whoever works on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sgg_ray.orchestration.runtime.executor import Executor, Later
from sgg_ray.tasks import Task


@dataclass(frozen=True)
class PoolRows:
    """The tasks of a run, and where their rows are. No process but the one that has read them holds all of them.

    Attributes:
        bare: name, role and labels of all tasks, the target first.
        stored: the tasks by name. They are kept for workers that have to restart.
    """

    bare: tuple[Task, ...]
    stored: Mapping[str, Later[Task]] = field(repr=False)

    @classmethod
    def put(cls, executor: Executor, tasks: Sequence[Task]) -> "PoolRows":
        """Store the rows of these tasks, the target first."""
        stored = {task.name: Later(executor.put(task)) for task in tasks}
        return cls(tuple(map(without_rows, tasks)), stored)

    def fetch(self, name: str) -> Task:
        """A task with its rows."""
        return self.stored[name].get()


def without_rows(task: Task) -> Task:
    """The task's name, role and labels."""
    return replace(task, train=task.train.take([]), test=task.test.take([]))
