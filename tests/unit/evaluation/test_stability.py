import math

import numpy as np
import pytest

from sgg_ray.evaluation import directional_alignment, gradient_stability


def test_constant_gradients_are_perfectly_steady():
    found = gradient_stability([2.0] * 5, [1.0] * 4)
    assert (found.mean_cosine, found.norm_variation, found.steps) == (1.0, 0.0, 5)


def test_variation_does_not_depend_on_scale():
    norms = np.random.default_rng(0).random(20) + 0.5
    first, second = gradient_stability(norms.tolist(), []), gradient_stability((100 * norms).tolist(), [])
    assert first.norm_variation == pytest.approx(second.norm_variation)
    assert first.norm_variation == pytest.approx(norms.std() / norms.mean())


def test_skipped_steps_are_left_out():
    clean = gradient_stability([1.0, 2.0], [0.5])
    assert gradient_stability([1.0, math.nan, 2.0, math.inf], [math.nan, 0.5]) == clean


def test_nothing_measured_is_nan():
    found = gradient_stability([], [])
    assert math.isnan(found.mean_cosine)
    assert math.isnan(found.norm_variation)
    assert math.isnan(directional_alignment([]))
    assert directional_alignment([0.5, math.nan, -0.1]) == pytest.approx(0.2)
