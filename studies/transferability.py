"""Measures of transferability that need no gradient, as their papers define them."""

import numpy as np


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """LogME (You et al. 2021, arXiv 2102.11005): log evidence of a Bayesian linear model per example and class.

    Args:
        features: [n, d].
        labels: [n] class numbers.
    """
    n, d = features.shape
    u, s, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    evidences = []
    for value in np.unique(labels):
        y = (labels == value).astype(np.float64)
        z = u.T @ y
        rest = float(y @ y - z @ z)  # of y, outside the span of the features
        alpha = beta = 1.0
        for _ in range(50):
            gamma = float((beta * s**2 / (alpha + beta * s**2)).sum())
            m = beta * s * z / (alpha + beta * s**2)
            squared = float(m @ m)
            residual = float(((z - s * m) ** 2).sum()) + rest
            old = alpha / beta
            alpha, beta = gamma / max(squared, 1e-12), max(n - gamma, 1e-6) / max(residual, 1e-12)
            if abs(alpha / beta - old) < 1e-3 * old:
                break
        m = beta * s * z / (alpha + beta * s**2)
        residual = float(((z - s * m) ** 2).sum()) + rest
        evidence = n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
        evidence -= beta / 2 * residual + alpha / 2 * float(m @ m)
        evidence -= 0.5 * (np.log(alpha + beta * s**2).sum() + (d - len(s)) * np.log(alpha))
        evidences.append(evidence / n)
    return float(np.mean(evidences))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """H-score (Bao et al. 2019), with the Ledoit–Wolf shrunk covariance of Ibrahim et al. (2022) for few examples."""
    from sklearn.covariance import ledoit_wolf

    centred = features - features.mean(0)
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    means = np.zeros_like(centred)
    for value in np.unique(labels):
        means[labels == value] = centred[labels == value].mean(0)
    between = means.T @ means / len(means)
    return float(np.trace(np.linalg.pinv(covariance, hermitian=True) @ between))


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """LEEP (Nguyen et al. 2020, arXiv 2002.12462) from the source model's probabilities [n, C] of target examples."""
    joint = np.stack([probabilities[labels == value].sum(0) for value in np.unique(labels)]) / len(labels)
    conditional = joint / joint.sum(0, keepdims=True).clip(min=1e-12)  # P(target label | source label)
    _, position = np.unique(labels, return_inverse=True)
    expected = (probabilities @ conditional.T)[np.arange(len(labels)), position]
    return float(np.log(expected.clip(min=1e-12)).mean())


def probe_transfer(
    source: np.ndarray,
    source_labels: np.ndarray,
    target: np.ndarray,
    target_labels: np.ndarray,
    named: np.ndarray | None,
) -> float:
    """Accuracy on the target's examples of a linear probe fitted on the source.

    Args:
        source: features [m, d].
        source_labels: [m].
        target: features [n, d].
        target_labels: [n].
        named: target label of each source label where their names say so; otherwise every source label is read as the
            target label that it meets most often.
    """
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=1.0, max_iter=500).fit(source, source_labels)
    predicted = probe.predict(target)
    if named is None:
        named = np.zeros(int(source_labels.max()) + 1, dtype=np.int64)
        for value in np.unique(predicted):
            named[value] = np.bincount(target_labels[predicted == value]).argmax()
    return float((named[predicted] == target_labels).mean())
