"""From a task's rows to token ids of prompts and of their answers, for causal language models."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from sgg_ray.errors import ModelError
from sgg_ray.tasks import Rows, Task

TEXT, LABELS = "{text}", "{labels}"
DEFAULT_PROMPT = "Text: {text}\nWhich label fits this text: {labels}?\nLabel:"
LEAST_TEXT = 8  # tokens of a text that have to fit beside its prompt

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompter:
    """Writes prompts as the model's tokenizer and chat template want them.

    Args:
        tokenizer: a fast Transformers tokenizer.
        chat: put prompts into the tokenizer's chat template.
        max_length: tokens of a prompt with its answer; of a longer one the text is cut, never prompt or answer.
    """

    tokenizer: Any
    chat: bool
    max_length: int

    def words(self, task: Task) -> tuple[str, ...]:
        """What the model is to say for each label: the task's label words, or the labels' own names."""
        words = task.labels if task.words is None else task.words
        if self.chat or (task.words is not None and not self._template(task).endswith(" ")):
            return words
        # A space belongs to the word that follows it: most tokenizers have tokens for " word".
        return tuple(f" {word.lstrip()}" for word in words)

    def answers(self, task: Task) -> tuple[Ids, ...]:
        """Token ids of each label's word, as they follow the task's prompt.

        Where one word is the beginning of another, all of them end with the token that ends an answer.

        Raises:
            ModelError: a word has no token, or the same ones as another word.
        """
        words = self.words(task)
        found = [self._after(self.write(task, "x"), word) for word in words]
        key = f"{task.place}.verbalizers"
        for label, word, ids in zip(task.labels, words, found):
            if not ids:
                raise ModelError(f"{key}: {label}: {word!r} has no token of this model; give another word")
        for one, other in permutations(range(len(found)), 2):
            if found[one] == found[other] and one < other:
                raise ModelError(
                    f"{key}: {task.labels[one]} and {task.labels[other]} are the same tokens "
                    f"({words[one]!r} and {words[other]!r}); give different words"
                )
        if any(
            found[other][: len(found[one])] == found[one] for one, other in permutations(range(len(found)), 2)
        ):
            found = [(*ids, self.tokenizer.eos_token_id) for ids in found]
        return tuple(found)

    def prompts(self, task: Task, rows: Rows, shots: Rows | None = None) -> tuple[np.ndarray, ...]:
        """Token ids of each row's prompt, to which its answer is appended.

        Args:
            shots: labelled rows that are shown, with their answers, before the row's own text.

        Raises:
            ModelError: prompt and answer alone leave no room for a text.
        """
        room = self.max_length - max(map(len, self.answers(task)))
        least = len(self._encode(self.write(task, "", shots))) + LEAST_TEXT + self.max_length - room
        if least > self.max_length:
            raise ModelError(
                f"train.max_length: the prompt of {task.place} needs {least} tokens with its longest label word and "
                f"{LEAST_TEXT} of text, found {self.max_length}; raise it or shorten the prompt"
            )
        texts = list(rows.texts)
        if not texts:
            return ()
        encoded = self._encode_all([self.write(task, text, shots) for text in texts])
        for number, ids in enumerate(encoded):
            text = texts[number]
            while len(ids) > room:
                text = self._shorten(text, len(ids) - room)
                ids = self._encode(self.write(task, text, shots))
            encoded[number] = ids
        return tuple(np.asarray(ids, dtype=np.int32) for ids in encoded)

    def cut(self, task: Task, rows: Rows) -> float:
        """The share of rows whose text is cut.

        Raises:
            ModelError: as :meth:`prompts`.
        """
        prompts = self.prompts(task, rows)
        whole = self._encode_all([self.write(task, text) for text in rows.texts]) if rows.texts else []
        return sum(len(kept) < len(full) for kept, full in zip(prompts, whole)) / max(len(whole), 1)

    def fitting_shots(self, task: Task, shots: Rows, longest: int) -> Rows:
        """As many of ``shots`` from the first on as fit before a prompt of ``longest`` tokens."""
        bare = len(self._encode(self.write(task, "")))
        for count in range(1, len(shots) + 1):
            shown = self._encode(self.write(task, "", shots.take(np.arange(count))))
            if len(shown) - bare + longest > self.max_length:
                return shots.take(np.arange(count - 1))
        return shots

    def write(self, task: Task, text: str, shots: Rows | None = None) -> str:
        """The prompt for a text, behind ``shots`` with their answers."""
        words = self.words(task)
        turns = (
            [
                (self._fill(task, shown, words), words[int(label)])
                for shown, label in zip(shots.texts, shots.labels)
            ]
            if shots is not None
            else []
        )
        question = self._fill(task, text, words)
        if not self.chat:
            return "".join(f"{asked}{answer}\n\n" for asked, answer in turns) + question
        messages = [
            message
            for asked, answer in turns
            for message in (
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer.strip()},
            )
        ]
        messages.append({"role": "user", "content": question})
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _fill(self, task: Task, text: str, words: Sequence[str]) -> str:
        names = ", ".join(word.strip() for word in words)
        return self._template(task).rstrip(" ").replace(LABELS, names).replace(TEXT, text)

    @staticmethod
    def _template(task: Task) -> str:
        return task.prompt or DEFAULT_PROMPT

    def _encode(self, text: str) -> list[int]:
        return self._encode_all([text])[0]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        """A chat template writes its special tokens itself; the end of a text is no end of an answer."""
        found = self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [ids[:-1] if not self.chat and ids and ids[-1] == end else ids for ids in found]

    def _after(self, prompt: str, answer: str) -> Ids:
        """Token ids of ``answer`` where it follows ``prompt``: some tokenizers write a word differently at a start."""
        before, both = self._encode(prompt), self._encode(prompt + answer)
        if both[: len(before)] == before:
            return tuple(both[len(before) :])
        return tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def _shorten(self, text: str, tokens: int) -> str:
        """``text`` without its last ``tokens`` tokens, or less."""
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        return text[: offsets[-tokens][0]] if tokens < len(offsets) else ""
