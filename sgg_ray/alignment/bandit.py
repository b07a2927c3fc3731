"""Bandits that choose which source to train on, turn by turn: FLAD (Albalak, Raffel and Wang 2023, arXiv 2302.00674).

The reward of a turn is the cosine of the source's gradient and the target's. Rewards come in once a step, for all
sources that had a turn in it; between two steps the estimates of the rewards stay as they are.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

SMOOTHING = 0.9  # β of UCB1-FLAD: the share of the newest reward in a source's mean


class Bandit(Protocol):
    """Chooses sources by number, and learns from their rewards.

    Attributes:
        needs_first: whether every source needs a reward before the first turn.
    """

    needs_first: bool

    def turn(self, random: np.random.Generator) -> int:
        """Number of the source whose turn is next."""
        ...

    def learn(self, rewards: Mapping[int, float]) -> None:
        """Take the rewards of the turns since the last call, by source: cosines, in [−1, 1]."""
        ...

    def state(self) -> np.ndarray:
        """Everything that it has learnt, fp64 [n]."""
        ...

    def restore(self, state: np.ndarray) -> None:
        """Go on from what :meth:`state` returned."""
        ...


class Exp3:
    """EXP3-FLAD: draws a source with probability π(a), and adds up rewards divided by π(a).

        ℰ_t = min{1/K, √(ln K / (K t))}
        π(a) = (1 − K ℰ_t) exp(ℰ_{t−1} R̂_a) / Σ_b exp(ℰ_{t−1} R̂_b) + ℰ_t
        R̂_a ← R̂_a + R_a / π(a)

    Args:
        sources: number of sources K.
    """

    needs_first = False

    def __init__(self, sources: int):
        self.rewards = np.zeros(sources)  # R̂
        self.turns = 0

    def exploration(self, turn: int) -> float:
        """ℰ_t; ℰ_0 = 1/K."""
        count = len(self.rewards)
        return min(1 / count, math.sqrt(math.log(count) / (count * turn))) if turn else 1 / count

    def probabilities(self) -> np.ndarray:
        """π [K] of the turn that was last; before the first one, all alike."""
        count, now = len(self.rewards), self.exploration(self.turns)
        raised = self.exploration(max(self.turns - 1, 0)) * self.rewards
        odds = np.exp(raised - raised.max())
        return (1 - count * now) * odds / odds.sum() + now

    def turn(self, random: np.random.Generator) -> int:
        """Draw from π."""
        self.turns += 1
        chances = self.probabilities()
        return int(random.choice(len(chances), p=chances / chances.sum()))

    def learn(self, rewards: Mapping[int, float]) -> None:
        """R̂_a ← R̂_a + R_a / π(a)."""
        chances = self.probabilities()
        for source, reward in rewards.items():
            self.rewards[source] += reward / chances[source]

    def state(self) -> np.ndarray:
        """R̂ and the number of turns [K + 1]."""
        return np.append(self.rewards, self.turns)

    def restore(self, state: np.ndarray) -> None:
        """Go on from a state."""
        self.rewards, self.turns = state[:-1].copy(), int(state[-1])


class Ucb1:
    """UCB1-FLAD: takes the source with the highest upper bound R̂_a + √(2 ln t / n_a).

        R̂_a ← (1 − β) R̂_a + β R_a

    R̂_a begins with the reward of one batch, which counts as the source's first turn.

    Args:
        sources: number of sources K.
    """

    needs_first = True

    def __init__(self, sources: int):
        self.rewards = np.zeros(sources)  # R̂
        self.counts = np.zeros(sources)  # n

    def turn(self, random: np.random.Generator) -> int:
        """The highest bound; of equal ones the first."""
        bounds = self.rewards + np.sqrt(2 * math.log(self.counts.sum()) / self.counts)
        best = int(bounds.argmax())
        self.counts[best] += 1
        return best

    def learn(self, rewards: Mapping[int, float]) -> None:
        """The first time R̂_a = R_a and n_a = 1, later the moving mean."""
        for source, reward in rewards.items():
            first = self.counts[source] == 0
            self.rewards[source] += (1.0 if first else SMOOTHING) * (reward - self.rewards[source])
            self.counts[source] = max(self.counts[source], 1)

    def state(self) -> np.ndarray:
        """R̂ and n [2 K]."""
        return np.concatenate([self.rewards, self.counts])

    def restore(self, state: np.ndarray) -> None:
        """Go on from a state."""
        self.rewards, self.counts = (part.copy() for part in np.split(state, 2))


BANDITS: dict[str, type[Exp3] | type[Ucb1]] = {"exp3": Exp3, "ucb1": Ucb1}
