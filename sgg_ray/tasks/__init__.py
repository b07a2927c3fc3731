"""Where a task's rows come from, and how they are cleaned, split and, for experiments, poisoned."""

from sgg_ray.tasks.folds import Fold, hold_out
from sgg_ray.tasks.guess import Guess, guess_task
from sgg_ray.tasks.load import Reader, load_tasks
from sgg_ray.tasks.names import name_rows
from sgg_ray.tasks.pairs import exchange, messages_in, question
from sgg_ray.tasks.read import as_texts, no_column
from sgg_ray.tasks.select import is_blank
from sgg_ray.tasks.stream import RowStream, open_stream
from sgg_ray.tasks.task import COMPLETIONS, History, Rows, Task, joined, sharing_labels

__all__ = [
    "COMPLETIONS",
    "Fold",
    "Guess",
    "History",
    "Reader",
    "RowStream",
    "Rows",
    "Task",
    "as_texts",
    "exchange",
    "guess_task",
    "hold_out",
    "is_blank",
    "joined",
    "load_tasks",
    "messages_in",
    "name_rows",
    "no_column",
    "open_stream",
    "question",
    "sharing_labels",
]
