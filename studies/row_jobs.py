"""The packed jobs of row_choice.py: splits of the suite with wrong labels, mixed sources, and halves of a source."""

import argparse
import lzma
import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from strategies import Job

from sgg_ray.tasks import Rows

SHOTS = (8, 16, 32)
TARGETS = ("reviews", "products", "drugs", "news")
CLEAN_ONLY = ("mail", "recreation", "debate")  # sources bring nothing; do weights do harm?
FLIPPED = (0.0, 0.2, 0.4)
MIXED = {"reviews": "products", "products": "reviews", "drugs": "reviews"}  # target: useful source
USELESS = (
    "news",
    "science",
    "messages",
    "mail",
    "recreation",
    "computers",
    "debate",
    "speakers",
    "candidates",
)
MIXED_SHOTS = 16
HALVES, HALVES_A_JOB = 48, 8


def pack(arguments: argparse.Namespace) -> None:
    from sgg_ray.tasks import Reader

    reader, jobs = Reader(), []
    for seed in arguments.seeds:
        jobs += [label_job(reader, name, shots, seed, FLIPPED) for name in TARGETS for shots in SHOTS]
        jobs += [mixed_job(reader, name, seed) for name in MIXED]
    jobs += [job for name in MIXED for job in half_jobs(reader, name, arguments.seeds[0])]
    for seed in arguments.seeds:
        jobs += [label_job(reader, name, shots, seed, (0.0,)) for name in CLEAN_ONLY for shots in SHOTS]
    with lzma.open(arguments.out, "wb", preset=1) as file:
        pickle.dump(jobs, file)
    print(f"{len(jobs)} jobs in {arguments.out}, {arguments.out.stat().st_size / 2**20:.1f} MiB")


def label_job(reader, name: str, shots: int, seed: int, shares: Sequence[float]) -> Job:
    """The same rows with every share of wrong labels."""
    from suite.load import split

    target, sources = split(name, shots, seed, reader)
    given = {}
    for share in shares:
        _, found = split(name, shots, seed, reader, flipped=share)
        assert all(one.train.texts == other.train.texts for one, other in zip(sources, found))
        given[share] = {task.name: task.train.labels for task in found}
    place = {"kind": "labels", "task": name, "shots": shots, "seed": seed}
    return {**place, "target": target, "sources": sources, "given": given}


def mixed_job(reader, name: str, seed: int) -> Job:
    """One source of a useful task and nine useless ones; these call each of their classes by a label of the target."""
    from suite.load import read

    names = (MIXED[name], *USELESS)
    target, sources = read(name, MIXED_SHOTS, seed, reader, dict.fromkeys(names, 0.0))
    random, texts, labels = np.random.default_rng([seed, 17]), [], []
    for task in sources:
        if task.name == MIXED[name]:
            table = np.array([target.labels.index(label) for label in task.labels])
        else:
            table = random.permutation(np.arange(len(task.labels)) % len(target.labels))
        texts += task.train.texts
        labels.append(table[task.train.labels])
    order = random.permutation(len(texts))
    useful = np.concatenate([np.full(len(task.train), task.name == MIXED[name]) for task in sources])
    rows = Rows(tuple(texts[row] for row in order), np.concatenate(labels)[order])
    source = replace(sources[0], name="mixed", labels=target.labels, train=rows)
    place = {"kind": "mixed", "task": name, "shots": MIXED_SHOTS, "seed": seed}
    return {**place, "target": target, "source": source, "useful": useful[order]}


def half_jobs(reader, name: str, seed: int) -> list[Job]:
    """Random halves of a source with wrong labels, some a job."""
    from suite.load import read

    target, (source,) = read(name, MIXED_SHOTS, seed, reader, {MIXED[name]: 0.2})
    _, (clean,) = read(name, MIXED_SHOTS, seed, reader, {MIXED[name]: 0.0})
    random, rows = np.random.default_rng([seed, 19]), len(source.train)
    halves = {}
    for number in range(HALVES):
        halves[number] = np.zeros(rows, dtype=bool)
        halves[number][random.permutation(rows)[: rows // 2]] = True
    place = {"kind": "halves", "task": name, "shots": MIXED_SHOTS, "seed": seed}
    place |= {"target": target, "source": source, "wrong": source.train.labels != clean.train.labels}
    return [
        {
            **place,
            "first": first == 0,
            "halves": {number: halves[number] for number in range(first, first + HALVES_A_JOB)},
        }
        for first in range(0, HALVES, HALVES_A_JOB)
    ]
