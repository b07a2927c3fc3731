"""What labels are called, as texts: an encoder that knows the words puts them near the texts of their class."""

from collections.abc import Sequence

import numpy as np

from sgg_ray.tasks.task import Rows

# Several sentences around a name, so that what they say beside it averages out.
SENTENCES = ("{}", "This text is {}.", "It was {}.")


def label_name_rows(labels: Sequence[str]) -> Rows | None:
    """The names of labels, in several sentences each, as rows that are labelled with their positions.

    Names without letters, such as 0 and 1, say nothing: None.
    """
    if not all(any(letter.isalpha() for letter in label) for label in labels):
        return None
    texts = tuple(sentence.format(label) for label in labels for sentence in SENTENCES)
    return Rows(texts, np.repeat(np.arange(len(labels)), len(SENTENCES)))
