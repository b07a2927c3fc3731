"""Scores of all sources together: what of the target's noisy gradient the sources vouch for, and tasks of other labels.

Gradients of the contrast loss are matrices here: [rows, width], one row a label for a zero-initialised head (where a
row is a contrast between features), a single row where there is no head (docs/method.md, *Summaries and scores*).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sgg_ray.alignment.alignment_score import Score
from sgg_ray.alignment.moments import side_moments
from sgg_ray.alignment.noise import Noise, pooled_metric

# What a source counts that trains a head of its own: it can shape the features, but not the target's head.
OWN_HEAD = 0.5
SIGNAL_SHARE = 0.05  # of the squared length of the mean that is taken to be signal at least
# How much of the noise's covariance is what sources have seen; the rest is the same in all directions. Sources know it
# from a limited number of rows, of other domains: studies/log.md has 0 … 0.8.
SEEN_SHARE = 0.3


@dataclass(frozen=True)
class PooledEstimate:
    """The target's mean gradient as far as sources vouch for it, and the noise that is left in it."""

    mean: np.ndarray  # [rows, width]
    noise: np.ndarray  # [k, width]: independent directions, each as long as its noise's standard deviation

    def in_common(self, contrast: np.ndarray) -> float:
        """Σ over pairs of labels of ⟨·, ·⟩², its root, less that of noise alone: near 0 for a task that is unrelated.

        The same for every naming of the labels of ``contrast`` [rows, width].
        """
        return float(np.linalg.norm(self.mean @ contrast.T) - np.linalg.norm(self.noise @ contrast.T))


def pooled_mean(
    vectors: np.ndarray,
    classes: np.ndarray,
    contrasts: Sequence[np.ndarray],
    noises: Sequence[Noise] = (),
    expected: np.ndarray | None = None,
) -> PooledEstimate:
    """The target's mean gradient as far as sources vouch for it: its expectation, given its examples and the sources.

    With a handful of examples most of a mean gradient is noise; what tasks have labels for lies in few directions, and
    hundreds of rows of the sources say where noise is loud. With B the sources' gradients, each of length 1, one row a
    label, and B Bᵀ = V diag(e) Vᵀ:

    * prior: components along u_k = Bᵀv_k/√e_k with variance τ²e_k² around those of ``expected``, none elsewhere. A
      direction that many sources share is believed in most, either way: a source with flipped labels vouches as well as
      a clean one;
    * likelihood: the mean plus noise whose covariance Σ is SEEN_SHARE that of the sources' examples and else the same
      everywhere. Components are read off as z = ḡ Σ⁻¹U N, N = (Uᵀ Σ⁻¹ U)⁻¹ being the covariance of their noise;
    * the level of the noise is that of the target's examples within their classes, and
      τ² = Σ_k e_k² (‖z_k‖² − N_kk) / Σ_k e_k⁴.

    Args:
        vectors: one gradient an example [n, rows, width].
        classes: of the examples [n].
        contrasts: mean gradients of the sources [r_s, width] each; of length 0 are passed over.
        noises: of the sources' gradients, as far as it is known; without, noise is the same in all directions.
        expected: what the mean gradient is like before any example is seen [rows, width], see
            :func:`label_name_expectation`; None: nothing is known.
    """
    rows, width = vectors.shape[1:]
    mean = vectors.mean(axis=0)
    norms = [float(np.linalg.norm(contrast)) for contrast in contrasts]
    kept = [contrast / norm for contrast, norm in zip(contrasts, norms) if norm > 0.0]
    if not kept:
        return PooledEstimate(mean, np.zeros((0, width)))
    basis = np.concatenate(kept).astype(np.float64)
    strengths, turns = np.linalg.eigh(basis @ basis.T)
    present = strengths > 1e-6 * strengths.max()
    directions = basis.T @ turns[:, present] / np.sqrt(strengths[present])  # [width, k], orthonormal
    belief = (strengths[present] / strengths.max()) ** 2

    weighted = pooled_metric(noises, width, SEEN_SHARE).apply(directions)
    spread = np.linalg.inv(directions.T @ weighted)
    seen = vectors @ (weighted @ spread)  # [n, rows, k]
    found = seen.mean(axis=0)
    noise = spread * (_noise_of_mean(seen, classes) / (np.trace(spread) * rows))  # of one row, [k, k]
    squares = (found**2).sum(axis=0)
    signal = float(belief @ (squares - rows * np.diagonal(noise)))
    signal = max(signal, SIGNAL_SHARE * float(belief @ squares))
    if not signal > 0.0:
        return PooledEstimate(np.zeros_like(mean), np.zeros((0, width)))
    prior = np.diag(belief) * (signal / float(belief @ belief) / rows)
    share = np.linalg.solve(prior + noise, prior)
    variances, axes = np.linalg.eigh(share.T @ noise @ share * rows)
    left = np.sqrt(np.maximum(variances, 0.0))[:, None] * axes.T
    middle = np.zeros_like(found) if expected is None else expected @ directions
    return PooledEstimate((middle + (found - middle) @ share) @ directions.T, left @ directions.T)


