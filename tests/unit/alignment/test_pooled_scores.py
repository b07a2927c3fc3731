"""Sources vouch for parts of a noisy gradient; names of labels do not matter to tasks with heads of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgg_ray.alignment import (
    Evidence,
    Noise,
    label_name_expectation,
    matched_cosine,
    matching,
    pooled_mean,
    pooled_scores,
    score_alignment,
)

WIDTH = 60


def examples(random, truth, count=8, noise=3.0):
    """``count`` gradients of each of two classes around ±truth, [2 count, 2, WIDTH], and their classes."""
    classes = np.repeat([0, 1], count)
    rows = np.stack([truth, -truth])
    return rows + noise * random.normal(size=(2 * count, 2, WIDTH)), classes


def unit(random):
    direction = random.normal(size=WIDTH)
    return direction / np.linalg.norm(direction)


def cosine(first, second):
    return float((first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second))


def test_a_mean_that_sources_vouch_for_is_nearer_to_the_truth():
    random = np.random.default_rng(0)
    before, after = [], []
    for _ in range(50):
        truth = unit(random)
        sources = [
            np.stack([sign * truth, -sign * truth]) + 0.05 * random.normal(size=(2, WIDTH))
            for sign in (1, -1, 1)
        ]
        vectors, classes = examples(random, truth)
        goal = np.stack([truth, -truth])
        before.append(cosine(vectors.mean(0), goal))
        after.append(cosine(pooled_mean(vectors, classes, sources).mean, goal))
    assert np.mean(after) > np.mean(before) + 0.2


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_signs_lengths_and_order_of_sources_do_not_matter(seed):
    random = np.random.default_rng(seed)
    vectors, classes = examples(random, unit(random))
    sources = [random.normal(size=(2, WIDTH)) for _ in range(3)]
    changed = [-2.0 * sources[2], 0.3 * sources[0], sources[1]]
    np.testing.assert_allclose(
        pooled_mean(vectors, classes, sources).mean,
        pooled_mean(vectors, classes, changed).mean,
        rtol=1e-6,
        atol=1e-9,
    )


def test_sources_that_know_where_noise_is_loud_tell_the_sign_better():
    """Noise along one direction that the source's own gradient happens to share hides the target's sign."""
    random = np.random.default_rng(6)
    loud = unit(random)
    shape = np.eye(WIDTH) + 29.0 * np.outer(loud, loud)
    right = {"known": 0, "unknown": 0}
    for _ in range(150):
        truth = unit(random)
        source = np.stack([truth + 0.3 * loud, -truth - 0.3 * loud])
        classes = np.repeat([0, 1], 8)
        vectors = np.stack([truth, -truth]) + 1.0 * random.normal(size=(16, 2, WIDTH)) @ shape
        noise = [Noise(29.0 * loud[None], 1.0)]
        right["known"] += (pooled_mean(vectors, classes, [source], noise).mean * source).sum() > 0
        right["unknown"] += (pooled_mean(vectors, classes, [source]).mean * source).sum() > 0
    assert right["known"] > right["unknown"] + 15


def test_a_direction_that_many_sources_share_is_believed_in_most():
    random = np.random.default_rng(7)
    common, single = unit(random), unit(random)
    sources = [np.stack([direction, -direction]) for direction in (common, common, -common, single)]
    vectors, classes = examples(random, common + single, noise=1.0)
    found = [cosine(pooled_mean(vectors, classes, sources).mean, source) for source in sources]
    assert found[0] > found[3]


def test_without_noise_or_without_sources_the_mean_stays():
    random = np.random.default_rng(1)
    truth = unit(random)
    vectors, classes = examples(random, truth, noise=0.0)
    source = np.stack([truth, -truth])
    np.testing.assert_allclose(pooled_mean(vectors, classes, [source]).mean, vectors.mean(0), atol=1e-9)
    np.testing.assert_array_equal(pooled_mean(vectors, classes, []).mean, vectors.mean(0))
    np.testing.assert_array_equal(pooled_mean(vectors, classes, [np.zeros((2, WIDTH))]).mean, vectors.mean(0))


def test_an_unrelated_task_has_nothing_in_common_however_noisy_the_target_is():
    random = np.random.default_rng(4)
    related, unrelated = [], []
    for _ in range(100):
        truth, other = unit(random), unit(random)
        vectors, classes = examples(random, truth, noise=1.0)
        sources = [np.stack([direction, -direction]) for direction in (truth, other)]
        found = pooled_mean(vectors, classes, sources)
        related.append(found.in_common(sources[0]))
        unrelated.append(found.in_common(sources[1]))
    assert np.mean(related) > 1.0
    assert abs(np.mean(unrelated)) < 0.1 * np.mean(related)


def test_matching_undoes_a_renaming():
    random = np.random.default_rng(2)
    contrast = random.normal(size=(3, WIDTH))
    contrast -= contrast.mean(0)
    renamed = contrast[[2, 0, 1]]
    turn = matching(contrast, renamed)
    np.testing.assert_allclose(turn @ renamed, contrast, atol=1e-8)
    assert matched_cosine(contrast, renamed) == pytest.approx(1.0)
    assert matched_cosine(contrast, random.normal(size=(2, WIDTH))) < 0.5
    assert np.isnan(matched_cosine(contrast, np.zeros((2, WIDTH))))


@pytest.mark.parametrize("matched", [False, True])
def test_values_lie_in_their_intervals_and_scale_does_not_matter(matched):
    random = np.random.default_rng(3)
    truth = unit(random)
    vectors, classes = examples(random, truth, noise=1.0)
    flat = vectors.reshape(len(vectors), -1)
    contrasts, scores = [], []
    for sign in (1.0, -1.0):
        parts = np.stack([sign * truth, -sign * truth]) + 0.1 * random.normal(size=(8, 2, WIDTH))
        own = parts.reshape(8, -1)
        scores.append(score_alignment(Evidence(own @ flat.T, own @ own.T, flat @ flat.T, classes)))
        contrasts.append(parts.mean(0))
    found = pooled_scores(vectors, classes, scores, contrasts, [matched] * 2)
    scaled = pooled_scores(
        5 * vectors, classes, scores, [3 * contrast for contrast in contrasts], [matched] * 2
    )
    for score, other in zip(found, scaled):
        assert -1.0 <= score.low <= score.value <= score.high <= 1.0
        assert other.value == pytest.approx(score.value)
    if matched:
        assert found[1].value == pytest.approx(found[0].value, rel=0.2)
        assert found[0].value > 0.2
    else:
        assert found[0].value > 0.4
        assert found[1].value < -0.4


def contrast_of(direction):
    return np.stack([direction, -direction])


def test_names_are_believed_as_far_as_they_lie_along_the_sources_whichever_way_round():
    random = np.random.default_rng(1)
    truth, other = unit(random), unit(random)
    names = contrast_of(0.6 * truth + 0.8 * (other - (other @ truth) * truth))
    sources = [contrast_of(sign * truth) for sign in (1.0, -1.0, -2.0)]
    expected = label_name_expectation(names, sources, [None] * 3, length=5.0)
    assert cosine(expected, names) == pytest.approx(1.0)
    known = cosine(names, sources[0]) ** 2 - 1 / WIDTH  # less what a random direction would have
    assert np.linalg.norm(expected) == pytest.approx(5.0 * known**0.5)


def test_names_without_meaning_are_not_believed():
    random = np.random.default_rng(2)
    lengths = []
    for _ in range(200):
        sources = [contrast_of(unit(random)) for _ in range(4)]
        lengths.append(
            np.linalg.norm(label_name_expectation(contrast_of(unit(random)), sources, [None] * 4, 1.0))
        )
    assert np.mean(lengths) < 0.5 / WIDTH**0.5  # half of what a random direction has, on average
    assert not label_name_expectation(contrast_of(unit(random)), [], [], 1.0).any()
    assert not label_name_expectation(np.zeros((2, WIDTH)), sources, [None] * 4, 1.0).any()


def test_along_an_axis_where_all_texts_differ_names_are_no_evidence():
    loud, quiet = np.eye(WIDTH)[:2]
    names, source = contrast_of(0.6 * loud + 0.8 * quiet), contrast_of(loud)
    noise = Noise(20.0 * loud[None], 0.0)  # a contrast of random texts lies along this axis as well
    assert not label_name_expectation(names, [source], [noise], 1.0).any()
    assert label_name_expectation(names, [source], [None], 1.0).any()
    assert label_name_expectation(names, [contrast_of(quiet)], [noise], 1.0).any()


def test_names_set_right_what_a_few_misleading_examples_say():
    random = np.random.default_rng(3)
    truth = unit(random)
    sources = [contrast_of(truth), contrast_of(-truth)]
    # The examples lie slightly the wrong way round, within their noise.
    vectors, classes = examples(random, -0.05 * truth, count=8, noise=0.3)
    names = contrast_of(truth)
    scores = [
        score_alignment(
            Evidence(
                cross=(vectors.reshape(16, -1) @ source.ravel())[None].repeat(4, 0),
                source_gram=np.full((4, 4), 2.0) + np.eye(4),
                target_gram=vectors.reshape(16, -1) @ vectors.reshape(16, -1).T,
                target_classes=classes,
            )
        )
        for source in sources
    ]
    alone = pooled_scores(vectors, classes, scores, sources, [False, False])
    named = pooled_scores(vectors, classes, scores, sources, [False, False], names=names)
    assert alone[0].value < 0 < alone[1].value
    assert named[0].value > 0 > named[1].value
