"""In which language the texts of a task are written, by py3langid (Lui & Baldwin, 2012, "langid.py")."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

LOOKED_AT = 200  # texts
SURE = 0.5  # probability from which on a text's language counts
TOGETHER = 4000  # characters of several texts that are looked at as one, where single ones are too short
LEAST_SHARE = 0.6  # of the texts, for a task to have one language
NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """The language of most texts.

    Attributes:
        code: ISO 639-1 or 639-3.
        share: of the texts whose language can be told at all.
    """

    code: str
    share: float

    @property
    def name(self) -> str:
        """'Spanish', or the code of a less common language."""
        return NAMES.get(self.code, self.code)


def language_of(texts: Sequence[str]) -> Language | None:
    """The language that most of the first texts are written in; None if that cannot be told.

    A text counts if its language is likely; of texts too short for that, all together are looked at.
    """
    identifier = _identifier()
    sample = texts[:LOOKED_AT]
    votes = Counter(
        code for code, sure in map(identifier.classify, sample) if sure >= SURE and _is_language(code)
    )
    told = sum(votes.values())
    if told >= max(2, len(sample) / 4):
        code, count = votes.most_common(1)[0]
        return Language(code, count / told) if count / told >= LEAST_SHARE else None
    code, sure = identifier.classify(" ".join(sample)[:TOGETHER])
    return Language(code, 1.0) if sure >= SURE and _is_language(code) else None


def _is_language(code: str) -> bool:
    return code not in ("zxx", "und")  # no language at all, or none that is known


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
