"""Frozen weights in few bits below an adapter: the same functions as with the values that they stand for."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import toy
from safetensors import safe_open

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models import (
    LanguageModel,
    PretrainedModel,
    build_model,
    check_model,
    check_settings,
    load_model,
    save_model,
)
from sgg_ray.models.backbone import prepare_backbone
from sgg_ray.models.quantised import ADAPTERS, size_of
from sgg_ray.prediction import Predictor
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, Trainer, load_checkpoint, run_training, save_checkpoint

pytest.importorskip("bitsandbytes", reason="needs sgg-ray[quantized]")

LORA = {"peft_type": "lora", "r": 4, "init_lora_weights": False, "target_modules": "all-linear"}
SCHEMES = ("nf4", "int8")
TERMS = {"lambda_direction": 0.0, "lambda_magnitude": 0.2, "lambda_alignment": 0.0, "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Folder of a random Llama whose layers have as many inputs as a block of nf4."""
    return toy.save_language_model(tmp_path_factory.mktemp("wide"), width=64)


@pytest.fixture
def make_quantised(make_config, wide):
    """The toy configuration with a random Llama whose weights are quantised."""

    def make(scheme, **changes):
        model = {"path": str(wide), "adapter": LORA, "quantization": scheme} | changes.pop("model", {})
        return make_config(model=model, train={"max_length": 40} | changes.pop("train", {}), **changes)

    return make


def dequantised(config) -> PretrainedModel:
    """The model that ``config`` quantises, with the values that its weights then stand for."""
    foundation = PretrainedModel(config.model)
    foundation.backbone = foundation.backbone.dequantize(torch.float32)  # pyright: ignore[reportCallIssue]
    return foundation


def make_trainer(config, foundation=None, used=()):
    target, sources = load_tasks(config)
    chosen = [source for source in sources if source.name in used]
    model = build_model(config, [target, *chosen], foundation)
    rows = {source.name: model.tokenise(source, source.train) for source in chosen}
    weights = {name: 1 / len(rows) for name in rows}
    return Trainer(model, model.tokenise(target, target.train), rows, weights, config, SingleProcess())


@pytest.mark.parametrize(("scheme", "most"), [("nf4", 0.10), ("int8", 0.01)])
def test_weights_in_few_bits_stand_for_nearly_the_same(make_quantised, scheme, most):
    model = build_model(make_quantised(scheme, model={"precision": "bfloat16"}), [])
    whole = PretrainedModel(make_quantised(None).model).backbone
    meant = dequantised(make_quantised(scheme)).backbone
    own = dict(meant.named_parameters())
    errors = {
        name: float((own[name] - weight).detach().norm() / weight.detach().norm())
        for name, weight in whole.named_parameters()
    }
    assert {name for name, error in errors.items() if error} == {
        name for name in errors if ".layers." in name and "norm" not in name
    }
    assert 0.001 < max(errors.values()) < most
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    packed = [parameter for parameter in frozen if parameter.dtype in (torch.uint8, torch.int8)]
    assert len(packed) == 14
    bytes_of_a_value = {"nf4": 0.5, "int8": 1.0}[scheme]
    assert sum(parameter.numel() for parameter in packed) == bytes_of_a_value * sum(map(size_of, packed))
    assert {parameter.dtype for parameter in frozen} - {packed[0].dtype} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}


@pytest.mark.parametrize(
    ("scheme", "hvp"), [("nf4", "finite_difference"), ("nf4", "exact"), ("int8", "exact")]
)
def test_gradients_and_curvature_are_those_of_the_values_they_stand_for(make_quantised, scheme, hvp):
    def first_gradient(strength, whole):
        guidance = TERMS | {"hvp": hvp, "lambda_magnitude": strength, "fd_relative_change": 0.05}
        config = make_quantised(scheme, guidance=guidance, train={"max_grad_norm": 1e9})
        trainer = make_trainer(config, dequantised(config) if whole else None)
        trainer._step()
        return trainer.flat.gradient.clone()

    mine, theirs = (first_gradient(0.0, whole) for whole in (False, True))
    assert theirs.norm() > 0.1
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)
    curved, expected = first_gradient(0.2, False) - mine, first_gradient(0.2, True) - theirs
    assert expected.norm() > 0.1
    assert torch.cosine_similarity(curved, expected, dim=0) > 0.999


