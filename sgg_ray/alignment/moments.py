"""Moments of one side's gradients from inner products: observed norm, unbiased norm, sampling variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The estimate of ‖μ‖² can fall to zero or below when noise drowns the signal. It is held at this share of the
# observed ‖ḡ‖², which bounds the correction of a cosine at 1/√0.05 ≈ 4.5 times per side.
SIGNAL_FLOOR = 0.05


@dataclass(frozen=True)
class Moments:
    """What one side (target examples, or source batches) contributes to a score."""

    observed: float  # ‖ḡ‖²
    signal: float  # unbiased estimate of ‖μ‖², at least SIGNAL_FLOOR · observed
    reliability: float  # share of ‖ḡ‖² that is signal, in [0, 1]
    freedom: int  # parts minus strata; 0 when a stratum holds one part, whose noise cannot be told
    product_influence: np.ndarray  # [n]: what each part adds to ⟨ḡ, other side's ḡ⟩
    signal_influence: np.ndarray  # [n]: what each part adds to ‖μ‖²
    strata: np.ndarray  # [n]: 0 … number of strata − 1

    def covariance(self, slope: float) -> np.ndarray:
        """Sampling variances over this side's parts, [3]: of A, of A with slope·‖μ‖², of slope·‖μ‖².

        Σ_c n_c · s_c(x, y), s_c being the covariance of the parts' influences within class c.
        """
        influence = np.stack([self.product_influence, slope * self.signal_influence])
        total = np.zeros((2, 2))
        for stratum in range(self.strata.max() + 1):
            inside = influence[:, self.strata == stratum]
            if inside.shape[1] > 1:
                total += inside.shape[1] * np.cov(inside)
        return np.array([total[0, 0], total[0, 1], total[1, 1]])


def side_moments(gram: np.ndarray, products: np.ndarray, classes: np.ndarray) -> Moments:
    """Moments of one side.

    ``gram`` [n, n] holds the parts' inner products, ``products`` [n] each part's inner product with the other
    side's mean, ``classes`` [n] the stratum that each part was drawn from: a K-shot split fixes how many
    examples a class has, so only the spread *within* classes is noise. At a zero head this matters a great
    deal: gradients of two classes point in nearly opposite directions and their difference is the signal.

    With class shares π_c = n_c/n and class means ḡ_c:
    ‖μ‖² ≈ Σ_{c≠d} π_c π_d ⟨ḡ_c, ḡ_d⟩ + Σ_c π_c² · mean_{i≠j in c} ⟨g_i, g_j⟩.
    A class of one example has no pair i ≠ j; its square is kept, and the estimate is then too large.
    """
    _, strata = np.unique(classes, return_inverse=True)
    counts = np.bincount(strata)
    total = len(strata)
    observed = float(gram.mean())
    own = np.diagonal(gram)
    sums = gram @ np.eye(len(counts))[strata]  # [n, classes]: ⟨g_i, sum of class c⟩
    own_sum = sums[np.arange(total), strata]
    count = counts[strata]
    # ⟨g_i, mean of the other examples of its class⟩
    others = np.where(count > 1, (own_sum - own) / np.maximum(count - 1, 1), own)
    # ⟨g_i, estimate of μ that leaves i out⟩
    cleaned = (sums.sum(axis=1) - own_sum) / total + count / total * others
    signal = float(cleaned.mean())
    share = float(np.clip(signal / observed, 0.0, 1.0)) if observed > 0.0 else 0.0
    return Moments(
        observed=observed,
        signal=max(signal, SIGNAL_FLOOR * observed),
        reliability=share,
        freedom=total - len(counts) if counts.min() > 1 else 0,
        product_influence=products / total,
        signal_influence=2.0 * cleaned / total,
        strata=strata,
    )


def interaction(cross: np.ndarray, strata: np.ndarray) -> float:
    """The part of Var⟨ḡ_s, ḡ_t⟩ that comes from noise meeting noise: Σ_c π_c²/n_c · tr(Σ_s Σ_tc)/n_s.

    ``cross`` [n_s, n_t] has columns of the classes ``strata`` [n_t]. Estimated from what is left of the
    inner products, class by class, once each row's and each column's mean is taken out.
    """
    sources, targets = cross.shape
    total = 0.0
    for stratum in range(strata.max() + 1):
        block = cross[:, strata == stratum]
        count = block.shape[1]
        if sources > 1 and count > 1:
            left = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
            total += count / targets**2 * float((left**2).sum()) / ((sources - 1) * (count - 1) * sources)
    return total
