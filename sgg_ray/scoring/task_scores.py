"""From what the tasks' workers send to scores. No Ray in here."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from sgg_ray.alignment import (
    OWN_HEAD,
    OwnHead,
    Score,
    contradictions,
    domain_similarity,
    pooled_scores,
    score_alignment,
)
from sgg_ray.errors import TrainingError
from sgg_ray.scoring.task_gradients import (
    SourceGradients,
    Space,
    TargetGradients,
    TaskSummariser,
    comparison_space,
    spaces_of,
)
from sgg_ray.tasks import Task


def scores_of(
    targets: Mapping[Space, TargetGradients], sources: Mapping[str, SourceGradients], confidence: float
) -> dict[str, Score]:
    """Scores by source name: each source's own evidence, what the other sources add to it, and whom it contradicts.

    Args:
        targets: the target's gradients in each space.
        sources: what each source's worker found.
        confidence: level of the intervals.
    """
    scores: dict[str, Score] = {}
    groups: dict[tuple, list[str]] = {}
    for name, found in sources.items():
        scores[name] = score_alignment(found.evidence, confidence)
        if found.space.matched:
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
            scores[name] = score
    for name, other in contradictions(_own_heads(sources, scores)).items():
        scores[name] = replace(scores[name], opposes=other)
    return scores


def _own_heads(sources: Mapping[str, SourceGradients], scores: Mapping[str, Score]) -> dict[str, OwnHead]:
    """Of the sources that train a head which is not the target's."""
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


def score_tasks(
    summariser: TaskSummariser, target: Task, sources: Sequence[Task], share_labels: bool = False
) -> dict[str, Score | None]:
    """Score all sources in this process, as the exchange does with actors; None for one that cannot be scored.

    Args:
        share_labels: ``train.share_labels``.

    Raises:
        TrainingError: the target's gradients are not usable.
    """
    causal = summariser.causal
    targets = {
        space: summariser.target(target, space, 0)
        for space in spaces_of(target, sources, causal, share_labels)
    }
    found: dict[str, SourceGradients] = {}
    for source in sources:
        space = comparison_space(target, source, causal, share_labels)
        with suppress(TrainingError):
            found[source.name] = summariser.source(source, space, 0, lambda space=space: targets[space])
    scores = scores_of(targets, found, summariser.config.confidence)
    return {source.name: scores.get(source.name) for source in sources}


def _times(score: Score, factor: float) -> Score:
    scaled = {name: factor * getattr(score, name) for name in ("value", "low", "high", "observed")}
    return replace(score, **scaled)
