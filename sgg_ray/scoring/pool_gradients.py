"""The gradients of a pool, a target and its sources, wherever they were computed; and how one process computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sgg_ray.alignment import Score
from sgg_ray.errors import TrainingError
from sgg_ray.scoring.spaces import Space, comparison_spaces
from sgg_ray.scoring.task_gradients import SourceGradients, TargetGradients, TaskSummariser
from sgg_ray.scoring.task_scores import scores_of
from sgg_ray.tasks import Task


@dataclass(frozen=True)
class PoolGradients:
    """All that the scores of a pool are made from. A source is in ``sources`` or in ``failures``.

    Attributes:
        target: name of the target.
        spaces: where each source is compared with the target, by its name, in the order of the configuration.
        targets: the target's gradients in each of these spaces.
        sources: gradients of those sources that could be summarised.
        failures: of the others, why they could not: one line.
    """

    target: str
    spaces: Mapping[str, Space]
    targets: Mapping[Space, TargetGradients]
    sources: Mapping[str, SourceGradients]
    failures: Mapping[str, str]

    def scores(self, confidence: float) -> dict[str, Score | None]:
        """Score by source name, in the order of the configuration; None for a source that has failed.

        Args:
            confidence: level of the intervals, above 0 and below 1.
        """
        found = scores_of(self.targets, self.sources, confidence)
        return {name: found.get(name) for name in self.spaces}


def pool_gradients(
    summariser: TaskSummariser, target: Task, sources: Sequence[Task], share_labels: bool = False
) -> PoolGradients:
    """Summarise a target and its sources in this process, one after the other.

    A source whose rows give no gradient to compare is kept as failed.

    Args:
        share_labels: ``train.share_labels``: tasks meet at the labels they have in common.

    Raises:
        TrainingError: the target's gradients are not usable.
    """
    spaces = comparison_spaces(target, sources, summariser.is_language_model, share_labels)
    targets = {space: summariser.target(target, space, 0) for space in dict.fromkeys(spaces.values())}
    found: dict[str, SourceGradients] = {}
    failures: dict[str, str] = {}
    for source in sources:
        space = spaces[source.name]
        try:
            found[source.name] = summariser.source(source, space, 0, lambda space=space: targets[space])
        except TrainingError as error:
            failures[source.name] = error.problems[0]
    return PoolGradients(target.name, spaces, targets, found, failures)


def score_tasks(
    summariser: TaskSummariser, target: Task, sources: Sequence[Task], share_labels: bool = False
) -> dict[str, Score | None]:
    """Score all sources in this process; None for one that cannot be scored.

    Args:
        share_labels: ``train.share_labels``.

    Raises:
        TrainingError: the target's gradients are not usable.
    """
    gradients = pool_gradients(summariser, target, sources, share_labels)
    return gradients.scores(summariser.config.confidence)
