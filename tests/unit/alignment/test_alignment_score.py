import numpy as np
import pytest
from gaussian import evidence, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

from sgg_ray.alignment import Evidence, score_alignment, verdict

seeds = st.integers(0, 2**32 - 1)
cosines = st.floats(-1.0, 1.0)


def numbers(score):
    return np.array([score.value, score.low, score.high, score.reliability, score.observed])


@settings(max_examples=60)
@given(
    seeds,
    cosines,
    st.integers(2, 20),
    st.integers(1, 9),
    st.floats(0.0, 20.0),
    st.floats(0.0, 20.0),
    st.sampled_from([2, 3, 50]),
)
def test_value_lies_in_the_interval_and_all_in_range(seed, cosine, examples, parts, noise_t, noise_s, size):
    score = score_alignment(
        evidence(
            *vectors(
                np.random.default_rng(seed),
                cosine,
                dimension=size,
                target_examples=examples,
                source_parts=parts,
                target_noise=noise_t,
                source_noise=noise_s,
            )
        )
    )
    assert -1.0 <= score.low <= score.value <= score.high <= 1.0
    assert -1.0 <= score.observed <= 1.0
    assert 0.0 <= score.reliability <= 1.0
    assert score.norm_ratio > 0.0


@settings(max_examples=30)
@given(seeds, cosines, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_lengths_of_gradients_do_not_matter(seed, cosine, scale_t, scale_s):
    target, labels, source = vectors(np.random.default_rng(seed), cosine)
    score = score_alignment(evidence(target, labels, source))
    scaled = score_alignment(evidence(scale_t * target, labels, scale_s * source))
    np.testing.assert_allclose(numbers(scaled), numbers(score), atol=1e-6)
    assert scaled.norm_ratio == pytest.approx(score.norm_ratio * scale_s / scale_t, rel=1e-6)


@settings(max_examples=30)
@given(seeds, cosines)
def test_order_of_parts_and_names_of_classes_do_not_matter(seed, cosine):
    random = np.random.default_rng(seed)
    target, labels, source = vectors(random, cosine)
    score = score_alignment(evidence(target, labels, source))
    rows, parts = random.permutation(len(target)), random.permutation(len(source))
    other = score_alignment(evidence(target[rows], 7 - 5 * labels[rows], source[parts]))
    np.testing.assert_allclose(numbers(other), numbers(score), atol=1e-9)


@settings(max_examples=30)
@given(seeds, cosines)
def test_turning_the_source_round_mirrors_the_score(seed, cosine):
    target, labels, source = vectors(np.random.default_rng(seed), cosine)
    score = score_alignment(evidence(target, labels, source))
    mirrored = score_alignment(evidence(target, labels, -source))
    np.testing.assert_allclose(
        [-mirrored.value, -mirrored.high, -mirrored.low], [score.value, score.low, score.high], atol=1e-9
    )
    opposite = {"helps": "harmful", "harmful": "helps", "unclear": "unclear"}
    assert verdict(mirrored) == opposite[verdict(score)]


@pytest.mark.parametrize("cosine", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_without_noise_value_and_interval_are_the_cosine(cosine):
    parts = vectors(np.random.default_rng(0), cosine, target_noise=0.0, source_noise=0.0)
    score = score_alignment(evidence(*parts))
    np.testing.assert_allclose([score.value, score.low, score.high, score.observed], cosine, atol=1e-4)
    assert score.reliability == pytest.approx(1.0)


def test_identical_evidence_gives_identical_scores():
    parts = vectors(np.random.default_rng(3), 0.5)
    assert score_alignment(evidence(*parts)) == score_alignment(evidence(*parts))


@pytest.mark.parametrize("dimension", [30, 600])
@pytest.mark.parametrize(("target_noise", "source_noise"), [(1.0, 0.2), (5.0, 1.0), (5.0, 5.0)])
@pytest.mark.parametrize(("examples", "parts"), [(16, 4), (64, 16)])
def test_interval_covers_the_large_sample_cosine(dimension, target_noise, source_noise, examples, parts):
    random = np.random.default_rng(5)
    covered = []
    for cosine in np.repeat([-1.0, -0.9, -0.5, 0.0, 0.3, 0.7, 0.95, 1.0], 20):
        score = score_alignment(
            evidence(
                *vectors(
                    random,
                    cosine,
                    dimension=dimension,
                    target_examples=examples,
                    source_parts=parts,
                    target_noise=target_noise,
                    source_noise=source_noise,
                )
            )
        )
        covered.append(score.low - 1e-9 <= cosine <= score.high + 1e-9)
    assert np.mean(covered) >= 0.93  # measured 0.96 to 1.00; 160 draws have a standard error of 0.017


def test_unrelated_sources_are_seldom_called_anything_but_neutral():
    random = np.random.default_rng(6)
    verdicts = [
        verdict(score_alignment(evidence(*vectors(random, 0.0, target_noise=5.0)))) for _ in range(300)
    ]
    assert verdicts.count("unclear") >= 0.92 * 300


def test_related_and_opposed_sources_are_told_apart_with_sixteen_examples():
    random = np.random.default_rng(7)
    for cosine, expected in ((0.8, "helps"), (-0.8, "harmful")):
        found = [verdict(score_alignment(evidence(*vectors(random, cosine)))) for _ in range(50)]
        assert found.count(expected) >= 45


def test_noise_in_the_target_does_not_pull_the_value_to_zero():
    random = np.random.default_rng(8)
    scores = [score_alignment(evidence(*vectors(random, 0.8, target_noise=5.0))) for _ in range(100)]
    assert np.mean([score.observed for score in scores]) < 0.65
    assert np.mean([score.value for score in scores]) == pytest.approx(0.8, abs=0.08)


def test_a_source_without_signal_ranks_far_below_a_good_one():
    random = np.random.default_rng(9)
    for _ in range(30):
        target, labels, good = vectors(random, 0.8, target_noise=4.0)
        useless = 0.5 * random.normal(size=good.shape) / np.sqrt(good.shape[1])
        assert (
            score_alignment(evidence(target, labels, useless)).value
            < score_alignment(evidence(target, labels, good)).value - 0.2
        )


@pytest.mark.parametrize("noise", [0.5, 3.0, 8.0])
def test_steadiness_is_the_share_of_the_source_that_is_signal(noise):
    random = np.random.default_rng(12)
    found = [
        score_alignment(evidence(*vectors(random, 0.5, source_noise=noise))).source_reliability
        for _ in range(100)
    ]
    assert np.mean(found) == pytest.approx(1 / (1 + noise**2 / 8), abs=0.03)
    alone = score_alignment(evidence(*vectors(random, 0.5, source_parts=1)))
    assert alone.source_reliability == 0.05  # of one part nothing is known


def test_higher_confidence_gives_a_wider_interval():
    parts = evidence(*vectors(np.random.default_rng(10), 0.5))
    narrow, wide = score_alignment(parts, 0.5), score_alignment(parts, 0.99)
    assert wide.low < narrow.low
    assert narrow.high < wide.high


@pytest.mark.parametrize(("examples", "parts"), [(2, 8), (16, 1), (1, 1)])
def test_noise_that_cannot_be_measured_leaves_the_interval_open(examples, parts):
    found = vectors(
        np.random.default_rng(0), 0.9, target_examples=examples, source_parts=parts, classes=examples
    )
    score = score_alignment(evidence(*found))
    assert (score.low, score.high) == (-1.0, 1.0)
    assert verdict(score) == "unclear"


def test_a_zero_gradient_is_neutral():
    target, labels, source = vectors(np.random.default_rng(0), 0.9)
    for pair in ((target, 0.0 * source), (0.0 * target, source)):
        score = score_alignment(evidence(pair[0], labels, pair[1]))
        assert (score.value, verdict(score)) == (0.0, "unclear")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_fails(bad):
    target, labels, source = vectors(np.random.default_rng(0), 0.9)
    source[2, 5] = bad
    with np.errstate(invalid="ignore"):
        score = score_alignment(evidence(target, labels, source))
    assert np.isnan(numbers(score)).all()
    assert verdict(score) == "failed"


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"target_classes must be \(3,\)"):
        Evidence(np.ones((2, 3)), np.ones((2, 2)), np.ones((3, 3)), np.zeros(4))
    with pytest.raises(ValueError, match="cross must be"):
        Evidence(np.ones((0, 3)), np.ones((0, 0)), np.ones((3, 3)), np.zeros(3))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_outside_zero_and_one_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        score_alignment(evidence(*vectors(np.random.default_rng(0), 0.5)), confidence)
