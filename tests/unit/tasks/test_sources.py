"""Sources: limits and poisoning."""

import numpy as np
from reviews import reviews

from sgg_ray.tasks import load_tasks


def test_a_limit_keeps_the_proportions_of_the_classes(configure, write):
    rows = [(f"s{n}", "negative" if n % 4 else "positive") for n in range(100)]
    _, (source,) = load_tasks(configure([{"name": "s", "path": write("s.csv", rows), "max_rows": 20}]))
    assert np.bincount(source.train.labels).tolist() == [15, 5]


def test_a_flipped_copy_has_the_same_texts_and_every_other_label(configure, write):
    path = write("s.csv", reviews(50, "s"))
    entry = {"path": path, "max_rows": 30}
    _, (clean, flipped, half) = load_tasks(
        configure(
            [
                {"name": "clean", **entry},
                {"name": "flipped", **entry, "flip_labels": 1.0},
                {"name": "half", **entry, "flip_labels": 0.5},
            ]
        )
    )
    assert clean.train.texts == flipped.train.texts == half.train.texts
    assert (flipped.train.labels == 1 - clean.train.labels).all()
    assert (half.train.labels != clean.train.labels).sum() == 15
    assert "100% of the labels were made wrong on purpose (flip_labels)" in flipped.notes
    assert clean.notes == ()


def test_a_target_and_a_source_of_one_file_do_not_change_each_other(configure, write):
    path = write("t.csv", reviews(40))
    alone, _ = load_tasks(configure(path=path))
    beside, _ = load_tasks(configure([{"name": "s", "path": path}], path=path))
    assert (alone.train.texts, alone.test.texts) == (beside.train.texts, beside.test.texts)
