"""Rows of kind generation: prompt and completion, or conversations; distinct prompts, no leak, poisoning."""

import json

import numpy as np
import pandas as pd
import pytest
import toy

from sgg_ray.config import Config
from sgg_ray.errors import DataError
from sgg_ray.tasks import load_tasks
from sgg_ray.tasks.completions import (
    Pairs,
    answered_question,
    clean_pairs,
    messages_in,
    question,
    shuffle_completions,
)


@pytest.fixture
def load(tmp_path):
    """Tasks of a target file and perhaps a source file of these rows."""

    def read(rows, source=None, suffix="jsonl", **target):
        def write(name, rows):
            path = tmp_path / f"{name}.{suffix}"
            if suffix == "jsonl":
                toy.write_rows(path, rows)
            elif suffix == "csv":
                pd.DataFrame(rows).to_csv(path, index=False)
            else:
                pd.DataFrame(rows).to_parquet(path)
            return str(path)

        content = {
            "name": "t",
            "model": {"path": "none"},
            "target": {"kind": "generation", "path": write("target", rows), "shots": 2, **target},
            "sources": [],
        }
        if source is not None:
            own = source if isinstance(source, dict) else {"rows": source}
            path = write("source", own.pop("rows"))
            content["sources"] = [{"name": "s", "kind": "generation", "path": path, **own}]
        return load_tasks(Config.model_validate(content))

    return read


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_prompts_and_completions_are_read(load, suffix):
    rows = [{"q": f" question {n}", "a": f"answer {n} "} for n in range(20)]
    target, _ = load(rows, suffix=suffix, columns={"prompt": "q", "completion": "a"})
    assert target.generates
    assert target.labels == ()
    assert len(target.train) == 2
    assert len(target.test) == 4
    for part in (target.train, target.test):
        for text, completion in zip(part.texts, part.completions):
            assert completion == text.replace("question", "answer")
        assert part.histories == ()


def conversation(number, *, answered=True, system=True):
    messages = [{"role": "system", "content": "be brief"}] if system else []
    messages += [
        {"role": "user", "content": f"first {number}"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "and then?"},
    ]
    return messages + ([{"role": "assistant", "content": f"answer {number}"}] if answered else [])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_conversations_are_read(load, suffix):
    rows = [{"messages": conversation(n)} for n in range(20)]
    if suffix == "csv":
        rows = [{"messages": json.dumps(row["messages"])} for row in rows]
    target, _ = load(rows, suffix=suffix, columns={"messages": "messages"})
    assert set(target.train.texts) == {"and then?"}  # told apart by what was said before
    assert len(set(target.train.completions + target.test.completions)) == 6
    number = target.train.completions[0].split()[1]
    assert target.train.history(0) == (
        ("system", "be brief"),
        ("user", f"first {number}"),
        ("assistant", "yes"),
    )


def test_rows_without_an_answer_are_dropped_and_counted(load):
    rows = [{"messages": conversation(n)} for n in range(20)]
    rows += [{"messages": conversation(99, answered=False)[:2]}, {"messages": None}, {"messages": "no JSON"}]
    target, _ = load(rows, columns={"messages": "messages"})
    assert "3 rows without a question and its answer dropped" in target.notes
    with pytest.raises(DataError, match=r"target\.columns\.messages: no row of .* has a message of the user"):
        load([{"messages": [{"role": "user", "content": "x"}]}], columns={"messages": "messages"})


def test_the_last_answer_counts_and_what_follows_does_not():
    messages = messages_in([*conversation(1), {"role": "user", "content": "thanks"}])
    assert messages is not None
    assert answered_question(messages) == (tuple(messages[:3]), "and then?", "answer 1")
    assert question(messages) == (tuple(messages[:-1]), "thanks")
    assert answered_question(messages[:1]) is None
    assert messages_in([{"role": "user"}]) is None
    assert messages_in("[1, 2]") is None


def test_one_row_stays_of_equal_prompts_whatever_their_order():
    texts = ["a", "A ", "b", "c", "c", ""]
    completions = ["two", "one", "x", "same", "Same", "y"]
    forward = clean_pairs(Pairs(texts, completions, []))
    back = clean_pairs(Pairs(texts[::-1], completions[::-1], []))
    expected = {("A", "one"), ("b", "x"), ("c", "Same")}
    assert set(zip(forward.rows.texts, forward.rows.completions)) == expected
    assert set(zip(back.rows.texts, back.rows.completions)) == expected
    assert forward.notes == (
        "1 row without a prompt or a completion dropped",
        "1 duplicate row dropped",
        "1 row with another completion of the same prompt dropped",
    )


def test_no_prompt_of_the_test_is_in_a_source(load):
    rows = toy.answers(60, seed=1)
    target, (source,) = load(rows, source=[{**row, "completion": "other"} for row in rows])
    assert not set(target.test.texts) & set(source.train.texts)
    assert not set(target.test.texts) & set(target.train.texts)
    assert any("the same texts are among the target's test rows" in note for note in source.notes)


def test_shots_are_counted_in_all_and_those_of_fewer_lie_within(load):
    rows = toy.answers(60, seed=1)
    few, _ = load(rows, shots=4)
    more, _ = load(rows, shots=8)
    assert (len(few.train), len(more.train)) == (4, 8)
    assert set(few.train.texts) < set(more.train.texts)
    assert few.test.texts == more.test.texts
    with pytest.raises(
        DataError, match=r"target\.shots: 100 rows are needed beside the test rows, found \d+"
    ):
        load(rows, shots=100)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_shuffled_completions_are_those_of_other_rows(load, share):
    rows = [{"prompt": f"p {n}", "completion": f"c {n}"} for n in range(40)]
    _, (clean,) = load(rows[:20], source={"rows": rows[20:]})
    _, (shuffled,) = load(rows[:20], source={"rows": rows[20:], "shuffle_completions": share})
    assert shuffled.train.texts == clean.train.texts
    assert sorted(shuffled.train.completions) == sorted(clean.train.completions)
    changed = [one != other for one, other in zip(shuffled.train.completions, clean.train.completions)]
    assert sum(changed) == round(share * len(changed))
    assert (
        f"{share:.0%} of the completions were swapped with other rows' on purpose (shuffle_completions)"
        in shuffled.notes
    )


def test_shuffling_depends_on_seed_and_texts_alone(load):
    _, (source,) = load(toy.answers(20, 1), source=toy.answers(40, 2))
    keys = np.array(source.train.texts, dtype=object)
    once = shuffle_completions(source.train, keys, 1.0, 0)
    assert shuffle_completions(source.train, keys, 1.0, 0).completions == once.completions
    assert shuffle_completions(source.train, keys, 1.0, 1).completions != once.completions
    assert shuffle_completions(source.train, keys, 0.0, 0).completions == source.train.completions


def test_a_test_file_of_its_own(load, tmp_path):
    own = toy.write_rows(tmp_path / "own.jsonl", [{"x": "p", "y": "c"}])
    test = {"path": str(own), "columns": {"prompt": "x", "completion": "y"}}
    target, _ = load(toy.answers(20, 1), test=test)
    assert (target.test.texts, target.test.completions) == (("p",), ("c",))


def test_a_missing_column_is_named(load):
    with pytest.raises(DataError, match=r"target\.columns\.completion: column 'answer' is not in"):
        load(toy.answers(20, 1), columns={"completion": "answer"})
