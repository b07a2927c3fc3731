"""The task model for causal language models: labels are words that the model says after a prompt, completions texts.
Models with an encoder for the prompt, which is otherwise the same: :mod:`sgg_ray.models.encoder_decoder`.

There is no head: every trainable parameter is shared by all tasks, whatever their labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgg_ray.config import TEXT, placeholders
from sgg_ray.models.answer_batch import AnswerBatch, PromptedRows, by_head, collate_answers
from sgg_ray.models.answer_losses import AnswerLoss
from sgg_ray.models.batch import Batch, TokenisedRows
from sgg_ray.models.episodes import others
from sgg_ray.models.greedy import greedy
from sgg_ray.models.head_logits import hidden_states_at, token_log_probabilities
from sgg_ray.models.prompts import Prompter
from sgg_ray.models.task_model import TaskModel, inner_model
from sgg_ray.tasks import COMPLETIONS, Rows, Task, Text, parts_of

EPISODES = 7  # stream of random numbers
NO_CONTENT = ("N/A", "", "[MASK]")  # Zhao et al. (2021), "Calibrate Before Use"


class LanguageModel(TaskModel):
    """A decoder-only model whose label words, or completions, are scored after a prompt.

    The score of a label is log p(word | prompt), summed over the word's tokens (or their mean); probabilities are the
    softmax over the labels. The score of a completion is always the mean over its tokens, the one that ends it
    included, and its loss is minus that. Sequences are padded on the right: no query row is fully masked, which fused
    attention turns into NaN gradients in bf16. (To generate, prompts are padded on the left, without gradients.)

    Args:
        backbone: with a language-model head, as the decoders in Transformers have.
        tokenizer: a fast Transformers tokenizer with a padding token.
        labels: label names by label-set key.
        prompts: prompt and label words by label-set key, for texts that come without a task.
        chat: put prompts into the chat template; None = if the tokenizer has one.
        length_normalised: mean instead of sum over a word's tokens.
        max_length: tokens of prompt, text and answer; the text is cut.
        max_new_tokens: of a completion that the model generates, at most.
        precision: ``float32``, or ``bfloat16`` for autocast (trainable parameters stay fp32).
        quantization: of the backbone's frozen weights, as ``model.quantization`` says.
        answer_loss: what is trained for where one answer of several is right; None: the cross-entropy of the scores.
        example_length: tokens of one text with its prompt and answer, shown or asked; None: only the whole is cut.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer,
        labels: Mapping[str, Sequence[str]],
        prompts: Mapping[str, tuple[str | None, tuple[str, ...] | None]],
        *,
        chat: bool | None = None,
        length_normalised: bool = False,
        max_length: int = 128,
        max_new_tokens: int = 64,
        precision: str = "float32",
        quantization: str | None = None,
        answer_loss: AnswerLoss | None = None,
        example_length: int | None = None,
    ):
        super().__init__(backbone, tokenizer, labels, max_length=max_length, precision=precision)
        self.max_new_tokens = max_new_tokens
        self.quantization = quantization
        self.answer_loss = answer_loss
        self.example_length = example_length
        self.prompts = dict(prompts)
        self.length_normalised = length_normalised
        self.prompter = self.prompter_for(tokenizer, chat, max_length)
        self.shots: dict[str, Rows] = {}
        self.offsets: dict[
            str, Tensor
        ] = {}  # by label-set key: what contextual calibration adds to scores [C]

    @classmethod
    def prompter_for(cls, tokenizer: Any, chat: bool | None, max_length: int) -> Prompter:
        """What writes prompts for models of this class; arguments as those of the model."""
        return Prompter(tokenizer, uses_chat(tokenizer, chat), max_length)

    def trunk(self) -> nn.Module | None:
        """The decoder without the language-model head and without the PEFT adapter around it."""
        inner = inner_model(self.backbone)
        return inner.get_decoder() if hasattr(inner, "get_decoder") else None  # pyright: ignore[reportCallIssue]

    def task_of(self, key: str, texts: Sequence[Text]) -> Task:
        """Texts as a task with the prompt and the words of a label set."""
        prompt, words = self.prompts[key]
        fields = (TEXT,) if prompt is None else placeholders(prompt)
        task = replace(super().task_of(key, texts), prompt=prompt, words=words, fields=fields)
        return task if task.kind != "multiple_choice" else _with_choices(task)

    def tokenise(self, task: Task, rows: Rows) -> PromptedRows:
        """Write the prompts and turn them into token ids.

        Raises:
            ModelError: a prompt leaves no room for a text, or a completion none for its prompt.
        """
        if task.generates:
            return self._tokenise_completions(task, rows)
        if task.kind == "multiple_choice":
            ids, choices = self.prompter.fitting_choices(task, rows, self.shots.get(task.head))
            return PromptedRows(task.head, ids, rows.labels, candidates=choices, weights=rows.weights)
        if self.example_length is not None:
            rows = self.prompter.shortened(task, rows, self.example_length)
        ids = self.prompter.prompts(task, rows, self.shots.get(task.head))
        return PromptedRows(task.head, ids, rows.labels, self.prompter.answers(task), weights=rows.weights)

    def tokenise_episodes(
        self, task: Task, rows: Rows, count: int, seed: int, copies: int = 1
    ) -> PromptedRows:
        """The rows as they are asked in context: each behind ``count`` other rows of the task and their answers.

        Args:
            task: with label words.
            count: rows to show, or as many as fit, all classes alike.
            seed: of the choice.
            copies: of each row, every one behind other rows, or the same in another order.

        Returns:
            The rows, ``copies`` times.
        """
        short = self.prompter.shortened(task, rows, self.example_length or self.max_length)
        contexts = [
            short.take(shown)
            for copy in range(copies)
            for shown in others(rows.labels, count, (seed, EPISODES, copy))
        ]
        repeated = short.take(np.tile(np.arange(len(rows)), copies))
        ids = self.prompter.prompts_behind(task, repeated, contexts)
        answers = self.prompter.answers(task)
        return PromptedRows(task.head, ids, repeated.labels, answers, weights=repeated.weights)

    def _tokenise_completions(self, task: Task, rows: Rows) -> PromptedRows:
        ids, completions = self.prompter.fitting(task, rows, self.shots.get(task.head))
        candidates = tuple((own,) for own in completions)
        return PromptedRows(task.head, ids, rows.labels, candidates=candidates, weights=rows.weights)

    def questions(self, task: Task, rows: Rows) -> tuple[np.ndarray, ...]:
        """Token ids of the rows' prompts alone, for :meth:`generate`; texts are cut to fit into ``max_length``."""
        room = [self.max_length] * len(rows)
        return self.prompter.cut_to(room, task, rows, self.shots.get(task.head))

    @torch.no_grad()
    def generate(self, prompts: Sequence[np.ndarray]) -> np.ndarray:
        """The most likely next token, again and again, until the answer ends: [n, max_new_tokens].

        Shorter answers are filled up with the padding token behind the one that ends them.

        Args:
            prompts: token ids. They are padded on the left, positions counting from each prompt's first token.
        """
        return greedy(
            self.backbone, self.tokenizer, prompts, self.max_new_tokens, self.autocast(), self.device
        )

    def text_of(self, answer: np.ndarray) -> str:
        """Decode generated token ids to text, up to the token that ends an answer."""
        return self.tokenizer.decode(answer.tolist(), skip_special_tokens=True).strip()

    def collate(self, examples: Sequence[tuple[TokenisedRows, int]]) -> AnswerBatch:
        """Make one batch on the model's device, examples of equal label sets side by side."""
        return collate_answers(by_head(examples), self.tokenizer.pad_token_id).to(self.device)

    def scores(self, batch: Batch) -> list[Tensor]:
        """log p of each label's word: [n, C] for each stretch of ``batch.heads``; −∞ where a row has no such choice."""
        assert isinstance(batch, AnswerBatch)
        return [
            self._scores_of(key, said, real) for (key, _), (said, real) in zip(batch.heads, self._said(batch))
        ]

    def _said(self, batch: AnswerBatch) -> list[tuple[Tensor, Tensor]]:
        """Log-probabilities of the answers' tokens, and which tokens are real: [n, C, L] each, a stretch of heads."""
        with self.autocast():
            said = self.token_log_probabilities(batch)
        counts = [count * width for (_, count), width in zip(batch.heads, batch.widths)]
        shapes = [(count, width, said.shape[1]) for (_, count), width in zip(batch.heads, batch.widths)]
        return [
            (part.view(shape), real.view(shape))
            for part, real, shape in zip(said.split(counts), batch.real.split(counts), shapes)
        ]

    def token_log_probabilities(self, batch: AnswerBatch) -> Tensor:
        """log p of each token of each answer, in fp32, anything behind an answer's end: [A, L]."""
        inner = inner_model(self.backbone)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "logits_to_keep": 0}
        hidden = hidden_states_at(self.backbone, inner, inputs, (batch.sequence, batch.place))  # [U, H]
        return token_log_probabilities(inner, hidden, batch.seats, batch.tokens, batch.on_host)

    def _scores_of(self, key: str, said: Tensor, real: Tensor) -> Tensor:
        """log p [n, C] of the answers of one label set, from their tokens' [n, C, L]; −∞ of one without tokens."""
        tokens = real.sum(-1)
        scores = (said * real).sum(-1).masked_fill(tokens == 0, float("-inf"))
        if self.length_normalised or key == COMPLETIONS:
            scores = scores / tokens.clamp(min=1)
        return scores + self.offsets[key].to(scores.device) if key in self.offsets else scores

    def losses(self, batch: Batch) -> Tensor:
        """Loss of each example: [B]; of those with one right answer among several, ``answer_loss`` if there is one."""
        if self.answer_loss is None:
            return super().losses(batch)
        assert isinstance(batch, AnswerBatch)
        labels = batch.labels.split([count for _, count in batch.heads])
        return torch.cat(
            [
                self.answer_loss.losses(said, real, own)
                if key != COMPLETIONS
                else self._losses_of(key, self._scores_of(key, said, real), own, None)
                for (key, _), (said, real), own in zip(batch.heads, self._said(batch), labels)
            ]
        )

    def _losses_of(self, key: str, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        return -scores[:, 0] if key == COMPLETIONS else super()._losses_of(key, scores, labels, values)

    @torch.no_grad()
    def calibrate(self, task: Task) -> None:
        """Contextual calibration (Zhao et al., 2021): from now on subtract the log of the mean probability that each
        of the task's words has for texts without content."""
        self.offsets.pop(task.head, None)
        training = self.training
        self.eval()
        empty = Rows(NO_CONTENT, np.zeros(len(NO_CONTENT), dtype=np.int64))
        rows = self.tokenise(task, empty)
        found = self.predictions(self.collate([(rows, row) for row in range(len(rows))]))
        self.train(training)
        self.offsets[task.head] = -found.mean(0).log()

    def show(self, task: Task, shots: Rows, longest: int) -> int:
        """In-context learning: put labelled rows, from the first on as many as fit, before every text of the task.

        Args:
            longest: tokens to leave for prompt and text.

        Returns:
            How many fit.
        """
        self.shots[task.head] = self.prompter.fitting_shots(task, shots, longest)
        return len(self.shots[task.head])


def _with_choices(task: Task) -> Task:
    """The task with each text taken apart into fields and choices."""
    first = len(task.fields)
    parts = [parts_of(text) for text in task.train.texts]
    texts = tuple(own[0] if first == 1 else own[:first] for own in parts)
    rows = replace(task.train, texts=texts, choices=tuple(own[first:] for own in parts))
    return replace(task, train=rows, test=rows)


def uses_chat(tokenizer, chat: bool | None) -> bool:
    """Whether prompts go into the chat template."""
    return bool(getattr(tokenizer, "chat_template", None)) if chat is None else chat
