"""The view by module says of parts what the loop says of the whole, and changes nothing."""

import math

import pytest
import torch

from sgg_ray.report.module_plots import module_table, plot_modules
from sgg_ray.training.module_view import module_of

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}


def run(trainer) -> list[dict]:
    events = []
    trainer.run(events.extend)
    return events


@pytest.mark.parametrize(
    ("parameter", "module"),
    [
        ("backbone.encoder.layer.11.output.dense.weight", "layer.11"),
        ("backbone.base_model.model.model.layers.3.self_attn.q_proj.lora_A.default.weight", "layers.3"),
        ("backbone.h.0.attn.c_attn.weight", "h.0"),
        ("heads.0.weight", "heads.0"),
        ("backbone.embeddings.word_embeddings.weight", "embeddings"),
        ("backbone.wte.weight", "embeddings"),
        ("backbone.ln_f.weight", "other"),
    ],
)
def test_modules_are_told_from_names(parameter, module):
    assert module_of(parameter) == module


def test_parts_add_up_to_the_whole(make_trainer):
    trainer = make_trainer(used=("clean",), guidance={**TERMS, "view_modules": 1}, train={"max_steps": 3})
    for event in run(trainer):
        modules = {key.split("/")[1] for key in event if key.startswith("module/")}
        assert {"embeddings", "heads.0"} < modules
        assert any(module.startswith("layer.") for module in modules)
        norms = [event[f"module/{module}/norm"] for module in modules]
        assert math.hypot(*norms) == pytest.approx(event["gradient_norm"], rel=1e-5)
    # Of the last step: where all is shared, Σ ‖g_m‖ ‖ĝ_m‖ cos_m = ‖g‖ ‖ĝ‖ cos.
    source, shared = trainer.phases[0].update.mixture, trainer.layout.shared
    assert source is not None
    total = 0.0
    for module, slices in trainer.diagnostics.view.modules.items():
        length = math.hypot(*(float(source[where].norm()) for where in slices))
        cosine = event[f"module/{module}/alignment_cosine"]
        total += event[f"module/{module}/norm"] * length * (0.0 if math.isnan(cosine) else cosine)
    whole = event["alignment_cosine"] * event["gradient_norm"] * float(source[shared].norm())
    assert total == pytest.approx(whole, rel=1e-4)


def test_it_comes_every_n_steps_and_changes_nothing(make_trainer):
    seen = make_trainer(guidance={**TERMS, "view_modules": 2}, train={"max_steps": 5})
    plain = make_trainer(guidance=TERMS, train={"max_steps": 5})
    events = run(seen)
    assert [any(key.startswith("module/") for key in event) for event in events] == [1, 0, 1, 0, 1]
    assert plain.diagnostics.view is None
    assert not any(key.startswith("module/") for event in run(plain) for key in event)
    assert torch.equal(seen.flat.values, plain.flat.values)


def test_heads_that_only_sources_use_are_not_looked_at(make_trainer, data):
    sources = [{"name": "other", "path": str(data / "other.jsonl")}]
    settings = {"sources": sources, "guidance": {**TERMS, "view_modules": 1}, "train": {"max_steps": 1}}
    trainer = make_trainer(used=("other",), **settings)
    assert {name for name in trainer.flat.names if "heads.1" in name}  # it is trained
    (event,) = run(trainer)
    assert "module/layer.0/alignment_cosine" in event
    heads = {key for key in event if "heads" in key}
    assert heads == {"module/heads.0/norm", "module/heads.0/direction_cosine"}  # private: no alignment


def test_table_and_picture(make_trainer, tmp_path):
    events = run(make_trainer(guidance={**TERMS, "view_modules": 1}, train={"max_steps": 3}))
    table = module_table(
        [*events, {"run": "target-only", "step": 0, "module/x/norm": 1.0}, {"run": "guided"}]
    )
    assert sorted(set(table.step)) == [0, 1, 2]
    assert "x" not in set(table.module)
    row = table[(table.step == 2) & (table.module == "embeddings")].iloc[0]
    assert row.norm == events[2]["module/embeddings/norm"]
    drawn = plot_modules(table, tmp_path / "modules.png")
    assert drawn is not None
    assert drawn.stat().st_size > 5000
    assert plot_modules(module_table([{"step": 0, "loss": 1.0}]), tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
