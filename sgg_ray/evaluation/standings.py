"""Strategies side by side over targets, shots and seeds: means, paired differences, tests, ranks.

A *cell* is one training of one strategy. Cells of equal target, shots and seed have the same split and are compared
in pairs. The unit of the Wilcoxon test and of the bootstrap is the pair of cells; McNemar's exact test asks the same of
the pooled test rows, which is a narrower question: are these very models different?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from sgg_ray.evaluation.paired import compare_paired

LEVEL = 0.05  # of the tests, after Holm's correction


@dataclass(frozen=True)
class Cell:
    """Result of one training in a comparison. Numbers that were not measured are NaN."""

    strategy: str
    target: str
    shots: int  # per class
    seed: int
    accuracy: float  # of kind generation exact match, multi_label micro-F1, regression Spearman's correlation
    macro_f1: float
    right: np.ndarray  # [rows] whether each test row was predicted right
    stability: float = math.nan  # mean cosine of consecutive target gradients
    norm_variation: float = math.nan  # coefficient of variation of ‖g‖
    alignment: float = math.nan  # mean cosine of target and source gradients
    cross_task: float = math.nan  # accuracy on tasks that were neither target nor source
    loss: float = math.nan  # kind generation: mean over all tokens of the references
    rouge_l: float = math.nan  # kind generation
    mae: float = math.nan  # kinds regression and ordinal: mean absolute error, of labels in levels
    step_seconds: float = math.nan
    trainable: float = math.nan  # parameters
    memory: float = math.nan  # peak, bytes of the device

    @property
    def split(self) -> tuple[str, int, int]:
        """(target, shots, seed): cells with the same split are compared pair by pair."""
        return self.target, self.shots, self.seed


MEASURES = (
    "macro_f1",
    "stability",
    "norm_variation",
    "alignment",
    "cross_task",
    "loss",
    "rouge_l",
    "mae",
    "step_seconds",
    "trainable",
    "memory",
)


@dataclass(frozen=True)
class Contrast:
    """A strategy minus the baseline over pairs of cells, in accuracy; p-values of two-sided tests."""

    pairs: int
    difference: float
    low: float  # 95 % bootstrap interval over pairs
    high: float
    wilcoxon: float  # signed-rank test over pairs
    wilcoxon_holm: float  # corrected for the number of strategies compared at these shots
    mcnemar: float  # exact, on the pooled rows
    mcnemar_holm: float
    gained: int  # pooled rows that only the strategy has right
    lost: int

    @property
    def verdict(self) -> str:
        """What the test over pairs shows, in words."""
        if self.wilcoxon_holm < LEVEL:
            return "better" if self.difference > 0 else "worse"
        return "no difference shown"


@dataclass(frozen=True)
class Standing:
    """A strategy at one number of shots (None: at all of them)."""

    strategy: str
    shots: int | None
    cells: int
    mean: float  # accuracy
    sd: float  # over all cells, targets and seeds together
    seed_sd: float  # over the seeds of a target and shots, root mean square over these; what a user would see
    measures: dict[str, float]  # means of the other metrics, by name
    contrast: Contrast | None = None  # None: the baseline itself, or no pair

    def to_dict(self) -> dict[str, Any]:
        """Plain values, flat: one row of a table. NaN becomes None, so that JSON of it is valid."""
        flat = {field.name: getattr(self, field.name) for field in fields(self)}
        measures, contrast = flat.pop("measures"), flat.pop("contrast")
        empty = {field.name: None for field in fields(Contrast)}
        flat |= measures | (empty if contrast is None else asdict(contrast))
        flat["verdict"] = contrast.verdict if contrast else None
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in flat.items()
        }


def standings(cells: Sequence[Cell], baseline: str, resamples: int = 10_000) -> list[Standing]:
    """Every strategy at every number of shots, and over all of them if there are several, in order of appearance.

    Raises ValueError when cells of one split do not have the same test rows.
    """
    shots: list[int | None] = [*sorted({cell.shots for cell in cells})]
    found: list[Standing] = []
    for number in [*shots, *([None] if len(shots) > 1 else [])]:
        chosen = [cell for cell in cells if number in (None, cell.shots)]
        names = dict.fromkeys(cell.strategy for cell in chosen)
        rows = [_standing(name, number, chosen, baseline, resamples) for name in names]
        found += _corrected(rows)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests

    values = np.asarray(p_values, dtype=float)
    known = np.isfinite(values)
    if known.any():
        values[known] = multipletests(values[known], method="holm")[1]
    return values.tolist()


def signed_rank(differences: Sequence[float]) -> float:
    """p of Wilcoxon's two-sided signed-rank test; 1 when nothing differs, NaN without pairs."""
    from scipy.stats import wilcoxon

    values = np.asarray(differences, dtype=float)
    if not len(values):
        return math.nan
    # A difference of two rounded accuracies: rounding must not make ties of equal ones differ.
    values = np.round(values, 12)
    return float(wilcoxon(values).pvalue) if values.any() else 1.0  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of the strategies over splits that all of them have; 1 is best."""

    ranks: dict[str, float]
    splits: int
    p_value: float  # Friedman's test: are all strategies alike?
    critical_difference: float  # of two mean ranks, Nemenyi's test at LEVEL


def mean_ranks(cells: Sequence[Cell]) -> Ranking | None:
    """Ranks by accuracy over complete splits (Demšar, 2006); None with fewer than three strategies or two splits."""
    from scipy.stats import friedmanchisquare, rankdata

    names = list(dict.fromkeys(cell.strategy for cell in cells))
    table: dict[tuple[str, int, int], dict[str, float]] = {}
    for cell in cells:
        table.setdefault(cell.split, {})[cell.strategy] = cell.accuracy
    complete = [row for row in table.values() if len(row) == len(names)]
    if len(names) < 3 or len(complete) < 2:
        return None
    values = np.array([[row[name] for name in names] for row in complete])
    ranks = rankdata(-values, axis=1).mean(0)
    alike = bool((values == values[:, :1]).all())
    p_value = 1.0 if alike else float(friedmanchisquare(*values.T).pvalue)
    difference = nemenyi(len(names), len(complete))
    return Ranking(dict(zip(names, ranks.tolist())), len(complete), p_value, difference)


def nemenyi(strategies: int, splits: int, level: float = LEVEL) -> float:
    """Critical difference of two mean ranks: q_α √(k (k + 1) / (6 N)), q_α of the studentized range over √2."""
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - level, strategies, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(strategies * (strategies + 1) / (6 * splits)))


def _standing(name: str, shots: int | None, cells: Sequence[Cell], baseline: str, resamples: int) -> Standing:
    own = [cell for cell in cells if cell.strategy == name]
    accuracies = np.array([cell.accuracy for cell in own])
    by_place: dict[tuple[str, int], list[float]] = {}
    for cell in own:
        by_place.setdefault((cell.target, cell.shots), []).append(cell.accuracy)
    variances = [np.var(values, ddof=1) for values in by_place.values() if len(values) > 1]
    return Standing(
        strategy=name,
        shots=shots,
        cells=len(own),
        mean=float(accuracies.mean()),
        sd=float(accuracies.std(ddof=1)) if len(own) > 1 else math.nan,
        seed_sd=float(np.sqrt(np.mean(variances))) if variances else math.nan,
        measures={measure: _mean([getattr(cell, measure) for cell in own]) for measure in MEASURES},
        contrast=None if name == baseline else _contrast(own, cells, baseline, resamples),
    )


def _contrast(own: Sequence[Cell], cells: Sequence[Cell], baseline: str, resamples: int) -> Contrast | None:
    others = {cell.split: cell for cell in cells if cell.strategy == baseline}
    pairs = [(cell, others[cell.split]) for cell in own if cell.split in others]
    if not pairs:
        return None
    if any(len(one.right) != len(other.right) for one, other in pairs):
        raise ValueError("cells of one split must have the same test rows")
    differences = np.array([one.accuracy - other.accuracy for one, other in pairs])
    low, high = _bootstrap(differences, resamples)
    ones = np.concatenate([one.right for one, _ in pairs]).astype(int)
    zeros = np.concatenate([other.right for _, other in pairs]).astype(int)
    # Numbers are near or far, not right or wrong: there is nothing to count.
    pooled = compare_paired(ones, zeros, np.ones(len(ones), dtype=int), resamples=1) if len(ones) else None
    wilcoxon = signed_rank(differences.tolist())
    return Contrast(
        pairs=len(pairs),
        difference=float(differences.mean()),
        low=low,
        high=high,
        wilcoxon=wilcoxon,
        wilcoxon_holm=wilcoxon,
        mcnemar=pooled.p_value if pooled else math.nan,
        mcnemar_holm=pooled.p_value if pooled else math.nan,
        gained=pooled.gained if pooled else 0,
        lost=pooled.lost if pooled else 0,
    )


def _bootstrap(values: np.ndarray, resamples: int) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled pairs; NaN for fewer than two."""
    from scipy.stats import bootstrap

    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        method="percentile",
        random_state=np.random.default_rng(0),  # pyright: ignore[reportCallIssue] (rng from scipy 1.15 on)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _corrected(rows: list[Standing]) -> list[Standing]:
    """Holm over the strategies that are compared at one number of shots."""
    found = [row.contrast for row in rows if row.contrast is not None]
    pick: list[Callable[[Contrast], float]] = [lambda c: c.wilcoxon, lambda c: c.mcnemar]
    corrected = iter(zip(*(holm([p(contrast) for contrast in found]) for p in pick)))
    result = []
    for row in rows:
        if row.contrast is not None:
            wilcoxon, mcnemar = next(corrected)
            row = replace(row, contrast=replace(row.contrast, wilcoxon_holm=wilcoxon, mcnemar_holm=mcnemar))
        result.append(row)
    return result


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
