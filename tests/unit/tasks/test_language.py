"""The language of a task's texts, as far as it can be told."""

import pytest

from sgg_ray.tasks import language_of

TEXTS = {
    "en": [
        "the film was not worth the money",
        "I would watch it again with my family",
        "what a waste of time",
    ],
    "es": [
        "una película muy buena y divertida",
        "no me gustó nada la historia",
        "los actores estaban muy bien",
    ],
    "de": [
        "ein sehr schöner Film für die ganze Familie",
        "das war leider nichts",
        "ich würde ihn nicht empfehlen",
    ],
    "zh": ["这部电影非常好看", "我不喜欢这个故事", "演员的表演很精彩"],
    "ru": ["очень хороший фильм", "мне совсем не понравилась история", "актёры играли прекрасно"],
}


@pytest.mark.parametrize("code", TEXTS)
def test_the_language_of_most_texts(code):
    found = language_of(TEXTS[code] * 5)
    assert found is not None
    assert found.code == code
    assert found.share > 0.6


def test_a_few_texts_in_another_language_lower_the_share():
    found = language_of(TEXTS["en"] * 6 + TEXTS["es"])
    assert found is not None
    assert (found.code, found.name) == ("en", "English")
    assert 0.75 < found.share < 0.95


@pytest.mark.parametrize("texts", [[], ["", " "], ["123 456", "7"], ["word12 word7 good3", "bad1 word8"] * 9])
def test_what_is_no_language_is_not_told(texts):
    assert language_of(texts) is None


def test_a_mixture_has_no_language():
    assert language_of(TEXTS["en"] * 5 + TEXTS["ru"] * 5) is None
