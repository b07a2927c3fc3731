"""Rows of ``kind: generation``: a prompt, perhaps a conversation before it, and the completion to be learnt."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgg_ray.config import TaskConfig
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import as_texts, counted, read_columns
from sgg_ray.tasks.select import Cleaned, is_blank, shuffled, text_key
from sgg_ray.tasks.task import History, Rows

ASSISTANT, USER = "assistant", "user"


@dataclass(frozen=True)
class Pairs:
    """Prompts [n] and completions [n] as they stand in the file, and the messages [n] before each prompt."""

    texts: list[str]
    completions: list[str]
    histories: list[History]  # empty where the file has prompts and no conversations
    notes: tuple[str, ...] = ()


def read_pairs(config: TaskConfig, key: str) -> Pairs:
    """Read the rows that a task's configuration asks for.

    Args:
        config: path, columns and filter.
        key: the section's place in the YAML, for messages.

    Raises:
        DataError: with what is wrong, where in the YAML, and what to do.
    """
    columns = config.columns
    if columns.messages is not None:
        return _read_messages(config, key, columns.messages)
    names = {"prompt": columns.prompt, "completion": columns.completion}
    places = {name: f"{key}.columns.{name}" for name in names}
    frame, notes = read_columns(config, key, [(places[name], names[name]) for name in names])
    texts, torn = as_texts(frame[names["prompt"]], places["prompt"], config.path)
    completions, more = as_texts(frame[names["completion"]], places["completion"], config.path)
    if torn + more:
        notes.append(f"{counted(torn + more, 'text')} with broken characters repaired")
    return Pairs(texts, completions, [], tuple(notes))


def _read_messages(config: TaskConfig, key: str, column: str) -> Pairs:
    where = f"{key}.columns.messages"
    frame, notes = read_columns(config, key, [(where, column)])
    found = [answered_question(messages_in(value)) for value in frame[column]]
    kept = [one for one in found if one is not None]
    if not kept:
        raise DataError(
            f"{where}: no row of {config.path} has a message of the user with one of the assistant after it in column "
            f"'{column}'; give lists of {{role, content}}, or name the columns prompt and completion"
        )
    if len(kept) < len(found):
        notes.append(f"{counted(len(found) - len(kept), 'row')} without a question and its answer dropped")
    histories, texts, completions = (list(part) for part in zip(*kept))
    return Pairs(texts, completions, histories, tuple(notes))


def messages_in(value: Any) -> list[tuple[str, str]] | None:
    """(role, content) of each message in a list of {role, content}, or in its JSON; None if it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    found = []
    for message in value:
        if not isinstance(message, dict):
            return None
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        found.append((role.strip().lower(), _whole(content)))
    return found


def answered_question(messages: Sequence[tuple[str, str]] | None) -> tuple[History, str, str] | None:
    """The last answer of the assistant, the user's message that it answers, and what was said before; None without."""
    if messages is None:
        return None
    answers = [place for place, (role, _) in enumerate(messages) if role == ASSISTANT]
    if not answers or answers[-1] == 0 or messages[answers[-1] - 1][0] != USER:
        return None
    last = answers[-1]
    return tuple(messages[: last - 1]), messages[last - 1][1], messages[last][1]


def question(messages: Sequence[tuple[str, str]] | None) -> tuple[History, str] | None:
    """The user's message that a conversation ends with, and what was said before; None if it ends otherwise."""
    if not messages or messages[-1][0] != USER:
        return None
    return tuple(messages[:-1]), messages[-1][1]


def _whole(text: str) -> str:
    """Half of a surrogate pair, which JSON can spell, can be neither tokenised nor written anywhere."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clean_pairs(pairs: Pairs) -> Cleaned:
    """Drop rows without prompt or completion, and all but one of the rows with equal prompts; count each.

    Prompts are equal if they, and the messages before them, differ in case, spacing and Unicode spelling only. Of
    several completions of one prompt the first in alphabetical order stays, wherever it stands: a prompt that is
    asked in the test must not be answered in the training rows, and the test has one reference for each prompt.
    """
    place: dict[str, int] = {}
    empty = duplicates = others = 0

    def order(row: int) -> tuple[str, str]:
        return pairs.completions[row].strip(), pairs.texts[row].strip()

    for row, (text, completion) in enumerate(zip(pairs.texts, pairs.completions)):
        if is_blank(text) or is_blank(completion):
            empty += 1
            continue
        history = pairs.histories[row] if pairs.histories else ()
        key = text_key("\n".join([*(content for _, content in history), text]))
        first = place.setdefault(key, row)
        if first == row:
            continue
        if text_key(completion) == text_key(pairs.completions[first]):
            duplicates += 1
        else:
            others += 1
        place[key] = min(first, row, key=order)
    kept = list(place.values())
    rows = Rows(
        tuple(pairs.texts[row].strip() for row in kept),
        np.zeros(len(kept), dtype=np.int64),
        tuple(pairs.completions[row].strip() for row in kept),
        tuple(pairs.histories[row] for row in kept) if pairs.histories else (),
    )
    notes = (
        (empty, f"{counted(empty, 'row')} without a prompt or a completion dropped"),
        (duplicates, f"{counted(duplicates, 'duplicate row')} dropped"),
        (others, f"{counted(others, 'row')} with another completion of the same prompt dropped"),
    )
    return Cleaned(
        rows, np.array([*place], dtype=object), (*pairs.notes, *(note for count, note in notes if count))
    )


def shuffle_completions(rows: Rows, keys: np.ndarray, share: float, seed: int) -> Rows:
    """Give that share of the rows the completion of another of them: each the next one's, in a random order.

    Two rows that have the same completion anyway may swap it.
    """
    chosen = shuffled(keys, seed, "shuffle")[: round(share * len(rows))]
    completions = list(rows.completions)
    for row, other in zip(chosen, np.roll(chosen, 1)):
        completions[row] = rows.completions[other]
    return replace(rows, completions=tuple(completions))
