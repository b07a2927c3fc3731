"""Where the gradients of two tasks are compared.

Two tasks of an encoder are compared at zero-initialised heads:

* if both train one head, because their label names are the same (or because ``train.share_labels`` lets them meet at
  the names they have in common): at this head;
* otherwise each at a head of its own, under the matching of labels that makes them most alike.

A language model has no heads: all its tasks, with labels or with completions, are compared at all its trainable
parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sgg_ray.tasks import Task, joined

ALL_PARAMETERS = "all parameters"


@dataclass(frozen=True)
class Space:
    """The parameters over which two tasks are compared.

    Attributes:
        labels: of the target's zero-initialised head; without labels, all trainable parameters.
        matched: the source has a head of its own, whose labels are matched with the target's.
    """

    labels: tuple[str, ...] = ()
    matched: bool = False

    @property
    def name(self) -> str:
        """Name of the space in reports."""
        if self.matched:
            return "heads of their own"
        return f"head {joined(self.labels)}" if self.labels else ALL_PARAMETERS


def comparison_space(
    target: Task, source: Task, language_model: bool = False, share_labels: bool = False
) -> Space:
    """Where ``source`` is compared with ``target``.

    Args:
        language_model: the model is one, and has no heads.
        share_labels: ``train.share_labels``.
    """
    if language_model:
        return Space()
    if not target.kind == source.kind == "classification":
        return Space(target.labels, matched=target.head != source.head)
    common = tuple(name for name in target.labels if name in source.labels)
    if len(common) > 1 and (share_labels or len(common) == len(target.labels) == len(source.labels)):
        return Space(common)
    return Space(target.labels, matched=True)


def comparison_spaces(
    target: Task, sources: Sequence[Task], language_model: bool = False, share_labels: bool = False
) -> dict[str, Space]:
    """Where each of these sources is compared with ``target``, by its name."""
    return {source.name: comparison_space(target, source, language_model, share_labels) for source in sources}
