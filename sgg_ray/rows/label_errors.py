"""How likely each row's label is wrong, from several kinds of evidence about its true label.

The noise model: the true label t of a row has the probabilities softmax(Σ_k b_k z_k + c), z_k being logits [n, C] of
the k-th kind of evidence (the other rows of the source, the target's shots, what the labels are called). The given label is
t with probability 1 − ε, and any other label with ε/(C − 1). Strengths b, offsets c and the error rate ε are those of
the largest posterior given the labels as they stand; evidence that does not predict them gets no strength. By Bayes,

    P(wrong | y) = ε/(C−1) · (1 − p_y) / (ε/(C−1) · (1 − p_y) + (1 − ε) p_y),     p = softmax(Σ_k b_k z_k + c).

That symmetric noise can be told from texts that are hard is due to the shape of p: confident evidence that is
contradicted as often as weak evidence is the mark of wrong labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax

MOST_ERRORS = 0.5  # error rates above it are for sources that contradict the target
STRENGTH = 4.0  # standard deviation of b, with evidence of standard deviation 1
OFFSET = 2.0  # standard deviation of c
RATE = 0.2  # exponents of ε's prior, nearly flat: it keeps ε from 0 and from its bound
STARTS = ((0.3, -2.0), (2.0, 1.0))  # of b, and of ε as a logit: few errors and weak evidence, or the contrary
MOST_FITTED = 20_000  # rows that the few numbers are fitted on


@dataclass(frozen=True)
class LabelErrors:
    """What the noise model says of a set of rows.

    Attributes:
        wrong: probability [n] that a row's label is wrong.
        suggested: the most likely label [n].
        rate: ε, the share of wrong labels.
        strengths: b of each kind of evidence [K], for evidence of standard deviation 1.
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
        evidence: logits [n, C] each; those from the rows' own labels must leave each row out.
        classes: given labels [n], in 0..C−1.
        contradicts: most labels are wrong, as the source's alignment with the target says: ε is above one half.
        offsets: whether the classes may differ in how often they occur; logits are then taken less their mean.
    """
    scaled = np.stack([_unit(one, offsets) for one in evidence])  # [K, n, C]
    chosen = np.arange(len(classes))
    if len(chosen) > MOST_FITTED:
        chosen = np.random.default_rng(0).permutation(chosen)[:MOST_FITTED]
    strengths, offset, rate = _fit(scaled[:, chosen], classes[chosen], contradicts, offsets)
    probabilities = softmax(np.tensordot(strengths, scaled, 1) + offset, axis=1)
    given = probabilities[np.arange(len(classes)), classes]
    other = rate / (scaled.shape[2] - 1) * (1 - given)
    wrong = other / np.maximum(other + (1 - rate) * given, 1e-300)
    return LabelErrors(wrong, probabilities.argmax(axis=1), rate, strengths)


def _unit(logits: np.ndarray, centred: bool) -> np.ndarray:
    """Logits that sum to zero over the labels, of standard deviation 1."""
    logits = logits - logits.mean(axis=1, keepdims=True)
    if centred:
        logits = logits - logits.mean(axis=0)
    spread = float(np.sqrt((logits**2).mean()))
    return logits / spread if spread > 0.0 else logits


def _fit(
    scaled: np.ndarray, classes: np.ndarray, contradicts: bool, offsets: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Strengths [K], offsets [C] and error rate of the largest posterior, from the better of two starts."""
    kinds, _, labels = scaled.shape
    free = labels - 1 if offsets else 0
    rows = np.arange(len(classes))

    def parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        offset = np.zeros(labels)
        offset[1 : free + 1] = values[kinds:-1]
        share = float(MOST_ERRORS * expit(values[-1]))
        return values[:kinds], offset, 1 - share if contradicts else share

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior, and its gradient."""
        strengths, offset, rate = parts(values)
        chances = np.exp(log_softmax(np.tensordot(strengths, scaled, 1) + offset, axis=1))
        given = chances[rows, classes]
        slope = 1 - rate - rate / (labels - 1)
        seen = np.maximum(rate / (labels - 1) + slope * given, 1e-12)
        prior = (strengths**2).sum() / STRENGTH**2 / 2 + (offset**2).sum() / OFFSET**2 / 2
        prior -= RATE * (log_expit(values[-1]) + log_expit(-values[-1]))
        # d given / d logits = given (onehot − chances)
        pull = -chances * (slope * given / seen)[:, None]
        pull[rows, classes] += slope * given / seen
        by_strength = -np.einsum("knc,nc->k", scaled, pull) + strengths / STRENGTH**2
        by_offset = (-pull.sum(axis=0) + offset / OFFSET**2)[1 : free + 1]
        by_rate = float((((1 - given) / (labels - 1) - given) / seen).sum())
        turn = MOST_ERRORS * expit(values[-1]) * expit(-values[-1]) * (-1 if contradicts else 1)
        by_share = -by_rate * turn - RATE * (expit(-values[-1]) - expit(values[-1]))
        return float(-np.log(seen).sum() + prior), np.concatenate([by_strength, by_offset, [by_share]])

    best = None
    for strength, share in STARTS:
        start = np.concatenate(
            [np.full(kinds, -strength if contradicts else strength), np.zeros(free), [share]]
        )
        found = minimize(loss, start, jac=True, method="L-BFGS-B")
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    return parts(best.x)
