"""What a causal language model is trained for where one of several answers is right. One class a loss."""

from typing import Protocol

import torch
from torch import Tensor

CERTAIN = 1 - 1e-6  # a larger probability has no 1 − p in fp32


class AnswerLoss(Protocol):
    """A loss of the tokens of answers, one of which is right."""

    def losses(self, said: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """Loss of each example [n].

        Args:
            said: log-probability [n, W, L] of each token of each of W answers, given prompt and the tokens before it.
            real: [n, W, L] 1 for tokens, 0 behind an answer's end; an answer without tokens is none.
            labels: [n] which answer is right.
        """
        ...


class TFew:
    """L_LM + L_UL + L_LN of T-Few (Liu et al. 2022, arXiv 2205.05638, section 3.2).

    For the right answer y of T tokens and wrong ones y_n of T_n tokens:

        L_LM = −1/T Σ_t log p(y_t)
        L_UL = −Σ_n Σ_t log(1 − p(y_n,t)) / Σ_n T_n
        L_LN = −log softmax(β)_y, with β the mean log-probability of an answer's tokens
    """

    def losses(self, said: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """The sum of the three, for each example [n]."""
        tokens = real.sum(-1)
        means = (said * real).sum(-1) / tokens.clamp(min=1)  # β [n, W]
        right = torch.nn.functional.one_hot(labels, said.shape[1]).to(said.dtype)  # [n, W]
        spoken = -(means * right).sum(1)
        wrong = real * (1 - right)[:, :, None]
        unlikely = torch.log1p(-said.exp().clamp(max=CERTAIN))
        unlikelihood = -(unlikely * wrong).sum((1, 2)) / wrong.sum((1, 2)).clamp(min=1)
        among = means.masked_fill(tokens == 0, float("-inf"))  # a row may have fewer choices than others
        normalised = torch.nn.functional.cross_entropy(among, labels, reduction="none")
        return spoken + unlikelihood + normalised


ANSWER_LOSSES: dict[str, type[AnswerLoss]] = {"t_few": TFew}
