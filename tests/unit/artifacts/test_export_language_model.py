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
    text = "good1 word3 <end> bad2"  # a special token in a text is none
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


def test_vllm_gets_what_it_takes(run, tmp_path):
    """Its loader wants these files and names (vLLM itself needs a GPU build, and is not run here)."""
    from safetensors import safe_open

    merged = export_model(run, tmp_path / "merged")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in merged.iterdir()}
    assert "vllm serve merged\n" in (merged / "README.md").read_text()
    if run.config.model.adapter is None:
        return
    adapter = export_model(run, tmp_path / "lora", "adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA"
    assert settings["base_model_name_or_path"] == run.config.model.path
    assert not settings["modules_to_save"]
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as stored:
        names = list(stored.keys())
    with safe_open(merged / "model.safetensors", framework="pt") as stored:
        modules = {name.removesuffix(".weight") for name in stored.keys()}  # noqa: SIM118, no dictionary
    for name in names:
        bare = name.removeprefix("base_model.model.")
        assert bare != name
        module, kind = bare.rsplit(".lora_", 1)
        assert kind in ("A.weight", "B.weight")
        assert module in modules
    card = (adapter / "README.md").read_text()
    assert (
        f"vllm serve {run.config.model.path} --enable-lora --max-lora-rank 8 --lora-modules lora=lora" in card
    )


@pytest.mark.parametrize(
    "more",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
        {"r": 1024},
        {"bias": "all"},
    ],
)
def test_what_vllm_refuses_has_no_line_for_it(more):
    from sgg_ray.artifacts.export_language_model import _vllm_adapter

    plain = {"peft_type": "LORA", "r": 12, "bias": "none", "base_model_name_or_path": "base"}
    assert "--max-lora-rank 16 " in _vllm_adapter(plain, "out")
    assert _vllm_adapter({**plain, **more}, "out") == ""