@pytest.mark.parametrize("method", ADAPTERS)
def test_every_adapter_computes_with_the_values_they_stand_for(wide, method):
    size = {"num_virtual_tokens": 4} if method in ADAPTERS[-3:] else {}
    size |= {"total_step": 9} if method == "adalora" else {"oft_block_size": 8} if method == "oft" else {}
    adapter = {"peft_type": method, **size}
    config = ModelConfig(path=str(wide), adapter=adapter, quantization="int8")  # pyright: ignore
    check_model(config, 32)
    logits = []
    for foundation in (PretrainedModel(config), PretrainedModel(config)):
        if logits:
            foundation.backbone = foundation.backbone.dequantize(torch.float32)  # pyright: ignore[reportCallIssue]
        torch.manual_seed(0)
        backbone = prepare_backbone(foundation.backbone, config, foundation.architecture)
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.data += 0.02 * torch.randn_like(parameter)
        with torch.no_grad():
            logits.append(backbone.eval()(input_ids=torch.arange(24).view(2, 12)).logits)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_look_without_gradients_changes_no_later_gradient(make_quantised, scheme):
    config = make_quantised(scheme, guidance=TERMS)
    looked, fresh = make_trainer(config), make_trainer(config)
    batch = looked.model.collate([(looked.target, row) for row in range(4)])
    with torch.no_grad():
        looked.model.eval().scores(batch)
    for trainer in (looked, fresh):
        trainer._step()
    assert fresh.flat.gradient.norm() > 1e-3
    assert torch.equal(looked.flat.gradient, fresh.flat.gradient)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_copy_of_what_is_loaded_trains_as_what_is_loaded_anew(make_quantised, scheme):
    config = make_quantised(scheme)
    target, _ = load_tasks(config)
    foundation = PretrainedModel(config.model)
    losses = [
        run_training(config, target, [], {}, torch.device("cpu"), foundation=given).predictions.losses
        for given in (foundation, foundation, None)
    ]
    np.testing.assert_array_equal(losses[0], losses[1])
    np.testing.assert_array_equal(losses[0], losses[2])


