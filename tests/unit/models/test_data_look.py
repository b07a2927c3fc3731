"""How a model suits the texts of tasks, and all warnings in one look."""

import shutil

import pytest
import toy

from sgg_ray.models import data_warnings, look_at_data
from sgg_ray.models.text_fit import model_languages
from sgg_ray.tasks import load_tasks

SPANISH = "los actores estaban muy bien y la historia no me gustó"


@pytest.fixture
def carded(encoder, tmp_path):
    """A model whose card names languages."""

    def make(language: str):
        folder = shutil.copytree(encoder, tmp_path / f"model-{len(list(tmp_path.iterdir()))}")
        (folder / "README.md").write_text(f"---\nlanguage: {language}\nlicense: mit\n---\n# A model\n")
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("language", "codes"),
    [
        ("en", ("en",)),
        ("[en, de]", ("en", "de")),
        ("multilingual", ()),
        ("[multilingual, en]", ()),
        ("English", ()),
    ],
)
def test_the_languages_of_a_card(carded, language, codes):
    assert model_languages(carded(language)) == codes


def test_a_model_without_a_card_names_no_languages(encoder):
    assert model_languages(str(encoder)) == ()


def test_rows_are_counted_and_measured(make_config):
    config = make_config()
    look = look_at_data(config)
    target, clean, flipped = look.tasks
    assert (target.role, target.train, target.rows) == ("target", 16, sum(target.classes.values()))
    assert set(target.classes) == {"negative", "positive"}
    assert target.test == len(load_tasks(config)[0].test)
    assert target.fit.tokens[0] <= target.fit.tokens[1] <= target.fit.tokens[2]
    assert (target.fit.cut, target.fit.unknown, target.fit.language) == (0, 0, None)
    assert clean.to_dict()["classes"] == flipped.to_dict()["classes"]
    (shared,) = look.overlaps
    assert (shared.first, shared.second, shared.texts) == ("clean", "flipped", clean.rows)
    assert shared.contradicting == clean.rows
    assert look.warnings == (
        f"clean and flipped: {clean.rows} of {clean.rows} texts in both have different labels",
    )
    target, sources = load_tasks(config)
    assert data_warnings(config, [target, *sources]) == look.warnings


def rows_of(path, texts):
    return str(toy.write_rows(path, [{"text": text, "label": "ny"[n % 2]} for n, text in enumerate(texts)]))


def test_labels_of_sets_are_counted_and_numbers_have_none(make_config, tmp_path):
    rows = toy.tagged(60, 1)
    path = str(toy.write_rows(tmp_path / "sets.jsonl", rows))
    several = {"path": path, "kind": "multi_label", "columns": {"label": "labels"}, "labels": None}
    (target,) = look_at_data(make_config(target=several, sources=[])).tasks
    assert target.classes == {
        name: sum(name in row["labels"] for row in rows) for name in ("blame", "praise")
    }
    path = str(toy.write_rows(tmp_path / "numbers.jsonl", toy.rated(60, 1)))
    number = {"path": path, "kind": "regression", "columns": {"label": "stars"}, "labels": None}
    (target,) = look_at_data(make_config(target=number, sources=[])).tasks
    assert (target.classes, target.rows) == ({}, 60)


def test_texts_in_a_language_that_the_card_does_not_name(make_config, carded, tmp_path):
    path = rows_of(tmp_path / "es.jsonl", [f"{SPANISH} {n}" for n in range(30)])
    target = {"path": path, "labels": ["n", "y"]}
    config = make_config(model={"path": carded("en")}, target=target, sources=[])
    assert any(
        line.startswith(
            "target: the texts are in Spanish, the model's card says en; take a multilingual one, such as"
        )
        for line in look_at_data(config).warnings
    )
    config = make_config(model={"path": carded("[en, es]")}, target=target, sources=[])
    assert not any("in Spanish" in line for line in look_at_data(config).warnings)


def test_words_that_the_tokenizer_does_not_know(make_config, tmp_path):
    path = rows_of(tmp_path / "unknown.jsonl", [f"nobody knows these words {n}" for n in range(30)])
    config = make_config(target={"path": path, "labels": ["n", "y"]}, sources=[])
    (line,) = look_at_data(config).warnings
    assert line.startswith("target: 100% of the tokens are unknown to the model's tokenizer")


def test_cut_texts_label_twins_and_almost_equal_test_texts(make_config, tmp_path):
    texts = [f"word{n} word{n + 1} {'word3 ' * 30 * (n % 3 == 0)}" for n in range(60)]
    rows = [{"text": text, "label": ("positive", "postive")[n % 2]} for n, text in enumerate(texts)]
    path = str(toy.write_rows(tmp_path / "t.jsonl", rows))
    test = [{"text": f"{text.strip()}!", "label": row["label"]} for text, row in zip(texts, rows)]
    own = {"path": str(toy.write_rows(tmp_path / "e.jsonl", test)), "fraction": None}
    config = make_config(target={"path": path, "labels": None, "shots": 5, "test": own}, sources=[])
    lines = look_at_data(config).warnings
    assert "of the texts are cut: they are longer than train.max_length (24 tokens)" in lines[0]
    assert lines[1] == "target: may be one label, spelled in two ways: 'positive' and 'postive'"
    assert lines[2] == "target: 10 of the target's test texts are training rows but for punctuation"
