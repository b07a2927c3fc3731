"""How a model's tokenizer and language suit the texts of a task."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from sgg_ray.config import Config
from sgg_ray.models.architecture import Architecture
from sgg_ray.models.backbone import find_model, load_tokenizer
from sgg_ray.models.card import card_header
from sgg_ray.tasks import Language, Task, in_one, language_of

LOOKED_AT = 500  # texts of a task
MUCH_CUT = 0.25  # of the texts
MUCH_UNKNOWN = 0.1  # of the tokens
MANY_PIECES = 2.0  # tokens a word: English models need 1.1 to 1.4 for English
MULTILINGUAL = {
    Architecture.ENCODER: "intfloat/multilingual-e5-small or xlm-roberta-base",
    Architecture.CAUSAL: "Qwen or Gemma",
    Architecture.ENCODER_DECODER: "google/mt5-small",
}
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "km", "my")  # languages whose words cannot be counted so
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextFit:
    """Figures of the first texts of a task.

    Attributes:
        tokens: median, 95th percentile and largest number of tokens of a text.
        cut: share of the texts that are longer than ``max_length``.
        pieces: tokens a word.
        unknown: share of the tokens that stand for what the tokenizer does not know.
        language: in which most texts are written.
        warnings: what may spoil the result, for people.
    """

    tokens: tuple[int, int, int]
    cut: float
    pieces: float
    unknown: float
    language: Language | None
    warnings: tuple[str, ...]


def fit_texts(config: Config, tasks: Sequence[Task]) -> dict[str, TextFit]:
    """Measure how the model suits each task, by name.

    Raises:
        ModelError: there is no such model or no tokenizer.
    """
    origin = find_model(config.model.path)
    tokenizer, languages = load_tokenizer(origin.location), model_languages(config.model.path)
    prompted = origin.architecture.is_language_model
    advice = MULTILINGUAL[origin.architecture]
    return {
        task.name: _fit(task, tokenizer, languages, config.train.max_length, f"such as {advice}", prompted)
        for task in tasks
    }


def model_languages(path: str) -> tuple[str, ...]:
    """The languages that a model's card names, as ISO codes; none if it names none, or 'multilingual'."""
    found = card_header(path).get("language") or []
    codes = [str(code).lower() for code in (found if isinstance(found, list) else [found])]
    return (
        () if "multilingual" in codes else tuple(code for code in codes if re.fullmatch(r"[a-z]{2,3}", code))
    )


def _fit(
    task: Task, tokenizer: Any, languages: tuple[str, ...], max_length: int, advice: str, prompted: bool
) -> TextFit:
    texts = [in_one(text) for text in islice(chain(task.train.texts, task.test.texts), LOOKED_AT)]
    ids = tokenizer(texts, split_special_tokens=True)["input_ids"]
    lengths = np.array([len(row) for row in ids])
    bare = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    said = [token for row in bare for token in row]
    words = sum(len(WORD.findall(text)) for text in texts)
    unknown = (
        said.count(tokenizer.unk_token_id) / max(len(said), 1) if tokenizer.unk_token_id is not None else 0.0
    )
    pieces, cut, language = (
        len(said) / max(words, 1),
        float((lengths > max_length).mean()),
        language_of(texts),
    )
    warnings = _about_language(language, languages, pieces, unknown, advice)
    if cut > MUCH_CUT and not prompted:  # `check_tasks` looks at prompts with their texts
        warnings.append(
            f"{cut:.0%} of the texts are cut: they are longer than train.max_length ({max_length} tokens)"
        )
    median, most, longest = (int(np.percentile(lengths, level, method="higher")) for level in (50, 95, 100))
    return TextFit((median, most, longest), cut, pieces, unknown, language, tuple(warnings))


def _about_language(
    language: Language | None, languages: tuple[str, ...], pieces: float, unknown: float, advice: str
) -> list[str]:
    """A line if the model does not seem to know the language of the texts."""
    name = language.name if language else "unknown"
    if language and languages and language.code not in languages:
        return [
            f"the texts are in {name}, the model's card says {', '.join(languages)}; take a multilingual one, {advice}"
        ]
    if unknown >= MUCH_UNKNOWN:
        return [
            f"{unknown:.0%} of the tokens are unknown to the model's tokenizer (language: {name}); take a model for "
            f"these texts, {advice}"
        ]
    foreign = language is not None and language.code not in ("en", *WITHOUT_SPACES)
    if foreign and not languages and pieces >= MANY_PIECES:
        return [
            f"the texts are in {name}, of which the tokenizer cuts words into {pieces:.1f} pieces on average, so the "
            f"model has seen little of it; take a multilingual model, {advice}"
        ]
    return []
