"""Where a task's rows come from, and how they are cleaned, split and, for experiments, poisoned."""

from sgg_ray.tasks.choices import choices_in, without_empty_end
from sgg_ray.tasks.completions import answered_question, messages_in, question
from sgg_ray.tasks.folds import Fold, cross_validation_folds, hold_out, without_texts
from sgg_ray.tasks.guess import Guess, guess_source, guess_task
from sgg_ray.tasks.label_sentences import label_name_rows
from sgg_ray.tasks.language import Language, language_of
from sgg_ray.tasks.quality import Overlap, almost_in, label_twins, overlaps
from sgg_ray.tasks.read import as_texts, holds_texts, joined_texts, no_column
from sgg_ray.tasks.select import FIELD_END, is_blank
from sgg_ray.tasks.stream import RowStream, open_stream
from sgg_ray.tasks.task import (
    COMPLETIONS,
    ONE_LABEL,
    History,
    Rows,
    Task,
    Text,
    all_labelled,
    in_one,
    joined,
    kind_of,
    parts_of,
    sharing_labels,
)
from sgg_ray.tasks.task_loading import Reader, load_tasks
from sgg_ray.tasks.values import joined_set, labels_in, marked_labels, with_points

__all__ = [
    "COMPLETIONS",
    "FIELD_END",
    "ONE_LABEL",
    "Fold",
    "Guess",
    "History",
    "Language",
    "Overlap",
    "Reader",
    "RowStream",
    "Rows",
    "Task",
    "Text",
    "all_labelled",
    "almost_in",
    "answered_question",
    "as_texts",
    "choices_in",
    "cross_validation_folds",
    "guess_source",
    "guess_task",
    "hold_out",
    "holds_texts",
    "in_one",
    "is_blank",
    "joined",
    "joined_set",
    "joined_texts",
    "kind_of",
    "label_name_rows",
    "label_twins",
    "labels_in",
    "language_of",
    "load_tasks",
    "marked_labels",
    "messages_in",
    "no_column",
    "open_stream",
    "overlaps",
    "parts_of",
    "question",
    "sharing_labels",
    "with_points",
    "without_empty_end",
    "without_texts",
]
