"""From a task's rows to token ids of prompts and of their answers, for language models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from sgg_ray.errors import ModelError
from sgg_ray.models.prompt_writer import PromptWriter
from sgg_ray.tasks import Rows, Task, Text, parts_of

LEAST_TEXT = 8  # tokens of a text that have to fit beside its prompt

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompter(PromptWriter):
    """Token ids of prompts and of their answers, prompts cut so that both fit.

    Args:
        max_length: tokens of a prompt with its answer; of a longer one the text is cut, never prompt or answer.
    """

    max_length: int

    def room_beside(self, tokens: int) -> int:
        """Tokens that are left for a prompt beside an answer of so many, and for an answer beside a prompt."""
        return self.max_length - tokens

    def tokens(self, prompt: int, answer: int) -> int:
        """What prompt and answer of so many tokens need of ``max_length``."""
        return prompt + answer

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
        room = self.room_beside(max(map(len, self.answers(task))))
        least = len(self._encode(self.write(task, "", shots))) + LEAST_TEXT + self.max_length - room
        if least > self.max_length:
            raise ModelError(
                f"train.max_length: the prompt of {task.place} needs {least} tokens with its longest label word and "
                f"{LEAST_TEXT} of text, found {self.max_length}; raise it or shorten the prompt"
            )
        return self.cut_to([room] * len(rows), task, rows, shots)

    def fitting(
        self, task: Task, rows: Rows, shots: Rows | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[Ids, ...]]:
        """Token ids of each row's prompt, its text cut so that the completion fits beside it, and of the completion.

        Raises:
            ModelError: a completion does not fit beside its prompt even without a text.
        """
        completions = self.completions(task, rows)
        ids = self.cut_to([self.room_beside(len(own)) for own in completions], task, rows, shots)
        longest = max(
            (self.tokens(len(prompt), len(own)) for prompt, own in zip(ids, completions)), default=0
        )
        if longest > self.max_length:
            raise ModelError(
                f"train.max_length: a row of {task.place} needs {longest} tokens for its prompt and its completion, "
                f"found {self.max_length}; raise it"
            )
        return ids, completions

    def fitting_choices(
        self, task: Task, rows: Rows, shots: Rows | None = None
    ) -> tuple[tuple[np.ndarray, ...], tuple[tuple[Ids, ...], ...]]:
        """Token ids of each row's prompt, its text cut so that the longest choice fits beside it, and of the choices.

        Raises:
            ModelError: a choice does not fit beside its prompt even without a text, or two choices are the same tokens.
        """
        choices = self.choices(task, rows)
        longest = [max(map(len, own)) for own in choices]
        ids = self.cut_to([self.room_beside(most) for most in longest], task, rows, shots)
        needed = max((self.tokens(len(prompt), most) for prompt, most in zip(ids, longest)), default=0)
        if needed > self.max_length:
            raise ModelError(
                f"train.max_length: a row of {task.place} needs {needed} tokens for its prompt and its longest choice, "
                f"found {self.max_length}; raise it"
            )
        return ids, choices

    def choices(self, task: Task, rows: Rows) -> tuple[tuple[Ids, ...], ...]:
        """Token ids of each row's choices as they follow the row's prompt: as many as the task has labels, without any
        token where the row has no such choice.

        Where one choice of a row is the beginning of another, its choices end with the token that ends an answer.
        """
        if not len(rows):
            return ()
        prompts, lead = self.write_all(task, rows), self.lead(task)
        before = self._encode_all(prompts)
        said = [(row, f"{lead}{self.defused(one)}") for row, own in enumerate(rows.choices) for one in own]
        both = self._encode_all([f"{prompts[row]}{answer}" for row, answer in said])
        found: list[list[Ids]] = [[] for _ in prompts]
        for (row, answer), whole in zip(said, both):
            found[row].append(self._rest(before[row], whole, answer) if answer.strip() else ())
        return tuple((*self._apart(own), *[()] * (len(task.labels) - len(own))) for own in found)

    def _apart(self, choices: Sequence[Ids]) -> tuple[Ids, ...]:
        """Choices of which none is the beginning of another; those without a token are none."""
        if any(other[: len(one)] == one for one, other in permutations(filter(None, choices), 2)):
            return tuple((*ids, self.tokenizer.eos_token_id) if ids else () for ids in choices)
        return tuple(choices)

    def cut_to(
        self, room: Sequence[int], task: Task, rows: Rows, shots: Rows | None = None
    ) -> tuple[np.ndarray, ...]:
        """Token ids of each row's prompt, with as much of its text as fits into ``room`` tokens of the row."""
        encoded, _ = self._cut(room, task, rows, shots)
        return tuple(np.asarray(ids, dtype=np.int32) for ids in encoded)

    def shortened(self, task: Task, rows: Rows, longest: int) -> Rows:
        """The rows with texts that fit into ``longest`` tokens with prompt and answer, as if each stood alone."""
        taken = self.max_length - self.room_beside(max(map(len, self.answers(task))))
        _, texts = self._cut([longest - taken] * len(rows), task, rows)
        return replace(rows, texts=tuple(texts))

    def _cut(
        self, room: Sequence[int], task: Task, rows: Rows, shots: Rows | None = None
    ) -> tuple[list[list[int]], list[Text]]:
        """Token ids of each row's prompt, and what is left of its text."""
        texts = list(rows.texts)
        encoded = self._encode_all(self.write_all(task, rows, shots)) if texts else []
        for number, ids in enumerate(encoded):
            while len(ids) > room[number] and any(parts_of(texts[number])):
                texts[number] = self._shorten(texts[number], len(ids) - room[number])
                ids = self._encode(self.write(task, texts[number], shots, rows.history(number)))
            encoded[number] = ids
        return encoded, texts

    def prompts_behind(self, task: Task, rows: Rows, contexts: Sequence[Rows]) -> tuple[np.ndarray, ...]:
        """Token ids of each row's prompt behind labelled rows of its own, the first of them that fit.

        Args:
            contexts: for each row.
        """
        room = self.room_beside(max(map(len, self.answers(task))))
        left, found = list(contexts), [np.empty(0, dtype=np.int32)] * len(rows)
        waiting = list(range(len(rows)))
        while waiting:
            written = self.write_all(task, rows.take(waiting), [left[row] for row in waiting])
            for row, ids in zip(waiting, self._encode_all(written)):
                found[row] = np.asarray(ids, dtype=np.int32)
            waiting = [row for row in waiting if len(found[row]) > room and len(left[row])]
            for row in waiting:
                left[row] = left[row].take(np.arange(len(left[row]) - 1))
        return tuple(found)

    def cut(self, task: Task, rows: Rows) -> float:
        """The share of rows whose text is cut.

        Raises:
            ModelError: as :meth:`prompts`.
        """
        if task.kind == "multiple_choice":
            prompts = self.fitting_choices(task, rows)[0]
        else:
            prompts = self.fitting(task, rows)[0] if task.generates else self.prompts(task, rows)
        whole = self._encode_all(self.write_all(task, rows)) if rows.texts else []
        return sum(len(kept) < len(full) for kept, full in zip(prompts, whole)) / max(len(whole), 1)

    def fitting_shots(self, task: Task, shots: Rows, longest: int) -> Rows:
        """The first of ``shots``, as many as fit before a prompt of ``longest`` tokens."""
        bare = len(self._encode(self.write(task, "")))
        for count in range(1, len(shots) + 1):
            shown = self._encode(self.write(task, "", shots.take(np.arange(count))))
            if len(shown) - bare + longest > self.max_length:
                return shots.take(np.arange(count - 1))
        return shots

    def completions(self, task: Task, rows: Rows) -> tuple[Ids, ...]:
        """Token ids of each row's completion as it follows the row's prompt, with the token that ends an answer."""
        if not len(rows):
            return ()
        prompts = self.write_all(task, rows)
        lead, completions = self.lead(task), [*map(self.defused, rows.completions)]
        before = self._encode_all(prompts)
        both = self._encode_all([f"{prompt}{lead}{answer}" for prompt, answer in zip(prompts, completions)])
        end = self.tokenizer.eos_token_id
        return tuple(
            (*self._rest(first, whole, f"{lead}{answer}"), end)
            for first, whole, answer in zip(before, both, completions)
        )

    def needed(self, task: Task, rows: Rows) -> np.ndarray:
        """Tokens [n] that each row needs: its completion, its prompt, and of its text LEAST_TEXT tokens at least."""
        answers = self.completions(task, rows)
        whole = self._encode_all(self.write_all(task, rows))
        if rows.histories:
            empty = [self.write(task, "", history=history) for history in rows.histories]
            bare = [len(ids) for ids in self._encode_all(empty)]
        else:
            bare = [len(self._encode(self.write(task, "")))] * len(rows)
        return np.array(
            [
                self.tokens(min(len(ids), least + LEAST_TEXT), len(answer))
                for ids, least, answer in zip(whole, bare, answers)
            ],
            dtype=np.int64,
        )

    def _encode(self, text: str) -> list[int]:
        return self._encode_all([text])[0]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        """A chat template writes its special tokens itself; the end of a text is no end of an answer."""
        found = self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [ids[:-1] if not self.chat and ids and ids[-1] == end else ids for ids in found]

    def _after(self, prompt: str, answer: str) -> Ids:
        """Token ids of ``answer`` where it follows ``prompt``: some tokenizers write a word differently at a start."""
        return self._rest(self._encode(prompt), self._encode(prompt + answer), answer)

    def _rest(self, before: list[int], both: list[int], answer: str) -> Ids:
        """What ``both`` has behind ``before``; where they part earlier, the answer by itself."""
        if both[: len(before)] == before:
            return tuple(both[len(before) :])
        return tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def _shorten(self, text: Text, tokens: int) -> Text:
        """``text`` without its last ``tokens`` tokens, or less; of several fields the longest loses half of these."""
        if not isinstance(text, str):
            longest = max(range(len(text)), key=lambda field: len(text[field]))
            kept = self._shorten_part(text[longest], max(1, tokens // 2))
            return (*text[:longest], kept, *text[longest + 1 :])
        return self._shorten_part(text, tokens)

    def _shorten_part(self, text: str, tokens: int) -> str:
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        return text[: offsets[-tokens][0]] if tokens < len(offsets) else ""
