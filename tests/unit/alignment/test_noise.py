"""Noise in a few directions: the covariance that it stands for, and its inverse without ever making it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.alignment.noise import Noise, pooled_metric, within_classes

WIDTH = 12


def covariance(noise):
    return noise.directions.T @ noise.directions + noise.rest * np.eye(noise.directions.shape[1])


def noises(random, count, directions=3):
    return [Noise(random.normal(size=(directions, WIDTH)), float(random.uniform(0, 2))) for _ in range(count)]


@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.0, 0.95))
def test_the_metric_is_the_inverse_of_the_pooled_covariance(seed, count, share):
    found = noises(np.random.default_rng(seed), count)
    mean = sum(covariance(noise) / np.trace(covariance(noise)) for noise in found) / count
    dense = share * mean + (1 - share) / WIDTH * np.eye(WIDTH)
    np.testing.assert_allclose(pooled_metric(found, WIDTH, share).apply(dense), np.eye(WIDTH), atol=1e-8)


@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_only_the_shape_of_the_noise_and_not_its_level_or_order_matters_to_the_metric(seed, factor):
    random = np.random.default_rng(seed)
    found = noises(random, 3)
    louder = [Noise(factor * found[2].directions, factor**2 * found[2].rest), found[0], found[1]]
    columns = random.normal(size=(WIDTH, 2))
    np.testing.assert_allclose(
        pooled_metric(louder, WIDTH, 0.5).apply(columns),
        pooled_metric(found, WIDTH, 0.5).apply(columns),
        rtol=1e-6,
        atol=1e-9,
    )


def test_without_a_known_direction_noise_is_the_same_everywhere():
    columns = np.random.default_rng(0).normal(size=(WIDTH, 2))
    nothing = Noise(np.zeros((0, WIDTH)), 1.0)
    for found in ([], [nothing], [Noise(np.zeros((2, WIDTH)), 0.0)]):
        np.testing.assert_allclose(pooled_metric(found, WIDTH, 0.5).apply(columns), WIDTH * columns)


@pytest.mark.parametrize("counts", [(30, 30), (20, 20, 20), (56, 4), (40, 16, 4)], ids=str)
def test_the_noise_is_that_of_the_mean_contrast(counts):
    """Against the spread of the contrast, mean over its rows, over many draws of 60 examples."""
    random = np.random.default_rng(1)
    shape = random.normal(size=(WIDTH, WIDTH))
    labels = len(counts)
    classes = np.repeat(np.arange(labels), counts)
    residuals = (np.eye(labels)[classes] - 1 / labels) / (labels * np.array(counts)[classes][:, None])
    means = random.normal(size=(labels, WIDTH))
    rows, features = [], np.empty(0)
    for _ in range(2000):
        features = means[classes] + random.normal(size=(len(classes), WIDTH)) @ shape
        rows.append(residuals.T @ features)
    expected = np.mean([np.cov(np.stack(draws).T) for draws in zip(*rows)], axis=0)
    found = within_classes(features, classes, WIDTH)
    assert found.rest == pytest.approx(0.0, abs=1e-9)
    assert found.total == pytest.approx(np.trace(expected), rel=0.3)
    few = within_classes(features, classes, 2)
    assert few.directions.shape == (2, WIDTH)
    assert few.total == pytest.approx(found.total)
    direction = random.normal(size=(1, WIDTH))
    assert found.variance(direction) == pytest.approx(
        (direction @ covariance(found) @ direction.T).item(), rel=1e-6
    )
