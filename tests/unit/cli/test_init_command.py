"""What `sgg init` writes can be run as it is, and it tells what it took for what."""

import csv
import re

import pytest
import toy

from sgg_ray.config import load_config
from sgg_ray.tasks import load_tasks


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def forty(here):
    """A spreadsheet of 40 labelled rows with columns of other names."""
    rows = toy.sentences(40, seed=31, labels=("billing", "shipping"))
    return write_csv(
        here / "data.csv",
        [{"id": number, "body": row["text"], "topic": row["label"]} for number, row in enumerate(rows)],
    )


def test_the_example_is_sound_as_it_is(sgg, no_ray, here):
    result = sgg("init", "my-task")
    assert result.exit_code == 0, result.output
    steps = [line.split("  ")[1] for line in result.stdout.partition("next\n")[2].splitlines()]
    assert steps == ["cd my-task", "sgg doctor sgg.yaml", "sgg score sgg.yaml", "sgg train sgg.yaml"]
    target, sources = load_tasks(load_config(here / "my-task" / "sgg.yaml"))
    assert (len(target.train), len(target.test)) == (16, 32)
    assert [source.head == target.head for source in sources] == [True, False]
    assert target.notes == ()


@pytest.mark.parametrize("installed", [True, False])
def test_a_model_that_has_to_be_fetched_is_said(sgg, no_ray, here, monkeypatch, installed):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    result = sgg("init")
    assert ("is fetched from the Hugging Face hub" in result.stdout) is not installed
    path = load_config(here / "sgg.yaml").model.path
    assert path.startswith("package://" if installed else "sentence-transformers/")


def test_every_commented_key_can_be_uncommented(sgg, no_ray, here):
    """The defaults that the comments show are the defaults."""
    sgg("init")
    text = (here / "sgg.yaml").read_text()
    keys = re.findall(r"^  # (\w+: .*)$", text, flags=re.MULTILINE)
    assert len(keys) > 30
    plain = load_config(here / "sgg.yaml")
    shown = re.sub(r"^  # (?!adapter)(\w+: )", r"  \1", text, flags=re.MULTILINE)
    (here / "shown.yaml").write_text(shown)
    assert load_config(here / "shown.yaml", name="sgg").model_dump() == plain.model_dump()


def test_columns_labels_and_split_are_guessed_and_told(sgg, no_ray, here, forty):
    result = sgg("init", "task", "--from", forty)
    assert result.exit_code == 0, result.output
    assert "column 'body' holds the texts (by its name)" in result.stdout
    assert "column 'topic' holds the labels (by its name)" in result.stdout
    assert "the labels are billing 20, shipping 20" in result.stdout
    assert "--source FILE" in result.stdout
    assert "sgg score" not in result.stdout  # there is nothing to score
    config = load_config(here / "task" / "sgg.yaml")
    target, _ = load_tasks(config)
    assert target.labels == ("billing", "shipping")
    assert len(target.test) == 12
    assert len(target.train) == 2 * config.target.shots == 26
    assert config.train.method == "auto"  # which decides where the head begins


def test_columns_without_telling_names(sgg, no_ray, here):
    rows = toy.sentences(40, seed=31)
    path = write_csv(
        here / "x.csv", [{"a": row["label"], "b": n, "c": row["text"]} for n, row in enumerate(rows)]
    )
    result = sgg("init", "--from", path)
    assert "column 'c' holds the texts (its values are the longest" in result.stdout
    assert "column 'a' holds the labels (it has only 2 different values)" in result.stdout


def test_columns_can_be_named_and_sources_added(sgg, no_ray, here, forty, data):
    result = sgg(
        "init", "--from", forty, "--text", "body", "--label", "topic", "--source", data / "clean.jsonl"
    )
    assert result.exit_code == 0, result.output
    assert "0 of its 2 labels are the target's" in result.stdout
    assert "sgg score" in result.stdout
    config = load_config(here / "sgg.yaml")
    assert config.sources[0].path == str(data / "clean.jsonl")
    assert (config.target.columns.text, config.target.columns.label) == ("body", "topic")
    assert config.train.head == "zero"


