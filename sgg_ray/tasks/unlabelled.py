"""Texts of the target's kind without labels, apart from its shots and test rows."""

from collections.abc import Collection

import numpy as np

from sgg_ray.config import TargetConfig, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import counted, joined_texts, read_columns
from sgg_ray.tasks.select import clean, shuffled
from sgg_ray.tasks.task import Text

KEY = "target.unlabelled"


def read_unlabelled(
    entry: TargetConfig, test_keys: Collection[str], shot_keys: Collection[str], seed: int
) -> tuple[tuple[Text, ...], list[str]]:
    """The distinct texts that ``target.unlabelled`` names, ``max_rows`` of them at most, with notes for people.

    Args:
        test_keys, shot_keys: keys of the texts that are held out for testing, and of the shots; none of them is left.

    Raises:
        DataError: the file cannot be read, or nothing is left of it.
    """
    asked = entry.unlabelled
    if asked is None:
        return (), []
    changes = {"path": asked.path, "split": asked.split, "where": asked.where}
    own = entry.model_copy(update={**changes, "columns": asked.columns or entry.columns})
    columns = list(dict.fromkeys(text_fields(own).values()))
    frame, notes = read_columns(own, KEY, [(f"{KEY}.columns.text", column) for column in columns])
    texts, _ = joined_texts([frame[column] for column in columns], f"{KEY}.columns.text", asked.path)
    found = clean(texts, np.zeros(len(texts), dtype=np.int64))
    notes += found.notes
    for keys, what in ((test_keys, "the test rows"), (shot_keys, "the shots")):
        apart = found.without(keys)
        if len(apart.rows) < len(found.rows):
            dropped = counted(len(found.rows) - len(apart.rows), "text")
            notes.append(f"{dropped} dropped: the same texts are among {what}")
        found = apart
    if not len(found.rows):
        raise DataError(f"{KEY}.path: no usable texts are left in {asked.path} ({'; '.join(notes)})")
    chosen = np.sort(shuffled(found.keys, seed, "unlabelled")[: asked.max_rows])
    notes.append(f"{counted(len(chosen), 'text')} used of {len(found.rows):,}")
    return tuple(found.rows.take(chosen).texts), [f"unlabelled: {note}" for note in notes]
