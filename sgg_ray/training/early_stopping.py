"""When a training has nothing more to learn: all that it is trained on has been fitted for a while."""

from collections.abc import Mapping

STEPS = 20  # in a row


class EarlyStopping:
    """Counts steps in a row whose losses are all below a limit.

    It goes by the losses of training batches, summed over the workers: all workers have these, and no row has to be
    held out. While sources are mixed in, their loss counts as the target's does: it still moves the model.

    Args:
        limit: in nats; None never ends a training.
    """

    def __init__(self, limit: float | None):
        self.limit, self.in_a_row = limit, 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of the next step. Steps on sources alone have no loss of the target, and do not count."""
        if self.limit is not None:
            losses = [metrics[name] for name in ("loss", "source_loss") if name in metrics]
            fitted = "loss" in metrics and all(loss < self.limit for loss in losses)
            self.in_a_row = self.in_a_row + 1 if fitted else 0

    @property
    def reached(self) -> bool:
        """Whether the last steps were enough of them."""
        return self.in_a_row >= STEPS
