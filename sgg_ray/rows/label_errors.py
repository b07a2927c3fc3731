"""How likely each row's label is wrong, from several kinds of evidence about its true label.

The noise model: the true label t of a row has the probabilities p = softmax(Σ_k b_k z_k + c), z_k being logits [n, C]
of the k-th kind of evidence (the other rows of the source, the target's shots, what the labels are called). The given
label y is t with probability 1 − ε, and any other label with ε/(C − 1). By Bayes,

    P(wrong | y, ε) = ε/(C−1) · (1 − p_y) / (ε/(C−1) · (1 − p_y) + (1 − ε) p_y).

For each error rate ε of a grid, the strengths b and offsets c are those of the largest posterior given the labels as
they stand. P(wrong | y) is the mean over the grid, weighted by what these fits come to (a profile likelihood), all
rates from 0 to one half being equally likely before. Wrong labels are told from hard texts by the shape of p: they
contradict confident evidence as often as weak evidence. Where that cannot be told, all rates remain likely.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

RATES = (0.0025, 0.01, 0.02, 0.04, 0.07, 0.1, 0.14, 0.18, 0.22, 0.26, 0.3, 0.34, 0.38, 0.42, 0.46)
STRENGTH = 4.0  # standard deviation of b, with evidence of standard deviation 1
OFFSET = 2.0  # standard deviation of c
NEGLIGIBLE = 1e-6  # weight of a rate that is passed over
MOST_FITTED = 5_000  # rows that the few numbers are fitted on


@dataclass(frozen=True)
class LabelErrors:
    """What the noise model says of a set of rows.

    Attributes:
        wrong: probability [n] that a row's label is wrong.
        suggested: the most likely label [n].
        rate: expected ε, the share of wrong labels.
        strengths: expected b of each kind of evidence [K], for evidence of standard deviation 1.
    """

    wrong: np.ndarray
    suggested: np.ndarray
    rate: float
    strengths: np.ndarray


def find_label_errors(
    evidence: Sequence[np.ndarray], classes: np.ndarray, contradicts: bool = False, offsets: bool = True
) -> LabelErrors:
    """Fit the noise model and apply it to its rows.

    Args:
        evidence: logits [n, C] each; the first from the rows' own labels, which must leave each row out. Strengths are
            not negative: evidence that points the other way has none. Only where most labels are wrong, what is
            learned from them may point anywhere.
        classes: given labels [n], in 0..C−1.
        contradicts: most labels are wrong, as the source's alignment with the target says: rates are 1 − RATES.
        offsets: whether the classes may differ in how often they occur; logits are then taken less their mean.
    """
    scaled = np.stack([_unit(one, offsets) for one in evidence])  # [K, n, C]
    chosen = np.arange(len(classes))
    if len(chosen) > MOST_FITTED:
        chosen = np.random.default_rng(0).permutation(chosen)[:MOST_FITTED]
    rates = 1 - np.array(RATES) if contradicts else np.array(RATES)
    bounds = [(None if contradicts and kind == 0 else 0.0, None) for kind in range(len(scaled))]
    fits = _fits(scaled[:, chosen], classes[chosen], rates, offsets, bounds)
    prior = np.gradient(np.array(RATES))
    weights = softmax(np.array([fit.log_posterior for fit in fits]) + np.log(prior))
    rows, labels = np.arange(len(classes)), scaled.shape[2]
    wrong, mixed = np.zeros(len(classes)), np.zeros(scaled.shape[1:])
    for rate, fit, weight in zip(rates, fits, weights):
        if weight < NEGLIGIBLE:
            continue
        chances = softmax(np.tensordot(fit.strengths, scaled, 1) + fit.offset, axis=1)
        given = chances[rows, classes]
        other = rate / (labels - 1) * (1 - given)
        wrong += weight * other / np.maximum(other + (1 - rate) * given, 1e-300)
        mixed += weight * chances
    strengths = weights @ np.stack([fit.strengths for fit in fits])
    return LabelErrors(wrong, mixed.argmax(axis=1), float(weights @ rates), strengths)


def _unit(logits: np.ndarray, centred: bool) -> np.ndarray:
    """Logits that sum to zero over the labels, of standard deviation 1."""
    logits = logits - logits.mean(axis=1, keepdims=True)
    if centred:
        logits = logits - logits.mean(axis=0)
    spread = float(np.sqrt((logits**2).mean()))
    return logits / spread if spread > 0.0 else logits


@dataclass(frozen=True)
class _Fit:
    """The fit for one error rate: strengths [K], offsets [C], and the logarithm of the posterior there."""

    strengths: np.ndarray
    offset: np.ndarray
    log_posterior: float


def _fits(
    scaled: np.ndarray, classes: np.ndarray, rates: np.ndarray, offsets: bool, bounds: Sequence[tuple]
) -> list[_Fit]:
    """The best strengths and offsets for each error rate, each from those of the rate before."""
    kinds, _, labels = scaled.shape
    free = labels - 1 if offsets else 0
    values = np.concatenate([np.full(kinds, 0.3), np.zeros(free)])
    limits = [*bounds, *[(None, None)] * free]
    found = []
    for rate in rates:
        best = minimize(_loss, values, (scaled, classes, rate), jac=True, bounds=limits, method="L-BFGS-B")
        values = best.x
        found.append(_Fit(values[:kinds], _offset(values[kinds:], labels), -float(best.fun)))
    return found


def _offset(free: np.ndarray, labels: int) -> np.ndarray:
    """Offsets [C], of which the first is 0."""
    return np.concatenate([np.zeros(labels - len(free)), free])


def _loss(
    values: np.ndarray, scaled: np.ndarray, classes: np.ndarray, rate: float
) -> tuple[float, np.ndarray]:
    """Minus the log posterior of strengths and offsets, and its gradient."""
    kinds, rows, labels = scaled.shape
    strengths, free = values[:kinds], values[kinds:]
    chances = softmax(np.tensordot(strengths, scaled, 1) + _offset(free, labels), axis=1)
    given = chances[np.arange(rows), classes]
    slope = 1 - rate - rate / (labels - 1)
    seen = np.maximum(rate / (labels - 1) + slope * given, 1e-12)
    share = slope * given / seen
    pull = -chances * share[:, None]  # d log(seen) / d logits
    pull[np.arange(rows), classes] += share
    by_strength = strengths / STRENGTH**2 - np.tensordot(scaled, pull, 2)
    by_offset = free / OFFSET**2 - pull.sum(axis=0)[labels - len(free) :]
    prior = (strengths**2).sum() / STRENGTH**2 / 2 + (free**2).sum() / OFFSET**2 / 2
    return float(prior - np.log(seen).sum()), np.concatenate([by_strength, by_offset])
