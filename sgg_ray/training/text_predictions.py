"""Predictions of texts: an answer of the model's own to each prompt, and the loss of the reference."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sgg_ray.evaluation import (
    AnswerScores,
    GenerationComparison,
    GenerationMetrics,
    compare_generation,
    evaluate_generation,
    score_answers,
)
from sgg_ray.models import LanguageModel, TaskModel
from sgg_ray.tasks import Rows, Task
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.evaluate import in_step
from sgg_ray.training.predictions import Predictions, Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TextPredictions(Predictions):
    """Generated texts [n], and of each row's reference the mean loss a token [n] and the number of tokens [n]."""

    file = "answers.json"
    metric = "exact_match"
    calibrated = False

    task: Task
    rows: Rows
    texts: tuple[str, ...]
    token_losses: np.ndarray
    tokens: np.ndarray

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: TaskModel,
        task: Task,
        rows: Rows,
        batch_size: int,
        communicator: Communicator,
        on_progress: Progress,
    ) -> TextPredictions:
        """Answer ``rows`` greedily.

        The loss is that of the reference after its prompt (whose text is cut so that the reference fits); the text is
        generated after the prompt alone. Rows of similar length share a batch.
        """
        assert isinstance(model, LanguageModel)
        model.eval()
        tokens = model.tokenise(task, rows)
        prompts = model.questions(task, rows)
        losses = torch.zeros(len(rows), device=model.device)
        said = torch.zeros(len(rows), model.max_new_tokens, dtype=torch.int64, device=model.device)
        mine = len(range(communicator.rank, len(rows), communicator.world_size))
        done = 0
        for indices, counts in in_step(model, tokens, batch_size, communicator):
            place = torch.from_numpy(indices).to(model.device)
            own = model.losses(model.collate([(tokens, int(row)) for row in indices]))
            ids = model.generate([prompts[row] for row in indices])
            if counts:
                losses[place] = own
                said[place] = torch.from_numpy(ids).to(model.device)
                done += len(indices)
                on_progress(done, mine)
        communicator.all_reduce(losses)
        communicator.all_reduce(said)
        return cls(
            task,
            rows,
            tuple(model.text_of(ids) for ids in said.cpu().numpy()),
            losses.double().cpu().numpy(),
            np.array([len(tokens.candidates[row][0]) for row in range(len(rows))], dtype=np.int64),
        )

    @classmethod
    def load(cls, path: Path, task: Task, rows: Rows) -> TextPredictions:
        """What :meth:`save` wrote."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        losses = np.array(stored["losses"], dtype=np.float64)
        tokens = np.array(stored["tokens"], dtype=np.int64)
        return cls(task, rows, tuple(stored["texts"]), losses, tokens)

    def save(self, path: Path) -> None:
        """Write texts, losses and numbers of tokens as JSON, whole or not at all."""
        part = path.with_name(f".{path.name}")
        found = {
            "texts": list(self.texts),
            "losses": self.token_losses.tolist(),
            "tokens": self.tokens.tolist(),
        }
        part.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        os.replace(part, path)

    @cached_property
    def scores(self) -> AnswerScores:
        """The texts compared with the references, row by row."""
        return score_answers(self.texts, self.rows.completions, self.token_losses, self.tokens)

    def metrics(self) -> GenerationMetrics:
        """Token loss, perplexity, exact match and ROUGE-L over all rows."""
        return evaluate_generation(self.scores)

    def minus(self, baseline: TextPredictions) -> GenerationComparison:
        """The differences of loss, exact match and ROUGE-L on the same rows."""
        return compare_generation(self.scores, baseline.scores)

    @property
    def correct(self) -> np.ndarray:
        """Whether each text is the reference, but for case, spacing and a full stop [n]."""
        return self.scores.exact

    @property
    def losses(self) -> np.ndarray:
        """Mean loss a token of each reference [n]."""
        return self.token_losses

    def frame(self) -> pd.DataFrame:
        """``prompt``, ``history`` where there is one, ``reference``, ``generated`` and the scores of each row."""
        import pandas as pd

        histories = [_as_messages(history) for history in self.rows.histories]
        return pd.DataFrame(
            {
                "prompt": self.rows.texts,
                **({"history": histories} if histories else {}),
                "reference": self.rows.completions,
                "generated": self.texts,
                "loss": self.scores.losses,
                "tokens": self.scores.tokens,
                "exact_match": self.scores.exact,
                "rouge_l": self.scores.rouge_l,
            }
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


def _as_messages(history: Any) -> str:
    return json.dumps([{"role": role, "content": content} for role, content in history], ensure_ascii=False)
