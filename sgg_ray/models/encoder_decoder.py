"""The task model for encoder-decoder models of the T5 family: the encoder reads the prompt, the decoder answers.

Tasks, prompts and scores are those of causal language models. A prompt is encoded once, however many answers to it
are scored, and however many tokens are generated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgg_ray.models.answer_batch import AnswerBatch, by_head, collate_answers
from sgg_ray.models.architecture import start_token
from sgg_ray.models.batch import TokenisedRows, padded
from sgg_ray.models.greedy import greedy_answers
from sgg_ray.models.head_logits import hidden_states_at, output_layer, token_log_probabilities
from sgg_ray.models.language_model import LanguageModel, uses_chat
from sgg_ray.models.prompts import Ids, Prompter
from sgg_ray.models.task_model import inner_model
from sgg_ray.tasks import History, Rows, Task, Text


@dataclass(frozen=True)
class EncoderDecoderPrompter(Prompter):
    """Writes prompts for an encoder, which end with the tokenizer's own end, and answers, which stand by themselves.

    ``max_length`` holds for prompt and answer each.
    """

    def room_beside(self, tokens: int) -> int:
        """All of ``max_length``: prompt and answer do not share it."""
        return self.max_length

    def tokens(self, prompt: int, answer: int) -> int:
        """The longer one of both."""
        return max(prompt, answer)

    def words(self, task: Task) -> tuple[str, ...]:
        """The task's label words, or the labels' own names."""
        return task.labels if task.words is None else task.words

    def lead(self, task: Task) -> str:
        """Nothing: an answer is a text of its own."""
        return ""

    def _plain(self, task: Task, text: Text, shots: Rows | None, history: History) -> str:
        bare = task.generates and task.prompt is None and not history and shots is None
        return self._fill(task, text) if bare else super()._plain(task, text, shots, history)

    def _shown(self, task: Task, shots: Rows | None) -> list[tuple[str, str]]:
        return [(asked, f" {answer}") for asked, answer in super()._shown(task, shots)]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]

    def _rest(self, before: list[int], both: list[int], answer: str) -> Ids:
        return tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class EncoderDecoderBatch(AnswerBatch):
    """Sequences for the decoder, each of which answers the prompt of its ``example``."""

    prompt_ids: Tensor  # [B, T] for the encoder
    prompt_mask: Tensor  # [B, T]


class EncoderDecoderModel(LanguageModel):
    """An encoder-decoder model whose label words, choices or completions are scored as answers to a prompt.

    The score of an answer is log p(answer | prompt) under the decoder, which begins with its start token: summed over
    the answer's tokens or their mean, as for :class:`LanguageModel`, whose arguments it takes. Of rows with
    completions the loss is that of Transformers for ``labels`` with the token that ends a text.
    """

    @classmethod
    def prompter_for(cls, tokenizer: Any, chat: bool | None, max_length: int) -> Prompter:
        """What writes prompts for models of this class; arguments as those of the model."""
        return EncoderDecoderPrompter(tokenizer, uses_chat(tokenizer, chat), max_length)

    @property
    def start(self) -> int:
        """The token that the decoder begins with."""
        found = start_token(inner_model(self.backbone).config)
        assert found is not None  # models without one are refused
        return found

    def trunk(self) -> nn.Module | None:
        """None: what is used is the last hidden states of two models."""
        return None

    def collate(self, examples: Sequence[tuple[TokenisedRows, int]]) -> EncoderDecoderBatch:
        """Make one batch on the model's device, examples of equal label sets side by side."""
        ordered, pad = by_head(examples), self.tokenizer.pad_token_id
        answers = collate_answers(ordered, pad, begins_with=np.array([self.start]))
        prompt_ids, prompt_mask = padded([rows.ids[index] for rows, index in ordered], pad)
        real_tokens = answers.real_tokens + int(prompt_mask.sum())
        own: dict[str, Any] = {**vars(answers), "real_tokens": real_tokens}
        batch = EncoderDecoderBatch(**own, prompt_ids=prompt_ids, prompt_mask=prompt_mask)
        return batch.to(self.device)  # pyright: ignore[reportReturnType]

    def token_log_probabilities(self, batch: AnswerBatch) -> Tensor:
        """log p of each token of each answer, in fp32, anything behind an answer's end: [A, L]."""
        assert isinstance(batch, EncoderDecoderBatch)
        inner: Any = inner_model(self.backbone)  # an adapter's layers are inside it
        encoder = inner.get_encoder()
        encoded = encoder(input_ids=batch.prompt_ids, attention_mask=batch.prompt_mask).last_hidden_state
        inputs = {
            "encoder_outputs": (encoded[batch.example],),
            "attention_mask": batch.prompt_mask[batch.example],
            "decoder_input_ids": batch.input_ids,
            "decoder_attention_mask": batch.attention_mask,
        }
        hidden = hidden_states_at(inner, inner, inputs, (batch.sequence, batch.place))  # [U, H]
        return token_log_probabilities(
            inner, hidden, batch.seats, batch.tokens, batch.on_host, logits_of=output_layer
        )

    @torch.no_grad()
    def generate(self, prompts: Sequence[np.ndarray]) -> np.ndarray:
        """The most likely next token, again and again, until the answer ends: [n, max_new_tokens].

        Args:
            prompts: token ids.
        """
        ids, mask = (one.to(self.device) for one in padded(prompts, self.tokenizer.pad_token_id))
        return greedy_answers(
            self.backbone, self.tokenizer, (ids, mask), self.start, self.max_new_tokens, self.autocast()
        )
