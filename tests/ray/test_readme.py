"""The Python of the README and of a model card runs as it stands there."""

import re
import shutil
from pathlib import Path

import pytest

import sgg_ray

pytestmark = pytest.mark.ray
README = Path(__file__).parents[2] / "README.md"


def python_of(text: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return block


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_the_python_of_the_readme(write_config, tmp_path, monkeypatch, capsys):
    """On the toy task in place of the quick start's; the lines are the README's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines/configs").mkdir(parents=True)
    toy = write_config(
        name="quickstart", ray={"storage_path": "runs", "task_workers": 1}, train={"calibration_folds": 2}
    )
    shutil.move(toy, tmp_path / "pipelines/configs/quickstart.yaml")
    code = python_of(README.read_text(encoding="utf-8")).replace("train.max_steps=100", "train.max_steps=5")

    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "predicted" in printed
    page = names["run"]._repr_html_()
    assert "target only" in page
    assert "data:image/png;base64," in page
    assert ">clean</td>" in names["scored"]._repr_html_()
    found = sgg_ray.open_run("quickstart")
    assert list(found.predict(["good1 good2"]).columns) == [
        "predicted",
        "p_negative",
        "p_positive",
        "confidence",
    ]
    monkeypatch.chdir(found.model)
    exec(compile(python_of(Path("README.md").read_text(encoding="utf-8")), "README.md", "exec"), {})
    assert "confidence" in capsys.readouterr().out
