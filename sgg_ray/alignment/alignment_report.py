"""What `sgg score` finds: every source with its score, verdict and weight, and who agrees with whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.alignment.alignment_score import Score
from sgg_ray.alignment.verdict import Verdict

if TYPE_CHECKING:
    import pandas

_ORDER: dict[str, int] = {"helps": 0, "unclear": 1, "harmful": 2, "failed": 3}


@dataclass(frozen=True)
class SourceAlignment:
    """One source with its score, verdict and share of the mixture: a row of the printed table."""

    source: str
    rows: int  # examples that were scored
    space: str  # the parameter space in which the gradients were compared
    step: int  # training step of the θ at which they were taken
    score: Score | None  # None when the source failed
    verdict: Verdict
    weight: float  # share in the source mixture
    note: str = ""


@dataclass(frozen=True)
class AlignmentReport:
    """Scores of all sources against one target, in the order of the configuration."""

    target: str
    step: int
    weighting: str
    sources: list[SourceAlignment]
    similarity: np.ndarray  # [S+1, S+1] cosines of mean summaries, target first; NaN where spaces differ
    seconds: float = 0.0
    confidence: float = 0.95
    details: dict[str, Any] = field(default_factory=dict)  # settings worth keeping: model, seed, dimension …
    layers: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # source → layer → cosine with the target

    def __post_init__(self):
        object.__setattr__(self, "similarity", np.asarray(self.similarity, dtype=np.float64))
        expected = (len(self.sources) + 1,) * 2
        if self.similarity.shape != expected:
            raise ValueError(f"similarity must be {expected}, target first, found {self.similarity.shape}")

    @property
    def names(self) -> list[str]:
        """Rows and columns of ``similarity``: the target, then the sources."""
        return [self.target, *(source.source for source in self.sources)]

    @property
    def weights(self) -> dict[str, float]:
        """Share of the mixture by source name: at least 0, summing to 1, or all 0 if no source is used."""
        return {source.source: source.weight for source in self.sources}

    def ranked(self) -> list[SourceAlignment]:
        """Sources by utility, the best first, failed ones last.

        Values that were cut off at 1 are told apart by the cosine as observed.
        """

        def key(source: SourceAlignment) -> tuple[bool, float, float]:
            score = source.score
            if score is None or not math.isfinite(score.value):
                return True, 0.0, 0.0
            return False, -score.utility, -score.observed

        return sorted(self.sources, key=key)

    @property
    def advice(self) -> str:
        """What training does with the sources, in one line: ``training mixes in imdb (80 %); harmful, left out:
        forum``.

        Of a source that contradicts another one at a head of their own it says which.
        """
        mixed = [f"{row.source} ({100 * row.weight:.0f} %)" for row in self.ranked() if row.weight > 0]
        none = (
            "no source helps: training on the target alone"
            if self.weighting == "evidence"
            else "no source is mixed in"
        )
        parts = [f"training mixes in {', '.join(mixed)}" if mixed else none]
        against = {row.source: row.score.opposes for row in self.sources if row.score}
        harmful = [row.source for row in self.ranked() if row.verdict == "harmful" and not row.weight]
        alone = [name for name in harmful if not against.get(name)]
        if alone:
            parts.append(f"harmful, left out: {', '.join(alone)}")
        kept = [row.source for row in self.ranked() if row.verdict == "harmful" and row.weight]
        if kept:
            parts.append(f"harmful, but weighting {self.weighting} mixes them in: {', '.join(kept)}")
        for other in dict.fromkeys(against[name] for name in harmful if against.get(name)):
            names = [name for name in harmful if against.get(name) == other]
            parts.append(f"left out, contradicts {other} on the labels they share: {', '.join(names)}")
        unclear = [row.source for row in self.ranked() if row.verdict == "unclear"]
        if unclear:
            parts.append(f"unclear: {', '.join(unclear)}; add shots to be sure")
        failed = [row.source for row in self.ranked() if row.verdict == "failed"]
        if failed:
            parts.append(f"failed, left out: {', '.join(failed)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; NaN becomes None so that the JSON is valid everywhere."""
        return {
            "target": self.target,
            "step": self.step,
            "weighting": self.weighting,
            "confidence": self.confidence,
            "seconds": self.seconds,
            "advice": self.advice,
            "sources": [_source_to_dict(source) for source in self.sources],
            "similarity": [[_number_or_none(cosine) for cosine in row] for row in self.similarity.tolist()],
            "layers": {
                source: {layer: _number_or_none(cosine) for layer, cosine in row.items()}
                for source, row in self.layers.items()
            },
            "details": dict(self.details),
        }

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> AlignmentReport:
        """Rebuild the report from what :meth:`to_dict` returned."""
        size = len(payload["sources"]) + 1
        similarity = np.array(payload["similarity"], dtype=np.float64).reshape(size, size)  # None → NaN
        return cls(
            target=payload["target"],
            step=payload["step"],
            weighting=payload["weighting"],
            sources=[_source_from_dict(source) for source in payload["sources"]],
            similarity=similarity,
            seconds=payload["seconds"],
            confidence=payload["confidence"],
            details=dict(payload["details"]),
            layers={
                source: {layer: math.nan if cosine is None else cosine for layer, cosine in row.items()}
                for source, row in payload.get("layers", {}).items()
            },
        )

    def to_pandas(self) -> pandas.DataFrame:
        """One row a source, in the order of ``sources``; scores are NaN for failed ones."""
        import pandas

        columns = (
            "value",
            "low",
            "high",
            "utility",
            "norm_ratio",
            "reliability",
            "source_reliability",
            "domain_similarity",
            "observed",
        )
        rows = []
        for source in self.sources:
            score: dict[str, float] = dict.fromkeys(columns, math.nan)
            if source.score is not None:
                score = {name: getattr(source.score, name) for name in columns}
            rows.append(
                {
                    "target": self.target,
                    "source": source.source,
                    "rows": source.rows,
                    **score,
                    "verdict": source.verdict,
                    "weight": source.weight,
                    "space": source.space,
                    "step": source.step,
                    "note": source.note,
                }
            )
        names = ["target", "source", "rows", *columns, "verdict", "weight", "space", "step", "note"]
        return pandas.DataFrame(rows, columns=pandas.Index(names))


def _source_to_dict(source: SourceAlignment) -> dict[str, Any]:
    score = None
    if source.score is not None:
        score = {
            name: value if isinstance(value, str) else _number_or_none(value)
            for name, value in source.score.to_dict().items()
        }
    return {
        "source": source.source,
        "rows": source.rows,
        "space": source.space,
        "step": source.step,
        "score": score,
        "verdict": source.verdict,
        "weight": float(source.weight),
        "note": source.note,
    }


def _source_from_dict(payload: Mapping[str, Any]) -> SourceAlignment:
    fields = dict(payload)
    if fields["score"] is not None:
        fields["score"] = Score.from_dict(fields["score"])
    return SourceAlignment(**fields)


def _number_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