def test_what_cannot_be_guessed_is_one_line(refused, here, forty):
    write_csv(here / "same.csv", [{"text": f"row {number}"} for number in range(9)])
    assert "no column that looks like labels; name it with --label" in refused("init", "--from", "same.csv")
    assert "--label: column 'kind' is not in" in refused("init", "--from", forty, "--label", "kind")
    assert "--from: nothing.csv does not exist" in refused("init", "--from", "nothing.csv")
    assert "--from: name the file" in refused("init", "--label", "kind")
    (here / "sgg.yaml").write_text("name: mine")
    assert "sgg.yaml exists already" in refused("init")


@pytest.mark.parametrize(
    ("make", "told", "kind", "shots"),
    [
        (toy.rated, (), "ordinal", 16),
        (toy.rated, ("--kind", "regression"), "regression", 41),
        (toy.tagged, (), "multi_label", 16),
    ],
)
def test_the_kind_of_a_target_is_guessed_or_told(sgg, no_ray, here, make, told, kind, shots):
    rows = [{**row, **({"stars": row["stars"] + 0.5} if "stars" in row else {})} for row in make(60, 1)]
    toy.write_rows(here / "own.jsonl", rows)
    toy.write_rows(here / "more.jsonl", rows)
    result = sgg("init", "--from", "own.jsonl", "--source", "more.jsonl", *told)
    assert result.exit_code == 0, result.output
    assert f"kind: {kind}" in result.stdout
    config = load_config(here / "sgg.yaml")
    assert (config.target.kind, config.sources[0].kind) == (kind, kind)
    target, _ = load_tasks(config.model_copy(update={"sources": []}))
    assert len(target.train) + len(target.test) <= 60
    assert config.target.shots <= shots
    assert len(target.test) == 18


def test_a_source_is_read_where_the_target_is(sgg, no_ray, here):
    """Its own guess would take the column with the fewest values."""
    rows = [{"Ticket": f"text number {n}", "Thema": "abc"[n % 3], "open": "ny"[n % 2]} for n in range(40)]
    write_csv(here / "own.csv", rows)
    write_csv(here / "more.csv", rows)
    result = sgg("init", "--from", "own.csv", "--label", "Thema", "--source", "more.csv")
    assert result.exit_code == 0, result.output
    assert "more.csv: column 'Thema' holds the labels (as in --from)" in result.stdout
    assert load_config(here / "sgg.yaml").sources[0].columns.label == "Thema"


def test_a_source_of_one_class_is_refused_with_what_helps(refused, here, forty):
    write_csv(here / "one.csv", [{"body": f"text number {n}", "topic": "billing"} for n in range(9)])
    line = refused("init", "--from", forty, "--source", "one.csv")
    assert "only 'billing', and at least two labels are needed; leave the file out" in line


def test_names_without_an_order_and_choices_are_said(sgg, no_ray, refused, here):
    words = ["bad", "fair, as it were", "good"]
    rows = [
        {"body": f"text {n}", "o": ["x", "a longer one by far", "z"], "topic": words[n % 3]}
        for n in range(40)
    ]
    toy.write_rows(here / "own.jsonl", rows)
    line = refused("init", "--from", "own.jsonl", "--kind", "ordinal")
    assert "--kind: ordinal needs an order, and 'bad', 'fair, as it were', 'good' of column 'topic'" in line
    result = sgg("init", "--from", "own.jsonl")
    assert result.exit_code == 0, result.output
    assert (
        "column 'o' holds lists and is not read; a text's own choices are kind: multiple_choice"
        in result.stdout
    )
    assert 'the labels are bad 14, "fair, as it were" 13, good 13' in result.stdout


def test_a_folder_that_cannot_be_made_is_one_line(refused, here):
    (here / "file").write_text("")
    assert "DIR: cannot make file/new (Not a directory); choose another folder" in refused("init", "file/new")
