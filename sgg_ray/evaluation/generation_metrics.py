"""How good generated texts are: token loss and perplexity of the references, exact match, ROUGE-L."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgg_ray.evaluation.paired import PairedComparison, compare_paired

RESAMPLES = 2_000
CHUNK = 100  # resamples at a time: memory does not grow with them
WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class AnswerScores:
    """Loss, exact match and ROUGE-L of each row's generated text: arrays [n]."""

    exact: np.ndarray  # whether the text is the reference, see `normalised`
    rouge_l: np.ndarray  # in [0, 1]
    losses: np.ndarray  # mean over the reference's tokens, the one that ends it included
    tokens: np.ndarray  # of the reference


@dataclass(frozen=True)
class GenerationMetrics:
    """Token loss, perplexity, exact match and ROUGE-L of a model on one test split."""

    loss: float  # mean over all tokens of all references, in nats
    loss_low: float
    loss_high: float
    perplexity: float  # exp(loss)
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    rouge_l: float
    rouge_l_low: float
    rouge_l_high: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """The four metrics without their intervals, by name."""
        return {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "exact_match": self.exact_match,
            "rouge_l": self.rouge_l,
        }

    def of_cell(self) -> dict[str, float]:
        """Exact match takes the place of accuracy; there is no F1."""
        return {
            "accuracy": self.exact_match,
            "macro_f1": float("nan"),
            "loss": self.loss,
            "rouge_l": self.rouge_l,
        }


@dataclass(frozen=True)
class Interval:
    """A difference on the same rows with its interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class GenerationComparison:
    """Differences of a model to a baseline on the same rows, with intervals."""

    loss: Interval  # below 0 is better
    exact_match: PairedComparison
    rouge_l: Interval

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def gains(self) -> dict[str, float]:
        """Differences of exact match and of the loss, by name; above 0 is better."""
        return {"exact_match": self.exact_match.difference, "loss": -self.loss.difference}


def normalised(text: str) -> str:
    """What two answers have in common that count as equal: all but case, spacing, Unicode spelling and a full stop."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.split()).removesuffix(".").rstrip()


class _Words:
    """Words as ROUGE sees them: runs of letters and digits of any script. rouge-score's own drops all but a-z."""

    def tokenize(self, text: str) -> list[str]:
        return WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def rouge_l(texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """ROUGE-L F-measure [n] of each text (Lin, 2004): the longest common subsequence of words. No stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    found = [scorer.score(reference, text)["rougeL"].fmeasure for text, reference in zip(texts, references)]
    return np.array(found, dtype=np.float64)


def score_answers(
    texts: Sequence[str], references: Sequence[str], losses: np.ndarray, tokens: np.ndarray
) -> AnswerScores:
    """Compare texts with their references, row by row.

    Args:
        losses: of the references [n], means over their tokens.
        tokens: of the references [n].

    Raises ValueError when there are no rows, lengths differ, or a loss is not finite.
    """
    losses, tokens = np.asarray(losses, dtype=np.float64), np.asarray(tokens)
    if not len(texts) or not len(texts) == len(references) == len(losses) == len(tokens):
        sizes = f"{len(texts)}, {len(references)}, {len(losses)}, {len(tokens)}"
        raise ValueError(
            f"expected as many texts, references, losses and tokens, at least one, found {sizes}"
        )
    if not np.isfinite(losses).all():
        raise ValueError(
            f"losses of {int((~np.isfinite(losses)).sum())} of {len(losses)} rows are not finite"
        )
    exact = [normalised(text) == normalised(reference) for text, reference in zip(texts, references)]
    return AnswerScores(np.array(exact), rouge_l(texts, references), losses, tokens)


def evaluate_generation(scores: AnswerScores, confidence: float = 0.95) -> GenerationMetrics:
    """Metrics over all rows. Intervals are bootstrap over rows; that of exact match is Wilson's for a proportion."""
    rows, right = len(scores.exact), int(scores.exact.sum())
    ones = np.ones(rows)
    loss = _interval(scores.losses * scores.tokens, scores.tokens, confidence)
    words = _interval(scores.rouge_l, ones, confidence)
    exact_low, exact_high = share_interval(right, rows, confidence)
    return GenerationMetrics(
        loss=loss.difference,
        loss_low=loss.low,
        loss_high=loss.high,
        perplexity=float(np.exp(loss.difference)),
        exact_match=right / rows,
        exact_match_low=exact_low,
        exact_match_high=exact_high,
        rouge_l=words.difference,
        rouge_l_low=words.low,
        rouge_l_high=words.high,
        rows=rows,
    )


def share_interval(right: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of ``rows``, at least one."""
    from scipy.stats import binomtest

    interval = binomtest(right, rows).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def compare_generation(
    scores: AnswerScores, baseline: AnswerScores, confidence: float = 0.95
) -> GenerationComparison:
    """A model minus a baseline on the same rows: bootstrap over rows, and McNemar's exact test of exact match.

    Raises ValueError when the rows are not the same.
    """
    if not np.array_equal(scores.tokens, baseline.tokens):
        raise ValueError("expected the same references in both")
    right = np.ones(len(scores.exact), dtype=bool)
    return GenerationComparison(
        loss=_interval((scores.losses - baseline.losses) * scores.tokens, scores.tokens, confidence),
        exact_match=compare_paired(scores.exact, baseline.exact, right, confidence),
        rouge_l=_interval(scores.rouge_l - baseline.rouge_l, np.ones(len(right)), confidence),
    )


def _interval(values: np.ndarray, weights: np.ndarray, confidence: float, seed: int = 0) -> Interval:
    """Σ values / Σ weights over rows [n], with its percentile bootstrap interval over rows."""
    rows = len(values)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES // CHUNK):
        counts = random.multinomial(rows, np.full(rows, 1 / rows), size=CHUNK)
        drawn.append((counts @ values) / (counts @ weights))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(drawn), [tail, 100.0 - tail])
    return Interval(float(values.sum() / weights.sum()), float(low), float(high))