@pytest.mark.parametrize(("scheme", "precision"), [("nf4", "bfloat16"), ("int8", "float32")])
def test_a_trained_model_predicts_the_same_when_it_is_loaded(make_quantised, tmp_path, scheme, precision):
    train = {"max_steps": 12, "learning_rate": 1e-2}
    config = make_quantised(scheme, train=train, model={"precision": precision})
    target, _ = load_tasks(config)
    outcome = run_training(config, target, [], {}, torch.device("cpu"))
    save_model(outcome.model, tmp_path, base=config.model.path, target_head=target.head)
    assert not list(tmp_path.glob("backbone/*.safetensors"))  # the adapter alone
    predictor = Predictor(tmp_path, "cpu")
    assert isinstance(predictor.model, LanguageModel)
    assert (predictor.model.quantization, predictor.model.precision) == (scheme, precision)
    np.testing.assert_allclose(
        predictor.probabilities(target.test.texts),
        outcome.probabilities,
        atol=1e-6 if precision == "float32" else 1e-2,
    )
    whole, _ = load_model(tmp_path, dequantise=True)
    assert not [one for one in whole.parameters() if one.dtype in (torch.uint8, torch.int8)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_resumed_training_is_the_uninterrupted_one(make_quantised, tmp_path, scheme):
    config = make_quantised(scheme, guidance=TERMS)
    whole = make_trainer(config, used=("clean",))
    whole.run(checkpoint=lambda trainer: save_checkpoint(trainer, tmp_path) if trainer.step == 3 else None)
    resumed = make_trainer(config, used=("clean",))
    load_checkpoint(resumed, tmp_path)
    assert resumed.step == 3
    resumed.run()
    assert torch.equal(resumed.flat.values, whole.flat.values)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scores_are_those_of_the_values_they_stand_for(make_quantised, scheme):
    config = make_quantised(scheme)
    target, sources = load_tasks(config)
    values = []
    for foundation in (None, dequantised(config)):
        model = build_model(config, [target], foundation)
        found = score_tasks(TaskSummariser(model, config.alignment, 0), target, sources, False)
        values.append({name: score.value for name, score in found.items() if score is not None})
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    assert values[0]["clean"] > 0 > values[0]["flipped"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", ["transformers", "adapter"])
def test_the_lines_of_the_card_give_the_probabilities_of_the_run(
    make_quantised, tmp_path, monkeypatch, scheme, form
):
    prompt = {"prompt": "Review: {text}\nLabel:"}
    run = open_run(toy.finish_run(make_quantised(scheme, target=prompt, train={"learning_rate": 1e-2})))
    monkeypatch.chdir(tmp_path)
    exported = export_model(run, tmp_path / "out", form)
    if form == "transformers":
        with safe_open(exported / "model.safetensors", framework="pt") as stored:
            kinds = {stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
        assert kinds == {"BF16"}
        assert "quantization_config" not in (exported / "config.json").read_text()
    card = (exported / "README.md").read_text()
    code = card.split("## How to load it")[1].split("```python\n")[1].split("```")[0]
    scope: dict = {}
    exec(code, scope)
    expected = Predictor(run.model, "cpu").predict(["a text to label"])
    for label, probability in scope["probabilities"].items():
        # Merged weights are rounded to bfloat16, and so are bitsandbytes' own products on such processors.
        assert probability == pytest.approx(float(expected[f"p_{label}"][0]), abs=0.03)


@pytest.mark.slow
def test_no_code_comes_from_the_hub(tmp_path):
    """As bitsandbytes would fetch it, where such a processor and the package kernels are."""
    (tmp_path / "kernels.py").write_text("print('asked for a kernel')\n")
    code = (
        "from sgg_ray.models.quantised import import_bitsandbytes, sys\n"
        "import_bitsandbytes(); print('bitsandbytes' in sys.modules, 'kernels' in sys.modules)"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.slow
def test_nothing_is_said_where_an_adapter_is_made():
    code = (
        "from sgg_ray.models.backbone import adapter_config; print(adapter_config({'peft_type': 'lora'}).r)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("8\n", "")


def test_layers_that_would_be_dequantised_wrongly_are_refused(make_quantised, lm):
    with pytest.raises(ModelError, match=r"nf4 on a CPU needs layers of 64, 128, … inputs, and one has 32"):
        build_model(make_quantised("nf4", model={"path": str(lm)}), [])
    build_model(make_quantised("int8", model={"path": str(lm)}), [])


def test_what_cannot_be_quantised_is_refused(make_quantised, make_config, monkeypatch):
    with pytest.raises(
        ModelError, match=r"model\.quantization: nf4: .* stay frozen, and there is no adapter"
    ):
        check_model(make_quantised("nf4", model={"adapter": None}).model, 32)
    turned = make_quantised("int8", model={"adapter": {"peft_type": "hra"}}).model
    with pytest.raises(
        ModelError, match=r"model\.adapter\.peft_type: hra is not for quantised weights; use one of"
    ):
        check_model(turned, 32)
    sharded = make_quantised("int8", ray={"sharding": "fsdp", "num_workers": 2})
    with pytest.raises(ModelError, match=r"model\.quantization: quantised weights cannot be sharded"):
        check_settings(sharded)
    check_model(make_quantised("nf4").model, 32)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"nf4 needs the package bitsandbytes; .*sgg-ray\[quantized\]"):
        check_model(make_quantised("nf4").model, 32)
