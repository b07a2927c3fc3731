"""Texts of one kind are alike however few they are; the further apart tasks lie, the less."""

import numpy as np
import pytest

from sgg_ray.alignment import domain_similarity, text_features

WIDTH = 64


def task(random, shift: float, rows: int, contrast: float = 1.0):
    """Two classes of unit variance in every direction, ``contrast`` apart, the whole moved by ``shift``."""
    classes = np.arange(rows) % 2
    features = random.normal(size=(rows, WIDTH))
    features[:, 0] += contrast * classes
    features[:, 1] += shift
    return text_features(features, classes)


@pytest.mark.parametrize("shots", [4, 16, 64])
def test_few_shots_of_the_same_texts_are_alike(shots):
    random = np.random.default_rng(shots)
    found = [domain_similarity(task(random, 0.0, shots), task(random, 0.0, 256)) for _ in range(200)]
    assert np.median(found) > 0.9
    assert min(found) > 0.7
    assert max(found) == 1.0


@pytest.mark.parametrize("shots", [8, 64])
def test_the_distance_is_measured_in_spreads(shots):
    """‖m_t − m_s‖² = 0.5·trace Σ: 1 / (1 + 2·0.5), whatever the number of shots and however features are scaled."""
    random = np.random.default_rng(0)
    shift = np.sqrt(0.5 * WIDTH)
    found = [domain_similarity(task(random, shift, shots), task(random, 0.0, 256)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)
    large, small = (
        text_features(scale * random.normal(size=(50, 3)), np.arange(50) % 2) for scale in (1.0, 1e-3)
    )
    assert large.spread == pytest.approx(1e6 * small.spread, rel=0.6)


def test_the_contrast_of_classes_is_no_part_of_the_spread():
    random = np.random.default_rng(1)
    assert task(random, 0.0, 4000, contrast=50.0).spread == pytest.approx(WIDTH, rel=0.05)


def test_a_rare_class_leaves_the_mean_uncertain():
    """What the mean of one rare class is off by is no distance: 60 examples in parts of 57 and 3."""
    random = np.random.default_rng(3)
    classes = np.repeat([0, 1], [57, 3])
    large = task(random, 0.0, 4000)
    few = [text_features(random.normal(size=(60, WIDTH)), classes) for _ in range(400)]
    off = [float(((found.mean - large.mean) ** 2).sum()) for found in few]
    assert np.mean(off) == pytest.approx(WIDTH / few[0].examples, rel=0.15)
    assert few[0].examples == pytest.approx(4 / (1 / 57 + 1 / 3))
    assert np.mean([domain_similarity(found, large) for found in few]) > 0.85


def test_classes_weigh_the_same():
    features = np.array([[0.0], [0.0], [0.0], [4.0]])
    assert text_features(features, np.array([0, 0, 0, 1])).mean == pytest.approx([2.0])


def test_one_example_a_class_tells_nothing_of_the_spread():
    one = text_features(np.eye(2), np.array([0, 1]))
    assert one.spread == 0.0
    assert domain_similarity(one, text_features(3 + np.eye(2), np.array([0, 1]))) == 1.0
