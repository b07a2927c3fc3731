"""The text of a row's prompt, and of what was said and shown before it, for language models."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sgg_ray.config import LABELS, PLACEHOLDER, TEXT
from sgg_ray.models.chat_template import render_chat
from sgg_ray.models.dialogues import conversation, plain
from sgg_ray.tasks import History, Rows, Task, Text, parts_of

DEFAULT_PROMPT = "Text: {text}\nWhich label fits this text: {labels}?\nLabel:"


@dataclass(frozen=True)
class PromptWriter:
    """Writes prompts as the model's chat template wants them.

    Args:
        tokenizer: a fast Transformers tokenizer.
        chat: put prompts into the tokenizer's chat template.
    """

    tokenizer: Any
    chat: bool

    def words(self, task: Task) -> tuple[str, ...]:
        """What the model is to say for each label: the task's label words, or the labels' own names."""
        words = task.labels if task.words is None else task.words
        if self.chat or (task.words is not None and not self._template(task).endswith(" ")):
            return words
        # A space belongs to the word that follows it: most tokenizers have tokens for " word".
        return tuple(f" {word.lstrip()}" for word in words)

    def write_all(self, task: Task, rows: Rows, shots: Rows | Sequence[Rows] | None = None) -> list[str]:
        """The prompt of each row.

        Args:
            shots: labelled rows that are shown before every row's text; or such rows for each row.
        """
        shown = [shots] * len(rows) if shots is None or isinstance(shots, Rows) else shots
        given = [(text, own, rows.history(row)) for row, (text, own) in enumerate(zip(rows.texts, shown))]
        if self.chat:
            messages = [self._messages(task, text, own, history) for text, own, history in given]
            return render_chat(self.tokenizer, messages) if messages else []
        return [self._plain(task, text, own, history) for text, own, history in given]

    def write(self, task: Task, text: Text, shots: Rows | None = None, history: History = ()) -> str:
        """The prompt for a text, behind what was said before it and ``shots`` with their answers.

        Args:
            text: one for each field of the task, or one for all of them.

        Raises:
            ModelError: the chat template does not take these messages, or more time or memory than a template may.
        """
        if self.chat:
            return render_chat(self.tokenizer, [self._messages(task, text, shots, history)])[0]
        return self._plain(task, text, shots, history)

    def _messages(self, task: Task, text: Text, shots: Rows | None, history: History) -> History:
        pairs = [(asked, answer.strip()) for asked, answer in self._shown(task, shots)]
        defused = tuple((role, self.defused(content)) for role, content in history)
        return conversation(defused, pairs, self._fill(task, text))

    def _plain(self, task: Task, text: Text, shots: Rows | None, history: History) -> str:
        if task.generates and (task.prompt is None or history):
            return plain(self._messages(task, text, shots, history))
        lead, shown = self.lead(task), self._shown(task, shots)
        return "".join(f"{asked}{lead}{answer}\n\n" for asked, answer in shown) + self._fill(task, text)

    def _shown(self, task: Task, shots: Rows | None) -> list[tuple[str, str]]:
        """Prompts and answers of rows that are shown."""
        if shots is None:
            return []
        if shots.choices:
            right = [own[int(label)] for own, label in zip(shots.choices, shots.labels)]
            answers = [*map(self.defused, right)]
        else:
            words = () if task.generates else self.words(task)
            answers = [*map(self.defused, shots.completions)] or [words[int(label)] for label in shots.labels]
        return [(self._fill(task, text), answer) for text, answer in zip(shots.texts, answers)]

    def defused(self, text: str) -> str:
        """A row's text with a space inside whatever the tokenizer would take for one of its special tokens.

        Prompts and chat templates may hold special tokens; what stands in a row must not end its answer, or begin
        another turn of the conversation.
        """
        return self._special.sub(lambda found: f"{found.group()[0]} {found.group()[1:]}", text)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        longest_first = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def _fill(self, task: Task, text: Text) -> str:
        parts = [self.defused(part) for part in parts_of(text)]
        if task.generates and task.prompt is None:
            return parts[0]
        given = dict(zip(task.fields, parts if len(parts) > 1 else parts * len(task.fields)))
        if not task.generates and task.kind != "multiple_choice":
            given[LABELS] = ", ".join(word.strip() for word in self.words(task))
        # All at once: a text may hold the name of another field in braces.
        return PLACEHOLDER.sub(
            lambda found: given.get(found.group(1), found.group()), self._template(task).rstrip(" ")
        )

    def lead(self, task: Task) -> str:
        """What stands between prompt and completion: a space, which most tokenizers have as a part of the next word.

        Label words have their space already.
        """
        if self.chat or not (task.generates or task.kind == "multiple_choice"):
            return ""
        template = template_of(task)
        return "" if template is not None and template.rstrip(" ").endswith("\n") else " "

    @staticmethod
    def _template(task: Task) -> str:
        return template_of(task) or DEFAULT_PROMPT


def template_of(task: Task) -> str | None:
    """The prompt of a task: its own, or of several fields one that names them; None for the default of one text."""
    if task.prompt is None and task.kind == "multiple_choice":
        return "\n".join(f"{{{field}}}" for field in task.fields)
    if task.prompt is not None or task.generates or task.fields == (TEXT,):
        return task.prompt
    lines = [f"{field.capitalize()}: {{{field}}}" for field in task.fields]
    return "\n".join([*lines, "Which label fits: {labels}?", "Label:"])