def label_name_expectation(
    names: np.ndarray, contrasts: Sequence[np.ndarray], noises: Sequence[Noise | None], length: float
) -> np.ndarray:
    """What the names of the labels let one expect of the target's mean gradient, from how they lie to the sources.

    Texts of a class resemble its name, if the model knows what the name means. Whether it does, the sources with these
    labels tell from hundreds of rows, whichever way their own labels are: with n the names' contrast at length 1,
    ρ² = Σ_s (⟨n, g_s⟩² − what a contrast between random texts would have) / Σ_s ‖g_s‖². Expected is ρ·ℓ·n: which way
    round, nobody but the names says. Of names without meaning ρ is 0. The length ℓ is ‖μ_t‖, or that of the sources'
    gradients less their noise (root mean square) where it is larger: shots that lie so badly that they seem to have no
    contrast at all say least about how long it is.

    Args:
        names: gradient of the contrast loss of the names themselves [rows, width].
        contrasts: mean gradients [rows, width] of the sources with the same labels.
        noises: of these gradients; None: the same in all directions.
        length: ‖μ_t‖.
    """
    rows, width = names.shape
    unit = names / max(float(np.linalg.norm(names)), 1e-300)
    excess = total = noisy = 0.0
    for contrast, noise in zip(contrasts, noises):
        square = float((contrast**2).sum())
        chance = square / width
        if noise is not None and noise.total > 0.0:
            chance = noise.variance(contrast) / noise.total
            noisy += rows * noise.total
        excess += float((contrast * unit).sum()) ** 2 - chance / max(rows - 1, 1)
        total += square
    if not total > 0.0:
        return np.zeros_like(unit)
    length = max(length, float(np.sqrt(max(0.0, total - noisy) / len(contrasts))))
    return float(np.sqrt(max(0.0, excess) / total)) * length * unit


def pooled_scores(
    vectors: np.ndarray,
    classes: np.ndarray,
    scores: Sequence[Score],
    contrasts: Sequence[np.ndarray],
    matched: Sequence[bool],
    noises: Sequence[Noise | None] = (),
    names: np.ndarray | None = None,
) -> list[Score]:
    """Scores with values that borrow strength from the other sources.

    With ĝ_t = :func:`pooled_mean` over all sources, one with the target's labels has the value
    ⟨ĝ_t, g_s⟩ / (‖g_s‖·‖μ_t‖), and one with other labels (``matched``) OWN_HEAD · (‖ĝ_t g_sᵀ‖ − noise) / (‖g_s‖·‖μ_t‖):
    what the contrasts of both have in common, whatever the labels are called, see :meth:`PooledEstimate.in_common`.
    Intervals stay each source's own, and are widened where the value lies outside.

    Args:
        vectors: the target's gradients, one an example [n, rows, width].
        classes: of these examples [n].
        scores: of each source alone, by ``score_alignment``.
        contrasts: mean gradient of each source [r_s, width].
        matched: whether a source has other labels than the target.
        noises: of the sources' gradients, None where it is not known; empty if it is of none.
        names: gradient of the names of the target's labels [rows, width]; None if they have no say.
    """
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    signal = side_moments(flat @ flat.T, np.zeros(len(flat)), classes).signal
    noises = noises or [None] * len(contrasts)
    expected = None
    if names is not None:
        same = [number for number, other in enumerate(matched) if not other]
        length = float(np.sqrt(signal))
        expected = label_name_expectation(
            names, [contrasts[number] for number in same], [noises[number] for number in same], length
        )
    known = [noise for noise in noises if noise is not None]
    pooled = pooled_mean(vectors, classes, contrasts, known, expected)
    found = []
    for score, contrast, other in zip(scores, contrasts, matched):
        length = float(np.linalg.norm(contrast)) * float(np.sqrt(signal))
        if not length > 0.0 or not np.isfinite(score.value):
            found.append(score)
            continue
        common = OWN_HEAD * pooled.in_common(contrast) if other else float((pooled.mean * contrast).sum())
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
