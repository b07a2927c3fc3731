"""What is exported of a language model labels texts as the run does, by the lines of its card."""

import json

import pytest
import toy

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.prediction import Predictor

WORDS = {"negative": " very negative", "positive": " positive"}


@pytest.fixture(scope="module", params=[None, {"peft_type": "lora", "r": 4}], ids=["full", "lora"])
def run(request, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    toy.save_language_model(folder / "lm")
    changes = {
        "model": {
            "path": str(folder / "lm"),
            "adapter": request.param,
            "contextual_calibration": True,
            "length_normalised": True,
        },
        "target": {"prompt": "Review: {text}\nLabel:", "verbalizers": WORDS},
        "sources": settings["sources"][:1],
        "train": {"max_steps": 10, "learning_rate": 1e-2, "max_length": 48},
        "ray": {"storage_path": str(folder / "runs")},
    }
    return open_run(toy.finish_run(Config.model_validate(toy.merged(settings, changes))))


def code_of(card: str) -> str:
    return card.split("## How to load it")[1].split("```python\n")[1].split("```")[0]


def test_the_lines_of_the_card_give_the_probabilities_of_the_run(run, tmp_path, monkeypatch):
    forms = ["transformers", "adapter"] if run.config.model.adapter else ["transformers"]
    monkeypatch.chdir(tmp_path)
    text = "good1 word3 bad2"
    expected = Predictor(run.model, "cpu").predict([text])
    for form in forms:
        exported = export_model(run, tmp_path / form, form)
        code = code_of((exported / "README.md").read_text()).replace("a text to label", text)
        scope: dict = {}
        exec(code, scope)
        for label, probability in scope["probabilities"].items():
            assert probability == pytest.approx(float(expected[f"p_{label}"][0]), abs=1e-5)


def test_a_form_that_it_cannot_take_is_refused(run, tmp_path):
    with pytest.raises(ModelError, match="takes transformers or adapter"):
        export_model(run, tmp_path / "out", "sentence-transformers")
    assert not (tmp_path / "out").exists()


def test_the_folder_is_an_ordinary_model(run, tmp_path):
    exported = export_model(run, tmp_path / "out")
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
