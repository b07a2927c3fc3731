"""What labels are called, as rows."""

import numpy as np

from sgg_ray.tasks import label_name_rows


def test_every_name_stands_in_several_sentences_with_its_position_as_label():
    rows = label_name_rows(("bad", "so-so", "good"))
    assert rows is not None
    assert [("bad" in text, "so-so" in text, "good" in text) for text in rows.texts] == [
        tuple(np.eye(3, dtype=bool)[label]) for label in rows.labels
    ]
    assert len(set(rows.texts)) == len(rows)
    assert np.bincount(rows.labels).min() > 1


def test_names_without_letters_say_nothing():
    assert label_name_rows(("0", "1")) is None
    assert label_name_rows(("1", "-1", "unknown")) is None
