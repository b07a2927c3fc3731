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
PART = 8_192  # rows at once
NOTHING = 1e-12  # share of the squares of logits that says nothing beside rounding


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
    units = [_unit(one, offsets) for one in evidence]
    chosen = np.arange(len(classes))
    if len(chosen) > MOST_FITTED:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:MOST_FITTED])
    rates = 1 - np.array(RATES) if contradicts else np.array(RATES)
    bounds = [(None if contradicts and kind == 0 else 0.0, None) for kind in range(len(units))]
    fits = _fits(_scaled(evidence, units, chosen), classes[chosen], rates, offsets, bounds)
    prior = np.gradient(np.array(RATES))
    weights = softmax(np.array([fit.log_posterior for fit in fits]) + np.log(prior))
    wrong = np.empty(len(classes), dtype=np.float32)
    suggested = np.empty(len(classes), dtype=np.int16)
    for start in range(0, len(classes), PART):
        part = slice(start, start + PART)
        wrong[part], suggested[part] = _judge(
            _scaled(evidence, units, part), classes[part], rates, fits, weights
        )
    strengths = weights @ np.stack([fit.strengths for fit in fits])
    return LabelErrors(wrong, suggested, float(weights @ rates), strengths)


def _judge(
    scaled: np.ndarray, classes: np.ndarray, rates: np.ndarray, fits: Sequence["_Fit"], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P(wrong) and the most likely label of each row [n], means over the fits."""
    rows, labels = np.arange(len(classes)), scaled.shape[1]
    wrong, mixed = np.zeros(len(classes)), np.zeros(scaled.shape[1:])
    for rate, fit, weight in zip(rates, fits, weights):
        if weight < NEGLIGIBLE:
            continue
        chances = _chances(scaled, fit.strengths, fit.offset)
        given = chances[classes, rows]
        other = rate / (labels - 1) * (1 - given)
        wrong += weight * other / np.maximum(other + (1 - rate) * given, 1e-300)
        mixed += weight * chances
    return wrong, mixed.argmax(axis=0)


def _unit(logits: np.ndarray, centred: bool) -> tuple[np.ndarray, float]:
    """What makes logits, less their mean over the labels, of standard deviation 1: a shift [C], and a factor."""
    means = np.zeros(logits.shape[1])
    squares = 0.0
    for start in range(0, len(logits), PART):
        left = _without_mean(logits[start : start + PART])
        means += left.sum(axis=1)
        squares += float((left**2).sum())
    shift = means / len(logits) if centred else np.zeros_like(means)
    whole = squares / logits.size
    variance = whole - float((shift**2).mean())
    return shift, variance**-0.5 if variance > NOTHING * whole else 1.0


def _without_mean(logits: np.ndarray) -> np.ndarray:
    """Logits [C, n] that sum to zero over the labels, from logits [n, C]."""
    left = np.ascontiguousarray(logits.T, dtype=np.float64)
    return left - left.mean(axis=0)


def _scaled(
    evidence: Sequence[np.ndarray], units: Sequence[tuple[np.ndarray, float]], rows: slice | np.ndarray
) -> np.ndarray:
    """Logits [K, C, n] of some rows in their units. Labels come before rows: sums over labels are then fast."""
    return np.stack(
        [
            (_without_mean(one[rows]) - shift[:, None]) * factor
            for one, (shift, factor) in zip(evidence, units)
        ]
    )


def _chances(scaled: np.ndarray, strengths: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """softmax(Σ_k b_k z_k + c) over the labels [C, n]."""
    kinds, labels, rows = scaled.shape
    logits = (strengths @ scaled.reshape(kinds, -1)).reshape(labels, rows) + offset[:, None]
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


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
    kinds, labels, _ = scaled.shape
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
    kinds, labels, rows = scaled.shape
    strengths, free = values[:kinds], values[kinds:]
    chances = _chances(scaled, strengths, _offset(free, labels))
    places = np.arange(rows)
    given = chances[classes, places]
    slope = 1 - rate - rate / (labels - 1)
    seen = np.maximum(rate / (labels - 1) + slope * given, 1e-12)
    share = slope * given / seen
    pull = chances * -share  # d log(seen) / d logits
    pull[classes, places] += share
    by_strength = strengths / STRENGTH**2 - scaled.reshape(kinds, -1) @ pull.ravel()
    by_offset = free / OFFSET**2 - pull.sum(axis=1)[labels - len(free) :]
    prior = (strengths**2).sum() / STRENGTH**2 / 2 + (free**2).sum() / OFFSET**2 / 2
    return float(prior - np.log(seen).sum()), np.concatenate([by_strength, by_offset])
