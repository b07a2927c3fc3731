"""Rows of language models as token ids, and batches of the sequences that score their answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.batch import Batch, TokenisedRows, padded
from sgg_ray.models.prompts import Ids


@dataclass(frozen=True)
class PromptedRows(TokenisedRows):
    """Prompts as token ids, and the token ids of each label's word, which may follow any of them.

    Attributes:
        candidates: in place of label words, each row's own answers, equally many in all rows: its choices, of which
            one without a token is none; or its completion first, and perhaps others that are compared with it.
    """

    answers: tuple[Ids, ...] = ()
    candidates: tuple[tuple[Ids, ...], ...] = ()

    def answers_of(self, row: int) -> tuple[Ids, ...]:
        """Token ids of the texts that may follow the row's prompt: its label words, or its completion."""
        return self.candidates[row] if self.candidates else self.answers

    def shares(self, row: int) -> bool:
        """Whether all answers are said at one place, because none has more than one token."""
        return all(len(answer) < 2 for answer in self.answers_of(row))

    def sequences(self, row: int) -> int:
        """How many sequences the row makes in a batch."""
        return 1 if self.shares(row) else sum(map(bool, self.answers_of(row)))

    def length(self, row: int) -> int:
        """Number of tokens of prompt and completion together."""
        return len(self.ids[row]) + (max(map(len, self.candidates[row])) if self.candidates else 0)


@dataclass(frozen=True)
class AnswerBatch(Batch):
    """Sequences of prompts and answers [S, T]; which logits are needed; and which of them belong to which answer.

    A *seat* is a place in a sequence whose logits are needed. All answers of one token share their prompt's last
    place; where answers are longer, each has a sequence of its own.
    """

    example: Tensor  # [S] that each sequence belongs to
    sequence: Tensor  # [U] of each seat
    place: Tensor  # [U] of each seat, counted from the end of the padded sequences
    seats: Tensor  # [A, L] of each answer's tokens, answers in the order of examples and labels
    on_host: np.ndarray  # the seats once more, in the host's memory
    tokens: Tensor  # [A, L]
    real: Tensor  # [A, L] 1 for tokens, 0 behind an answer's end
    widths: tuple[int, ...]  # number of labels of each stretch of ``heads``

    def to(self, device: torch.device) -> "AnswerBatch":
        """Copy to a device without waiting for the copy."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def by_head(examples: Sequence[tuple[TokenisedRows, int]]) -> list[tuple[PromptedRows, int]]:
    """(rows, index) pairs, those of equal label sets side by side."""
    return sorted(examples, key=lambda example: example[0].head)  # pyright: ignore[reportReturnType]


def collate_answers(
    examples: Sequence[tuple[PromptedRows, int]], pad_id: int, begins_with: np.ndarray | None = None
) -> AnswerBatch:
    """Pad (rows, index) pairs on the right into one batch.

    Args:
        examples: in the order of :func:`by_head`.
        pad_id: the tokenizer's padding id.
        begins_with: token ids before every answer; None takes each row's own prompt.
    """
    sequences: list[np.ndarray] = []
    example: list[int] = []  # of each sequence
    seat_of: dict[tuple[int, int], int] = {}  # (sequence, position)
    answers: list[tuple[list[int], Ids]] = []  # seats and tokens
    counts: dict[str, int] = {}
    widths: dict[str, int] = {}
    for number, (rows, index) in enumerate(examples):
        counts[rows.head] = counts.get(rows.head, 0) + 1
        choices = rows.answers_of(index)
        widths[rows.head] = len(choices)
        prompt = rows.ids[index] if begins_with is None else begins_with
        shared = rows.shares(index)
        if shared:
            sequences.append(prompt)
        for answer in choices:
            if answer and not shared:
                sequences.append(np.concatenate([prompt, np.asarray(answer[:-1], dtype=prompt.dtype)]))
            places = [(len(sequences) - 1, len(prompt) - 1 + step) for step in range(len(answer))]
            answers.append(([seat_of.setdefault(place, len(seat_of)) for place in places], answer))
        example += [number] * (len(sequences) - len(example))
    input_ids, mask = padded(sequences, pad_id)
    longest = max(len(tokens) for _, tokens in answers)
    seats = np.zeros((len(answers), longest), dtype=np.int64)
    tokens = np.zeros((len(answers), longest), dtype=np.int64)
    real = np.zeros((len(answers), longest), dtype=np.float32)
    for row, (own, ids) in enumerate(answers):
        seats[row, : len(ids)], tokens[row, : len(ids)], real[row, : len(ids)] = own, ids, 1
    found = np.array(list(seat_of), dtype=np.int64)
    labels = np.array([rows.labels[index] for rows, index in examples], dtype=np.int64)
    return AnswerBatch(
        input_ids,
        mask,
        torch.from_numpy(labels),
        tuple(counts.items()),
        example=torch.tensor(example),
        sequence=torch.from_numpy(found[:, 0]),
        place=torch.from_numpy(found[:, 1] - input_ids.shape[1]),
        seats=torch.from_numpy(seats),
        on_host=seats,
        tokens=torch.from_numpy(tokens),
        real=torch.from_numpy(real),
        widths=tuple(widths.values()),
        real_tokens=int(mask.sum()),
    )
