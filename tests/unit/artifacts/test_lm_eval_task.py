"""The task that export writes for lm-evaluation-harness, and what the harness makes of it."""

import importlib.util
import json

import pandas as pd
import pytest
import toy
import yaml

from sgg_ray.artifacts import export_model, open_run, write_lm_eval_task
from sgg_ray.config import Config
from sgg_ray.errors import ConfigError, ModelError


def finish(settings, folder, template=None, **changes):
    toy.save_language_model(folder / "lm", template)
    common = {
        "model": {"path": str(folder / "lm"), "adapter": {"peft_type": "lora", "r": 4}},
        "target": {
            "prompt": "Review: {text}\nLabel:",
            "verbalizers": {"negative": " very negative", "positive": " positive"},
        },
        "sources": settings["sources"][:1],
        "train": {"max_steps": 12, "learning_rate": 1e-2, "max_length": 24},
        "ray": {"storage_path": str(folder / "runs")},
    }
    made = toy.merged(toy.merged(settings, common), changes)
    return open_run(toy.finish_run(Config.model_validate(made)))


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_rows_and_their_comparison_are_those_of_the_run(settings, tmp_path):
    run = finish(settings, tmp_path, model={"length_normalised": True, "contextual_calibration": True})
    frame = pd.read_parquet(run.path / "predictions.parquet")
    frame.loc[0, "text"] = 'good1\x85bad2\u2028word3 "x"'  # ends of lines for str.splitlines, none for JSON
    frame.to_parquet(run.path / "predictions.parquet")
    name = write_lm_eval_task(run, tmp_path / "task", tmp_path / "out")
    task = yaml.load((tmp_path / "task" / f"{name}.yaml").read_text(), _Loader)
    assert (task["task"], task["output_type"]) == ("sgg_toy", "multiple_choice")
    spec = importlib.util.spec_from_file_location("rows", tmp_path / "task" / "rows.py")
    rows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rows)
    docs = rows.rows()["test"]
    assert len(docs) == len(frame)
    assert docs[0]["choices"] == [" very negative", " positive"]
    assert docs[0]["counts"] == [2, 1]
    assert docs[0]["prompt"] == f"Review: {frame['text'][0]}\nLabel:"
    assert all(offset != 0.0 for offset in docs[0]["offsets"])
    doc = {"label": 0, "counts": [2, 1], "offsets": [0.0, 0.0]}
    assert rows.process_results(doc, [(-4.0, False), (-3.0, False)]) == {"acc": 1.0}  # −2 a token against −3
    assert rows.process_results({**doc, "offsets": [0.0, 1.5]}, [(-4.0, False), (-3.0, False)]) == {
        "acc": 0.0
    }
    with pytest.raises(ConfigError, match=r"--lm-eval: .* exists already"):
        write_lm_eval_task(run, tmp_path / "task", tmp_path / "out")


def test_an_encoder_is_refused(finished_run, tmp_path):
    with pytest.raises(ModelError, match="--lm-eval: only a causal language model"):
        write_lm_eval_task(open_run(finished_run), tmp_path / "task", tmp_path / "out")
    assert not (tmp_path / "task").exists()


TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.mark.slow
@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["plain", "chat"])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_harness_finds_the_accuracy_of_the_run(settings, tmp_path, monkeypatch, template, normalised):
    """Merged LoRA weights, answers of one and two tokens, texts that are cut: accuracy to within 0.1 points."""
    lm_eval = pytest.importorskip("lm_eval", reason="lm_eval is not installed: python -m pip install lm_eval")
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    verbalizers = {"negative": "very negative", "positive": "positive"} if template else None
    changes = {"model": {"length_normalised": normalised, "contextual_calibration": normalised}}
    if verbalizers:
        changes |= {"target": {"verbalizers": verbalizers}, "train": {"max_length": 32}}
    run = finish(settings, tmp_path, template, **changes)
    exported = export_model(run, tmp_path / "out")
    name = write_lm_eval_task(run, tmp_path / "task", exported)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={exported},dtype=float32,device=cpu",
        tasks=[name],
        task_manager=TaskManager(include_path=str(tmp_path / "task"), include_defaults=False),
        batch_size=8,
        bootstrap_iters=0,
    )
    metrics = json.loads((run.path / "metrics.json").read_text())["guided"]
    assert found["results"][name]["acc,none"] == pytest.approx(metrics["accuracy"], abs=0.001)
