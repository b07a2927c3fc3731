"""Exported models say what the run's model says, in a process that has no sgg_ray."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from sgg_ray.artifacts import default_form, export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.models import AveragedModel, load_model, write_calibration
from sgg_ray.tasks import Rows, Task

TEXTS = [*(row["text"] for row in toy.sentences(9, seed=21)), "good1 [SEP] word1 [PAD] [CLS] bad1"]
# name: (changes of the model section, forms that it can take)
RUNS = {
    "mean": ({}, ("sentence-transformers", "transformers")),
    "cls": ({"pooling": "cls"}, ("sentence-transformers", "transformers")),
    "own": ({"pooling": "own"}, ("transformers",)),
    "prompt": ({"adapter": {"peft_type": "prompt_tuning", "num_virtual_tokens": 4}}, ("adapter",)),
    "prefix": (
        {"pooling": "cls", "adapter": {"peft_type": "prefix_tuning", "num_virtual_tokens": 4}},
        ("adapter",),
    ),
    "ptuning": (
        {"pooling": "own", "adapter": {"peft_type": "p_tuning", "num_virtual_tokens": 4}},
        ("adapter",),
    ),
    "average": ({}, ("sentence-transformers", "transformers")),
    "lora": (
        {"adapter": {"peft_type": "lora", "r": 4}},
        ("sentence-transformers", "transformers", "adapter"),
    ),
}
EXACT = {
    *("mean-transformers", "cls-transformers", "own-transformers"),
    *("prompt-adapter", "prefix-adapter", "ptuning-adapter"),
}  # the others round: see export_model


def logits_and_inputs(folder: Path):
    """Logits [10, C] of a run's model, and the token ids they were made from."""
    model, head = load_model(folder / "model")
    rows = Rows(tuple(TEXTS), np.zeros(len(TEXTS), dtype=np.int64))
    tokens = model.tokenise(Task("new", model.labels[head], rows, rows, "target"), rows)
    batch = model.collate([(tokens, row) for row in range(len(TEXTS))])
    with torch.no_grad():
        logits = model.scores(batch)[0]
    return logits.numpy(), batch


@pytest.fixture(scope="module")
def runs(settings, tmp_path_factory) -> dict[str, Path]:
    storage = str(tmp_path_factory.mktemp("export") / "runs")

    def finish(name, model):
        changes = {
            "name": name,
            "model": model,
            "sources": [],
            "ray": {"storage_path": storage},
            "train": {"max_steps": 6, "method": "auto" if name == "average" else "gradients"},
        }
        return toy.finish_run(Config.model_validate(toy.merged(settings, changes)))

    return {name: finish(name, model) for name, (model, _) in RUNS.items()}


@pytest.fixture(scope="module")
def elsewhere(runs, tmp_path_factory):
    """What a process without sgg_ray makes of every form of every run."""
    place = tmp_path_factory.mktemp("exported")
    folders = [
        export_model(open_run(runs[name]), place / f"{name}-{form}", form)
        for name, (_, forms) in RUNS.items()
        for form in forms
    ]
    _, batch = logits_and_inputs(runs["mean"])
    given = {
        "texts": TEXTS,
        "ids": batch.input_ids.tolist(),
        "mask": batch.attention_mask.tolist(),
        "max_length": 24,
    }
    command = [sys.executable, str(Path(__file__).with_name("exported.py")), *map(str, folders)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {Path(folder).name: found for folder, found in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("name", [f"{name}-{form}" for name, (_, forms) in RUNS.items() for form in forms])
def test_logits_are_those_of_the_run(runs, elsewhere, name):
    expected, _ = logits_and_inputs(runs[name.split("-")[0]])
    assert np.ptp(expected) > 0.01
    found = np.array(elsewhere[name]["logits"], dtype=np.float32)
    if name in EXACT:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_average_goes_out_as_one_model_of_several(runs, elsewhere):
    model, _ = load_model(runs["average"] / "model")
    assert isinstance(model, AveragedModel)
    assert len(model.members) > 1
    first: Any = model.members[0]
    batch = logits_and_inputs(runs["average"])[1]
    with torch.no_grad():
        alone = first.scores(batch)[0].softmax(-1)
    for form in ("transformers", "sentence-transformers"):
        found = torch.tensor(elsewhere[f"average-{form}"]["logits"]).softmax(-1)
        assert not torch.allclose(found, alone, atol=1e-4)
    assert default_form(open_run(runs["average"])) == "transformers"


def test_the_pipeline_knows_the_labels(runs, elsewhere):
    expected, _ = logits_and_inputs(runs["mean"])
    scores = elsewhere["mean-transformers"]["scores"]
    wanted = torch.tensor(expected[0]).softmax(-1).tolist()
    assert [scores["negative"], scores["positive"]] == pytest.approx(wanted, abs=1e-5)


def test_the_card_says_how_to_load_it(runs, tmp_path):
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    write_calibration(run / "model", {"temperature": 2.5})
    (run / "model" / "README.md").write_text("# toy\n\n## How to load it\n\nwith sgg_ray\n")
    card = (export_model(open_run(run), tmp_path / "out", "adapter") / "README.md").read_text()
    assert "with sgg_ray" not in card
    assert 'SentenceTransformer("out")' in card
    assert "temperature 2.5" in card
    compile(card.split("```python\n")[1].split("```")[0], "README.md", "exec")


def test_what_cannot_be_done_is_said_and_leaves_nothing(runs, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"--to: .* exists already"):
        export_model(open_run(runs["mean"]), tmp_path / "used")
    with pytest.raises(ModelError, match="has no adapter"):
        export_model(open_run(runs["mean"]), tmp_path / "out", "adapter")
    with pytest.raises(ModelError, match="only 'transformers' can hold that"):
        export_model(open_run(runs["own"]), tmp_path / "out", "sentence-transformers")
    with pytest.raises(ModelError, match="prompt_tuning is no part of the weights"):
        export_model(open_run(runs["prompt"]), tmp_path / "out", "transformers")
    assert default_form(open_run(runs["prompt"])) == "adapter"
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_an_empty_folder_is_filled(runs, tmp_path):
    (tmp_path / "out").mkdir()
    assert (export_model(open_run(runs["own"]), tmp_path / "out") / "modeling_sgg.py").exists()


@pytest.mark.parametrize("place", ["link", "below a file", "proc"])
def test_a_folder_that_cannot_be_made_is_refused(runs, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    to = {"link": tmp_path / "link", "below a file": tmp_path / "file" / "x", "proc": Path("/proc/x")}[place]
    with pytest.raises(ConfigError, match="--to: "):
        export_model(open_run(next(iter(runs.values()))), to)
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "file").read_text() == "mine"
