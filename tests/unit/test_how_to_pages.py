"""The Python blocks of the how-to pages run as they stand, in their order, on a toy."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgg_ray.errors import TrainingError
from sgg_ray.training import GuidedSum, Hooks, Phase, run_training

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_page(write_config, tmp_path, monkeypatch):
    """Execute the blocks of a page beside the toy's sgg.yaml; returns the names that they leave."""

    def run(page: str) -> dict[str, Any]:
        write_config().rename(tmp_path / "sgg.yaml")
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {"__name__": page}
        blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
        assert len(blocks) > 2
        for block in blocks:
            exec(compile(block, page, "exec"), names)
        return names

    return run


def test_a_strategy_in_code_changes_the_training(run_page, capsys):
    left = run_page("how-to-strategy.md")
    assert re.search(r"accuracy 0\.\d+\n[+-]\d+\.\d points, ", capsys.readouterr().out)
    probabilities = [left[name].probabilities for name in ("mine", "two_phases", "usual")]
    for one, other in ((0, 1), (0, 2), (1, 2)):  # three different trainings
        assert not np.allclose(probabilities[one], probabilities[other])


def test_a_score_in_code_finds_the_source_with_wrong_labels(run_page, capsys):
    left = run_page("how-to-score.md")
    assert left["votes"]["clean"] > 0 > left["votes"]["flipped"]
    assert left["weights"] == {"clean": 1.0, "flipped": 0.0}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["clean", "flipped", "clean", "flipped", "accuracy"]


def test_phases_that_do_not_add_up_are_refused(make_config):
    import torch

    from sgg_ray.tasks import load_tasks

    config = make_config()
    target, _ = load_tasks(config)

    def short(trainer):
        update = trainer.phases[0].update
        assert isinstance(update, GuidedSum)
        return (Phase(update, config.train.max_steps - 1),)

    with pytest.raises(TrainingError, match=r"phases: 7 steps in all, but train\.max_steps is 8"):
        run_training(config, target, [], {}, torch.device("cpu"), hooks=Hooks(phases=short))
