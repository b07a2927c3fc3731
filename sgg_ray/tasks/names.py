"""What labels are called, as texts: an encoder that knows the words puts them near the texts of their class."""

from collections.abc import Sequence

import numpy as np

from sgg_ray.tasks.task import Rows, Task

# Several sentences around a name, so that what they say beside it averages out.
SENTENCES = ("{}", "This text is {}.", "It was {}.")


def name_rows(task: Task, labels: Sequence[str]) -> Rows | None:
    """The names of ``labels``, which are some of the task's, in several sentences each; labels are positions in there.

    Names without letters, such as 0 and 1, say nothing: None.
    """
    words = task.labels if task.words is None else task.words
    names = [words[task.labels.index(label)].strip() for label in labels]
    if not all(any(letter.isalpha() for letter in name) for name in names):
        return None
    texts = tuple(sentence.format(name) for name in names for sentence in SENTENCES)
    return Rows(texts, np.repeat(np.arange(len(names)), len(SENTENCES)))
