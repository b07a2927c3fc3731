"""Log-probabilities of a few tokens at a few places, without logits of any other place.

A language-model head turns each hidden state into one number a word. With the 262 144 words of Gemma 3 these numbers
are most of what a pass holds, so they are made at the places alone whose tokens are scored, and where even these are
many a stretch at a time, which backward computes once more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 1 << 24  # at once; 64 MiB in fp32


@contextmanager
def _replaced_forward(module: nn.Module, forward: Any) -> Iterator[None]:
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


class _DecoderOutput(tuple):
    """What a language model takes from its decoder, whatever class of output its architecture has: hidden states
    [1, u, H], by name or as the first entry, and nothing else (no cache, attentions or router logits)."""

    def __new__(cls, hidden: Tensor):
        return super().__new__(cls, (hidden,))

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        return None


def hidden_states_at(backbone: nn.Module, inner: nn.Module, inputs: dict[str, Tensor], at: tuple) -> Tensor:
    """What the head would see at places [U] of a batch: [U, H].

    The pass goes through the whole ``backbone``, with its adapter and its virtual tokens; only the head is left out.

    Args:
        backbone: the language model, perhaps inside a PEFT model.
        inner: the language model itself.
        inputs: of the pass, but for ``use_cache``.
        at: sequence and place of each [U]; places count from the end, since virtual tokens may stand before the rest.
    """
    found: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        found.append(hidden[at])
        return hidden[:1, :1, :1]  # stands for logits that nobody reads

    head = inner.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    with _replaced_forward(head, take):
        backbone(**inputs, use_cache=False)
    return found[0]


def head_logits(inner: nn.Module, hidden: Tensor) -> Tensor:
    """Logits [u, V] of hidden states [u, H], by the model's own head and whatever it does behind it (softcapping)."""
    decoder = inner.get_decoder()  # pyright: ignore[reportCallIssue]
    nothing = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
    with _replaced_forward(decoder, lambda *_, **__: _DecoderOutput(hidden.unsqueeze(0))):
        return inner(input_ids=nothing, logits_to_keep=0, use_cache=False).logits[0]


def output_layer(inner: nn.Module, hidden: Tensor) -> Tensor:
    """Logits [u, V] of hidden states [u, H] of a model that does nothing behind its head."""
    return inner.get_output_embeddings()(hidden)  # pyright: ignore[reportCallIssue]


def token_log_probabilities(
    inner: nn.Module,
    hidden: Tensor,
    seats: Tensor,
    tokens: Tensor,
    on_host: np.ndarray,
    logits_of: Callable[[nn.Module, Tensor], Tensor] = head_logits,
) -> Tensor:
    """log p of ``tokens`` [A, L] at ``seats`` [A, L], which index hidden states [U, H]: [A, L] in fp32.

    Args:
        on_host: ``seats`` once more, in the host's memory. How many lie in each stretch is read from it: asking the
            device would wait for the whole pass before the head.
        logits_of: from the language model and hidden states [u, H] to logits [u, V].
    """

    def normaliser_and_logits(part: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits_of(inner, part).float()
        return logits.logsumexp(-1), logits[own[0], own[1]]

    size = max(1, MOST_LOGITS // inner.get_output_embeddings().weight.shape[0])  # pyright: ignore[reportCallIssue]
    if len(hidden) <= size:
        logits = logits_of(inner, hidden).float()
        return logits[seats, tokens] - logits.logsumexp(-1)[seats]
    order = torch.argsort(seats.flatten(), stable=True)  # tokens by the stretch that their seat lies in
    sorted_seats, sorted_tokens = seats.flatten()[order], tokens.flatten()[order]
    bounds = np.searchsorted(np.sort(on_host.ravel()), np.arange(0, len(hidden) + size, size))
    said = []
    for number, part in enumerate(hidden.split(size)):
        where = slice(bounds[number], bounds[number + 1])
        own = torch.stack([sorted_seats[where] - number * size, sorted_tokens[where]])
        normaliser, logits = checkpoint(
            normaliser_and_logits, part, own, use_reentrant=False, preserve_rng_state=False
        )  # pyright: ignore[reportGeneralTypeIssues]
        said.append(logits - normaliser[own[0]])
    return torch.cat(said)[torch.argsort(order)].view(seats.shape)
