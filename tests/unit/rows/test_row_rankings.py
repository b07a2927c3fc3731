"""Rankings that are there to be compared with: what each looks at, and what it says of labels."""

import numpy as np
import pytest

from sgg_ray.rows import ROW_RANKINGS, Candidates, row_weights


def candidates(rows=80, wrong=12, cosines=None):
    """Two clouds with some labels turned, and shots near the first rows."""
    random = np.random.default_rng(3)
    classes = np.arange(rows) % 2
    features = random.normal(size=(rows, 6))
    features[:, 0] += 6 * classes - 3
    features += 10  # what all texts share
    given = classes.copy()
    given[:wrong] = 1 - given[:wrong]
    shots = features[[20 % rows, 41 % rows]] + 0.01
    cosines = random.normal(size=(rows, 2)) if cosines is None else cosines
    return Candidates(features, given, shots, cosines.mean(axis=1), lambda: cosines, seed=5)


@pytest.mark.parametrize("name", ["loss", "confident"])
def test_a_label_that_its_source_contradicts_comes_last(name):
    ranking = ROW_RANKINGS[name](candidates())
    assert set(np.argsort(ranking.score)[:12]) == set(range(12))
    assert row_weights("top", ranking, 0.5).sum() == 40


def test_confident_learning_says_which_labels_are_wrong():
    ranking = ROW_RANKINGS["confident"](candidates())
    assert ranking.doubtful is not None
    found = set(np.flatnonzero(ranking.doubtful))
    assert found <= set(range(12))
    assert len(found) >= 11
    assert row_weights("keep", ranking, 1.0).sum() == 80 - len(found)
    soft = row_weights("soft", ranking, 1.0)
    assert soft[:12].mean() < 0.5 < soft[12:].mean()
    np.testing.assert_array_equal(soft, ranking.score)


def test_labels_whose_numbers_have_gaps_keep_their_rows():
    some = candidates()
    gaps = Candidates(some.vectors, 2 * some.classes + 1, some.shots, some.cosine, list, 5)
    for name in ("loss", "confident"):
        np.testing.assert_allclose(ROW_RANKINGS[name](gaps).score, ROW_RANKINGS[name](some).score)


def test_a_class_of_one_row_leaves_confident_learning_nothing_to_compare():
    one = candidates(wrong=0)
    one.classes[:] = 0
    one.classes[0] = 1
    with pytest.raises(ValueError, match="two rows of each class"):
        ROW_RANKINGS["confident"](one)


def test_neighbours_and_cosine_rank_by_what_is_nearest():
    some = candidates()
    assert set(np.argsort(-ROW_RANKINGS["neighbours"](some).score)[:2]) == {20, 41}
    np.testing.assert_array_equal(ROW_RANKINGS["cosine"](some).score, some.cosine)


def test_shots_take_turns_and_pass_over_rows_that_are_taken():
    cosines = np.array([[0.9, 0.8], [0.7, 0.9], [0.5, 0.1], [0.1, 0.2]])
    found = ROW_RANKINGS["round_robin"](candidates(4, 0, cosines)).score
    assert np.argsort(-found).tolist() == [0, 1, 2, 3]  # shot 0 takes 0, shot 1 takes 1, shot 0 takes 2
    greedy = np.array([[0.9, 0.9], [0.1, 0.8], [0.8, 0.1], [0.0, 0.0]])
    found = ROW_RANKINGS["round_robin"](candidates(4, 0, greedy)).score
    assert np.argsort(-found).tolist() == [0, 1, 2, 3]  # row 0 is gone when shot 1 chooses


def test_random_rankings_follow_the_seed():
    first, again = (ROW_RANKINGS["random"](candidates()).score for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == len(first)
