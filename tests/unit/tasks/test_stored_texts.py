"""Texts of large tasks lie in a file: everything that is made of them is as it is with texts in memory."""

import csv
import pickle

import numpy as np
import pytest

from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.scoring.row_facts import equal_texts
from sgg_ray.tasks import Rows, Task, almost_in, load_tasks, overlaps, select, task
from sgg_ray.tasks.select import clean, first_with_key, shuffled
from sgg_ray.tasks.stored_texts import StoredTexts

TEXTS = ("one", "", "zwei drei", "dört 東京", "\ud800 half", "one")
NAMES = ("negative", "positive")
PAIRS = (("a", ""), ("", "b c"), ("é", "東"))


@pytest.fixture
def all_large(monkeypatch):
    """Whatever the number of rows, texts are stored."""
    monkeypatch.setattr(select, "LARGE", 0)
    monkeypatch.setattr(task, "LARGE", 0)


@pytest.mark.parametrize("texts", [TEXTS, PAIRS])
def test_stored_texts_are_a_sequence_that_can_be_sent(texts):
    stored = StoredTexts.of(texts)
    order = np.array([2, 0, 0, 1])
    for found in (stored, pickle.loads(pickle.dumps(stored, protocol=5))):
        assert list(found) == list(texts)
        assert list(found) == list(texts)  # once more, from the file
        assert found[1:] == texts[1:]
        assert found[-1] == texts[-1]
        assert found[np.int64(1)] == texts[1]
        taken = found[order]
        assert list(taken) == [texts[row] for row in order]
        assert list(pickle.loads(pickle.dumps(taken[np.array([0, 3])]))) == [texts[2], texts[1]]
        with pytest.raises(IndexError):
            found[len(texts)]


def test_first_rows_with_a_key():
    assert first_with_key(["b", "a", "", "b", "a", "c", ""]).tolist() == [0, 1, -1, 0, 1, 5, -1]
    assert first_with_key([]).tolist() == []


def test_cleaning_is_the_same_whether_texts_are_stored(all_large):
    draw = np.random.default_rng(0)
    texts = [
        f"{' ' * draw.integers(3)}{draw.choice(['Word', 'word', 'x', ''])}{draw.integers(40)}"
        for _ in range(300)
    ]
    texts += ["", "\u200b", " Twice", "twice", "TWICE "]
    labels = draw.integers(0, 2, len(texts))
    stored = clean(texts, labels)
    kept: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if select.text_key(text):
            kept.setdefault(select.text_key(text), []).append(row)
    agreed = {key: rows for key, rows in kept.items() if len(set(labels[rows].tolist())) == 1}
    chosen = [min(rows, key=lambda row: (texts[row].strip(), row)) for rows in agreed.values()]
    assert isinstance(stored.rows.texts, StoredTexts)
    assert list(stored.rows.texts) == [texts[row].strip() for row in chosen]
    assert stored.rows.labels.tolist() == labels[chosen].tolist()
    assert list(stored.keys) == list(agreed)
    twice = sum(len(rows) - 1 for rows in agreed.values())
    lost = sum(len(rows) for key, rows in kept.items() if key not in agreed)
    assert [int(note.split()[0]) for note in stored.notes] == [2, twice, lost]
    assert shuffled(stored.keys, 3, "limit").tolist() == shuffled([*agreed], 3, "limit").tolist()


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def test_a_pool_is_the_same_whether_texts_are_stored(tmp_path, make_config, monkeypatch):
    rows = [(f"text number {row}, {row % 7}", NAMES[row % 2]) for row in range(200)]
    other = [(f"Text number {row},  {row % 7}", NAMES[row % 3 == 0]) for row in range(150, 260)]
    config = make_config(
        target={"path": write(tmp_path / "t.csv", rows[:40]), "shots": 4, "test": {"fraction": 0.5}},
        sources=[
            {"name": "first", "path": write(tmp_path / "a.csv", rows), "max_rows": 150},
            {"name": "second", "path": write(tmp_path / "b.csv", other)},
        ],
    )
    found = []
    for large in (50_000, 1):
        monkeypatch.setattr(select, "LARGE", large)
        monkeypatch.setattr(task, "LARGE", large)
        target, sources = load_tasks(config)
        assert isinstance(sources[0].train.texts, StoredTexts) == (large == 1)
        tasks = [target, *sources]
        found.append(
            (
                fingerprint(tasks),
                [one.notes for one in tasks],
                overlaps(tasks),
                [almost_in(one.train, target.test) for one in tasks],
                [equal_texts(one).tolist() for one in tasks],
                [list(one.train.texts) for one in tasks],
            )
        )
    assert found[0] == found[1]
    assert found[0][2]
    assert found[0][2][0].contradicting


def test_overlaps_count_the_last_row_of_a_text():
    def one(name, texts, labels):
        return Task(name, ("x", "y"), Rows(texts, np.array(labels)), Rows((), np.array([])), "source")

    (found,) = overlaps([one("a", ("p", "q", "P"), [0, 0, 1]), one("b", ("p ", "r", "q"), [1, 0, 1])])
    assert (found.texts, found.contradicting) == (2, 1)
