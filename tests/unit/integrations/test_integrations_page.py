"""docs/integrations.md: its examples run as they stand, beside files of the names that they read."""

import re
from pathlib import Path

import pytest
import torch
import toy

PAGE = Path(__file__).parents[3] / "docs" / "integrations.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(encoder, lm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)  # the head is new, and drawn before the Trainer sets its seed
    (tmp_path / "my-model").symlink_to(encoder)
    (tmp_path / "my-language-model").symlink_to(lm)
    for number, name in enumerate(("few", "imdb", "tweets")):
        rows = [{**row, "label": int(row["label"] == "positive")} for row in toy.sentences(24, seed=number)]
        toy.write_rows(tmp_path / f"{name}.jsonl", rows)
    for number, name in enumerate(("answers", "faq")):
        toy.write_rows(tmp_path / f"{name}.jsonl", toy.answers(16, seed=number))


def run(words: str) -> dict:
    """The one block with these words; returns its names."""
    (block,) = [block for block in BLOCKS if words in block]
    names: dict = {"__name__": "example"}
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_every_block_is_run_by_a_test():
    assert len(BLOCKS) == 3


def test_trainer(here):
    trainer = run("AutoModelForSequenceClassification")["trainer"]
    logs = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["step"] for line in logs] == [5, 10, 15, 20]
    assert logs[-1]["loss"] < logs[0]["loss"]
    assert -1 <= logs[-1]["guidance/alignment_cosine"] <= 1


def test_a_loop_of_ones_own(capsys):
    names = run("GuidedOptimizer")
    assert names["measured"]["loss"] < 0.2
    assert capsys.readouterr().out.startswith("loss 0.")


@pytest.mark.slow
def test_trl(here):
    pytest.importorskip("trl", reason="TRL is not installed: python -m pip install 'sgg-ray[integrations]'")
    assert run("SFTTrainer")["trainer"].state.global_step == 4
