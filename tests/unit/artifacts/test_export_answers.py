"""What is exported of a model that answers prompts says what the run says, by the lines of its card."""

import pytest
import toy

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.prediction import Predictor

ADAPTERS = [
    None,
    {"peft_type": "lora", "r": 4},
    {"peft_type": "prompt_tuning", "num_virtual_tokens": 4},
]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.fixture(
    scope="module", params=ADAPTERS, ids=lambda adapter: adapter["peft_type"] if adapter else "full"
)
def run(request, generation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    template = TEMPLATE if request.param is None else None
    toy.save_language_model(folder / "lm", template)
    changes = {
        "model": {"path": str(folder / "lm"), "adapter": request.param},
        "sources": generation["sources"][:1],
        "train": {"max_steps": 10},
        "ray": {"storage_path": str(folder / "runs")},
    }
    return open_run(toy.finish_run(Config.model_validate(toy.merged(generation, changes))))


def code_of(card: str) -> str:
    return card.split("## How to load it")[1].split("```python\n")[1].split("```")[0]


def test_the_lines_of_the_card_say_what_the_run_says(run, tmp_path, monkeypatch):
    method = (run.config.model.adapter and run.config.model.adapter.peft_type) or "full"
    forms = {"full": ["transformers"], "lora": ["transformers", "adapter"], "prompt_tuning": ["adapter"]}[
        method
    ]
    monkeypatch.chdir(tmp_path)
    texts = ["good1 word3", "word8 good7 word9 word10"]
    expected = Predictor(run.model, "cpu").answers(texts)
    for form in forms:
        exported = export_model(run, tmp_path / form, form)
        code = code_of((exported / "README.md").read_text())
        for text, said in zip(texts, expected):
            scope: dict = {}
            exec(code.replace("a prompt to answer", text), scope)
            assert scope["answer"] == said


def test_a_form_that_it_cannot_take_is_refused(run, tmp_path):
    with pytest.raises(ModelError, match="takes transformers or adapter"):
        export_model(run, tmp_path / "out", "sentence-transformers")
    assert not (tmp_path / "out").exists()
