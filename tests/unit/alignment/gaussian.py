"""Gradients of two tasks whose large-sample cosine is known."""

import numpy as np

from sgg_ray.alignment import Evidence


def vectors(
    random: np.random.Generator,
    cosine: float,
    *,
    dimension: int = 200,
    target_examples: int = 16,
    source_parts: int = 8,
    target_noise: float = 2.0,
    source_noise: float = 0.5,
    classes: int = 2,
):
    """Target examples [n_t, P], their classes [n_t] and source parts [n_s, P].

    The mean gradients have norm 1; noise is the norm of one part's deviation. Gradients of different classes
    differ by far more than the mean's length, as they do at a zero head.
    """
    first, second = np.linalg.qr(random.normal(size=(dimension, 2)))[0].T
    mean = cosine * first + np.sqrt(1.0 - cosine**2) * second
    labels = np.arange(target_examples) % classes
    contrast = random.normal(size=(classes, dimension))
    contrast *= 3.0 / np.linalg.norm(contrast, axis=1, keepdims=True)
    contrast -= np.bincount(labels) / len(labels) @ contrast

    def noise(parts: int, size: float) -> np.ndarray:
        return size * random.normal(size=(parts, dimension)) / np.sqrt(dimension)

    target = first + contrast[labels] + noise(target_examples, target_noise)
    return target, labels, mean + noise(source_parts, source_noise)


def evidence(target: np.ndarray, labels: np.ndarray, source: np.ndarray) -> Evidence:
    """Inner products of the given gradients."""
    return Evidence(
        cross=source @ target.T,
        source_gram=source @ source.T,
        target_gram=target @ target.T,
        target_classes=labels,
    )
