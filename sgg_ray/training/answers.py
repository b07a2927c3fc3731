"""What a model says to rows with completions: a loss for each reference, and the answer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sgg_ray.models import LanguageModel, batches_by_length
from sgg_ray.tasks import Rows, Task
from sgg_ray.training.communicator import Communicator


@dataclass(frozen=True)
class Answers:
    """Generated texts [n], and of each row's reference the mean loss a token [n] and the number of tokens [n]."""

    texts: tuple[str, ...]
    losses: np.ndarray
    tokens: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {
            "texts": list(self.texts),
            "losses": self.losses.tolist(),
            "tokens": self.tokens.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Answers:
        """The answers that ``to_dict`` was called on."""
        losses = np.array(stored["losses"], dtype=np.float64)
        return cls(tuple(stored["texts"]), losses, np.array(stored["tokens"], dtype=np.int64))


@torch.no_grad()
def answer(
    model: LanguageModel,
    task: Task,
    rows: Rows,
    batch_size: int,
    communicator: Communicator,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Answers:
    """Answers to ``rows`` of a task with completions, in their order, the same on every worker.

    The loss is that of the reference after its prompt (whose text is cut so that the reference fits); the text is
    generated greedily after the prompt alone. Rows of similar length share a batch.

    Args:
        batch_size: rows a worker computes at once.
        on_progress: takes (rows done, rows in all) of this worker after each batch.
    """
    model.eval()
    tokens = model.tokenise(task, rows)
    prompts = model.questions(task, rows)
    losses = torch.zeros(len(rows), device=model.device)
    said = torch.zeros(len(rows), model.max_new_tokens, dtype=torch.int64, device=model.device)
    mine = np.arange(len(rows))[communicator.rank :: communicator.world_size]
    done = 0
    for indices in batches_by_length(tokens, batch_size, mine):
        place = torch.from_numpy(indices).to(model.device)
        losses[place] = model.losses(model.collate([(tokens, int(row)) for row in indices]))
        ids = model.generate([prompts[row] for row in indices])
        said[place] = torch.from_numpy(ids).to(model.device)
        done += len(indices)
        on_progress(done, len(mine))
    communicator.all_reduce(losses)
    communicator.all_reduce(said)
    return Answers(
        tuple(model.text_of(ids) for ids in said.cpu().numpy()),
        losses.double().cpu().numpy(),
        np.array([len(tokens.candidates[row][0]) for row in range(len(rows))], dtype=np.int64),
    )


@torch.no_grad()
def generate_texts(model: LanguageModel, task: Task, rows: Rows, batch_size: int) -> list[str]:
    """Answers to prompts without references, in their order."""
    model.eval()
    prompts = model.questions(task, rows)
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    texts = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        for row, ids in zip(part, model.generate([prompts[row] for row in part])):
            texts[row] = model.text_of(ids)
    return texts
