"""The update whose sources are chosen turn by turn by a bandit (``alignment.weighting: exp3`` or ``ucb1``)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sgg_ray.alignment import Bandit
from sgg_ray.training.passes import BANDIT, EACH_SOURCE, Pair, Passes
from sgg_ray.training.updates import GuidedTarget

TURNS = 4  # of a step, which share the rows of its source batch; G of Albalak, Raffel and Wang (2023)


class BanditMixture:
    """g + H·v + λ_source ĝ_S, with ĝ_S the mean gradient of the rows of the sources that had a turn in this step.

    A source's reward is the cosine of its gradient and the target's, over the parameters that both have. The weights
    of the mixture say which sources there are, not how often each is drawn.

    Args:
        target: makes g + H·v.
        bandit: chooses among the sources of the passes, by their order.
        lambda_source: λ_source.
        shared: where the parameters lie that sources and target have in common.
    """

    def __init__(self, target: GuidedTarget, bandit: Bandit, lambda_source: float, shared: slice):
        assert isinstance(target.passes, Passes)
        self.target, self.passes = target, target.passes
        self.bandit, self.lambda_source, self.shared = bandit, lambda_source, shared
        self.names = list(self.passes.sources)
        self.taken = np.zeros(len(self.names))  # turns of each source so far

    def __call__(self, step: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Put the sum into the buffer, and let the bandit learn from it."""
        if step == 0 and self.bandit.needs_first:
            self._first(step)
        batch = self.batch(step)
        total = sum(map(len, batch.values()))
        gradients, loss = self._gradients(batch, total, step)
        mixture = gradients.sum(0)
        metrics = {"source_loss": loss} | self.target.put(step, mixture)
        self._learn(list(batch), gradients)
        self.passes.flat.gradient.add_(mixture, alpha=self.lambda_source)
        shares = torch.from_numpy(self.taken / self.taken.sum()).to(loss.device)
        return metrics | {f"share/{name}": share for name, share in zip(self.names, shares)}

    def batch(self, step: int) -> dict[int, list[Pair]]:
        """The rows of a step's turns, by the number of their source. Counts the turns."""
        size = self.passes.settings.source_batch_size
        turns = min(TURNS, size)
        random = np.random.default_rng(self.passes.seed(step, BANDIT))
        rows: dict[int, int] = {}
        for turn in range(turns):
            chosen = self.bandit.turn(random)
            self.taken[chosen] += 1
            rows[chosen] = rows.get(chosen, 0) + size // turns + (turn < size % turns)
        return {number: self._draw(number, count, random) for number, count in sorted(rows.items())}

    def _draw(self, number: int, count: int, random: np.random.Generator) -> list[Pair]:
        rows = self.passes.sources[self.names[number]]
        chances = None if rows.weights is None else rows.weights / rows.weights.sum()
        drawn = random.choice(len(rows), size=count, replace=count > len(rows), p=chances)
        return [(rows, int(row)) for row in drawn]

    def _gradients(self, batch: Mapping[int, list[Pair]], total: int, step: int) -> tuple[Tensor, Tensor]:
        """Gradients [n, P] of the sources in the batch, of losses divided by ``total``, and this worker's loss."""
        flat = self.passes.flat
        gradients = torch.empty(len(batch), flat.size, device=flat.device)
        loss = torch.zeros((), device=flat.device)
        for row, (number, pairs) in enumerate(batch.items()):
            loss += self.passes.backward(pairs, total, step, EACH_SOURCE + number)
            gradients[row] = flat.gradient
        return gradients, loss

    def _first(self, step: int) -> None:
        """A reward for every source: one batch of each against the target's, before the first turn."""
        count = max(1, self.passes.settings.source_batch_size // TURNS)
        random = np.random.default_rng(self.passes.seed(step, BANDIT, 1))
        batch = {number: self._draw(number, count, random) for number in range(len(self.names))}
        gradients, _ = self._gradients(batch, count, step)
        pairs = self.passes.target_batch(step)
        self.passes.backward(pairs, len(pairs), step, BANDIT)
        self._learn(list(batch), gradients)

    def _learn(self, numbers: list[int], gradients: Tensor) -> None:
        """Rewards from the sources' gradients [n, P] and the target's, which is in the buffer."""
        flat, where = self.passes.flat, self.shared
        cosines = [flat.cosine(own[where], flat.gradient[where]) for own in gradients]
        # Every worker has the same gradients, bit for bit, and so the same rewards. Waits for the device.
        rewards = torch.stack(cosines).double().nan_to_num(0.0, 0.0, 0.0).tolist()
        self.bandit.learn(dict(zip(numbers, rewards)))

    def state_dict(self) -> dict[str, Tensor]:
        """What the bandit has learnt, and the turns so far."""
        return {"bandit": torch.from_numpy(self.bandit.state()), "taken": torch.from_numpy(self.taken)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.bandit.restore(state["bandit"].cpu().numpy())
        self.taken = state["taken"].cpu().numpy().copy()
