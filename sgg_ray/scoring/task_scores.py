"""From gradients of a pool's tasks to the scores of its sources, and from these to the mixture."""

from collections.abc import Mapping
from dataclasses import replace

from sgg_ray.alignment import (
    OWN_HEAD,
    OwnHead,
    Score,
    contradictions,
    domain_similarity,
    mixture_weights,
    pooled_scores,
    score_alignment,
)
from sgg_ray.scoring.spaces import Space
from sgg_ray.scoring.task_gradients import SourceGradients, TargetGradients


def scores_of(
    targets: Mapping[Space, TargetGradients], sources: Mapping[str, SourceGradients], confidence: float
) -> dict[str, Score]:
    """Scores by source name: each source's own evidence, what the other sources add to it, and whom it contradicts.

    Args:
        targets: the target's gradients in each space.
        sources: those of each source, by name.
        confidence: level of the intervals.
    """
    scores: dict[str, Score] = {}
    groups: dict[tuple, list[str]] = {}
    for name, found in sources.items():
        scores[name] = score_alignment(found.evidence, confidence)
        if found.space.matched:
            # For the interval: pooled_scores gives the value, which has the factor already.
            scores[name] = _times(scores[name], OWN_HEAD)
        # Gradients at one head of the target lie in one space, unless some of them are sketched as a whole.
        groups.setdefault((found.space.labels, found.summary.seed), []).append(name)
    for names in groups.values():
        members = [sources[name] for name in names]
        target = targets[members[0].space]
        found = pooled_scores(
            target.vectors.reshape(len(target.vectors), target.rows, -1),
            target.classes,
            [scores[name] for name in names],
            [member.summary.mean.reshape(member.rows, -1) for member in members],
            [member.space.matched for member in members],
            [member.noise for member in members],
            None if target.names is None else target.names.reshape(target.rows, -1),
        )
        for name, member, score in zip(names, members, found):
            if target.texts is not None and member.texts is not None:
                score = replace(score, domain_similarity=domain_similarity(target.texts, member.texts))
            scores[name] = replace(score, meets_head=not member.space.matched)
    # Last: utilities say who is to be kept, and these change with the other sources and with the texts.
    for name, other in contradictions(_own_heads(sources, scores)).items():
        scores[name] = replace(scores[name], opposes=other)
    return scores


def _own_heads(sources: Mapping[str, SourceGradients], scores: Mapping[str, Score]) -> dict[str, OwnHead]:
    """The heads of sources that train one which is not the target's, by source."""
    return {
        name: OwnHead(
            found.summary.space,
            found.summary.mean.reshape(found.rows, -1),
            scores[name].utility,
            found.noise,
        )
        for name, found in sources.items()
        if found.space.matched
    }


def mixture(scores: Mapping[str, Score | None], weighting: str = "relu") -> dict[str, float]:
    """Share of each source in the mixture, by name; see ``mixture_weights`` for the rules."""
    weights = mixture_weights(list(scores.values()), weighting)
    return {name: float(weight) for name, weight in zip(scores, weights)}


def _times(score: Score, factor: float) -> Score:
    scaled = {name: factor * getattr(score, name) for name in ("value", "low", "high", "observed")}
    return replace(score, **scaled)
