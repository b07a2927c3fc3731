"""Scores of all sources together: what of the target's noisy gradient the sources vouch for, and tasks of other labels.

Gradients of the contrast loss are matrices here: [rows, width], one row a label for a zero-initialised head (where a
row is a contrast between features), a single row where there is no head (docs/method.md, *Summaries and scores*).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sgg_ray.alignment.moments import side_moments
from sgg_ray.alignment.score import Score

# What a source counts that trains a head of its own: it can shape the features, but not the target's head.
OWN_HEAD = 0.5
SIGNAL_SHARE = 0.05  # of the squared length of the mean that is taken to be signal at least


@dataclass(frozen=True)
class Vouched:
    """The target's mean gradient as far as sources vouch for it, and the noise that is left in it."""

    mean: np.ndarray  # [rows, width]
    noise: np.ndarray  # [k, width]: independent directions, each as long as its noise's standard deviation

    def in_common(self, contrast: np.ndarray) -> float:
        """Σ over pairs of labels of ⟨·, ·⟩², its root, less that of noise alone: near 0 for a task that is unrelated.

        The same for every naming of the labels of ``contrast`` [rows, width].
        """
        return float(np.linalg.norm(self.mean @ contrast.T) - np.linalg.norm(self.noise @ contrast.T))


def vouched_mean(vectors: np.ndarray, classes: np.ndarray, contrasts: Sequence[np.ndarray]) -> Vouched:
    """The target's mean gradient as far as sources vouch for it.

    With a handful of examples most of a mean gradient is noise, spread over all directions; what tasks have labels for
    lies in few. The prior is that the target's gradient lies along directions of the sources' gradients (either way:
    a source with flipped labels vouches as well as a clean one), and the mean is replaced by its expectation given the
    noise seen among the examples of a class. With B the sources' gradients, each of length 1, B Bᵀ = V diag(e) Vᵀ and
    u_k = Bᵀv_k/√e_k, the component along u_k is kept by the share τ²e_k / (τ²e_k + σ²).

    Args:
        vectors: one gradient an example [n, rows, width].
        classes: of the examples [n].
        contrasts: mean gradients of the sources [r_s, width] each; of length 0 are passed over.
    """
    mean = vectors.mean(axis=0)
    norms = [float(np.linalg.norm(contrast)) for contrast in contrasts]
    kept = [contrast / norm for contrast, norm in zip(contrasts, norms) if norm > 0.0]
    if not kept:
        return Vouched(mean, np.zeros((0, mean.shape[1])))
    basis = np.concatenate(kept).astype(np.float64)
    strengths, turns = np.linalg.eigh(basis @ basis.T)
    present = strengths > 1e-6 * strengths.max()
    strengths = strengths[present]
    directions = basis.T @ turns[:, present] / np.sqrt(strengths)  # [width, k], orthonormal
    seen = vectors @ directions  # [n, rows, k]
    total = float((seen.mean(axis=0) ** 2).sum())
    noise = _noise_of_mean(seen, classes)
    spread = max(total - noise, SIGNAL_SHARE * total) / strengths.sum()  # τ²
    share = spread * strengths / np.maximum(spread * strengths + noise / len(strengths), 1e-300)
    left = share * np.sqrt(noise / len(strengths))
    return Vouched((mean @ directions * share) @ directions.T, (directions * left).T)


def pooled_scores(
    vectors: np.ndarray,
    classes: np.ndarray,
    scores: Sequence[Score],
    contrasts: Sequence[np.ndarray],
    matched: Sequence[bool],
) -> list[Score]:
    """Scores with values that borrow strength from the other sources.

    A source with the target's labels has the value ⟨ĝ_t, g_s⟩ / (‖g_s‖·‖μ_t‖), ĝ_t being :func:`vouched_mean` over the
    sources with these labels. One with other labels (``matched``) has OWN_HEAD · (‖ĝ_t g_sᵀ‖ − noise) / (‖g_s‖·‖μ_t‖):
    what the contrasts of both have in common, whatever the labels are called, see :meth:`Vouched.in_common`; ĝ_t is
    taken over all sources. Intervals stay each source's own, and are widened where the value lies outside.

    Args:
        vectors: the target's gradients, one an example [n, rows, width].
        classes: of these examples [n].
        scores: of each source alone, by ``score_alignment``.
        contrasts: mean gradient of each source [r_s, width].
        matched: whether a source has other labels than the target.
    """
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    signal = side_moments(flat @ flat.T, np.zeros(len(flat)), classes).signal
    alike = [contrast for contrast, other in zip(contrasts, matched) if not other]
    own = vouched_mean(vectors, classes, alike)
    any_labels = vouched_mean(vectors, classes, contrasts) if any(matched) else own
    found = []
    for score, contrast, other in zip(scores, contrasts, matched):
        length = float(np.linalg.norm(contrast)) * float(np.sqrt(signal))
        if not length > 0.0 or not np.isfinite(score.value):
            found.append(score)
            continue
        common = OWN_HEAD * any_labels.in_common(contrast) if other else float((own.mean * contrast).sum())
        value = float(np.clip(common / length, -1.0, 1.0))
        found.append(replace(score, value=value, low=min(score.low, value), high=max(score.high, value)))
    return found


def matching(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The matching of labels under which two contrasts agree best: [target rows, source rows].

    The orthogonal Procrustes solution U Vᵀ of target·sourceᵀ = U diag(σ) Vᵀ, over directions that both have.
    """
    left, common, right = np.linalg.svd(target @ source.T, full_matrices=False)
    present = common > 1e-9 * max(float(common.max()), 1e-300)
    return left[:, present] @ right[present]


def matched_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two contrasts [rows, width] under the best matching of their labels, in [0, 1]; NaN if one is zero."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.linalg.norm(first @ second.T, "nuc")) / lengths if lengths > 0.0 else float("nan")


def _noise_of_mean(seen: np.ndarray, classes: np.ndarray) -> float:
    """Variance of the mean of stratified examples, summed over components: Σ_c (n_c/n)² · s_c²/n_c."""
    noise = 0.0
    for value in np.unique(classes):
        members = seen[classes == value]
        if len(members) > 1:
            noise += len(members) / len(seen) ** 2 * float(members.var(axis=0, ddof=1).sum())
    return noise
