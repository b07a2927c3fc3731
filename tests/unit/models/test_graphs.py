"""Passes recorded as CUDA graphs compute what the passes compute that they stand for."""

import contextlib
import warnings
from typing import Any

import pytest
import torch
import toy
from torch import nn

from sgg_ray.config import Config
from sgg_ray.gradients import FlatParameters
from sgg_ray.models import build_model, graphed
from sgg_ray.models.graphs import Recorder
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
CUDA = torch.device("cuda")
LORA = {"peft_type": "lora", "r": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("graphs")
    toy.save_encoder(found / "encoder")
    toy.save_language_model(found / "decoder")
    toy.write_rows(found / "target.jsonl", toy.sentences(200, seed=1))
    toy.write_rows(found / "source.jsonl", toy.sentences(200, seed=2))
    return found


def configure(folder, kind: str, **changes) -> Config:
    model = {"path": str(folder / kind)}
    if kind == "decoder":
        model["adapter"] = LORA
    return Config.model_validate(
        toy.merged(
            {
                "name": "graphs",
                "model": model,
                "target": {"path": str(folder / "target.jsonl"), "shots": 16},
                "sources": [{"name": "other", "path": str(folder / "source.jsonl")}],
                "guidance": {"warmup_ratio": 0, "hvp": "central_difference", "fd_step": 1e-2},
                "train": {"max_steps": 12, "batch_size": 8, "source_batch_size": 8, "max_length": 48},
            },
            changes,
        )
    )


def trained(config: Config) -> torch.Tensor:
    target, sources = load_tasks(config)
    outcome = run_training(config, target, sources, {"other": 1.0}, CUDA)
    return torch.cat([parameter.detach().flatten().cpu() for parameter in outcome.model.parameters()])


def without(config: Config) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"cuda_graphs": False})})


@on_gpu
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("micro", [None, 4])
def test_a_training_ends_with_the_same_parameters(folder, kind, precision, micro, monkeypatch):
    recorded = []
    own = Recorder._record
    monkeypatch.setattr(
        Recorder, "_record", lambda self, key, inputs: (recorded.append(key), own(self, key, inputs))
    )
    config = configure(folder, kind, model={"precision": precision}, train={"micro_batch_size": micro})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, expected = trained(config), trained(without(config))
    target, sources = load_tasks(config)
    start = torch.cat(
        [one.detach().flatten() for one in build_model(config, [target, *sources]).parameters()]
    )
    assert recorded
    assert (found - expected).norm() < (1e-3 if precision == "float32" else 5e-2) * (expected - start).norm()


@pytest.fixture
def passes(folder):
    """A model on a flat buffer, and a pass over a batch under a random state of its own."""
    config = configure(folder, "encoder")
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources]).to(CUDA).train()
    flat = FlatParameters((name, p) for name, p in model.named_parameters() if p.requires_grad)
    heads: Any = model.heads
    for head in heads.values():
        nn.init.normal_(head.weight)
    rows = model.tokenise(target, target.train)
    batches = [model.collate([(rows, row) for row in range(count)]) for count in (4, 8, 12)]

    def gradient(batch, seed=0) -> torch.Tensor:
        flat.zero_gradient()
        torch.manual_seed(seed)
        model.losses(batch).mean().backward()
        return flat.gradient.clone()

    return model, flat, batches, gradient


@on_gpu
def test_gradients_and_dropout_masks_are_those_of_the_model(passes):
    model, flat, batches, gradient = passes
    seeds = range(4)
    expected = {(b, s): gradient(batch, s) for b, batch in enumerate(batches) for s in seeds}
    moved = (flat.values * 1.1).clone()
    with flat.replaced(flat.views(moved)):
        elsewhere = gradient(batches[0])
    assert (expected[0, 0] - expected[0, 1]).norm() > 0.01 * expected[0, 0].norm()  # dropout is on
    with graphed(model.trunk()):
        recorder = model.trunk().forward
        for _ in range(3):  # launched, recorded, replayed
            for (number, seed), wanted in expected.items():
                torch.testing.assert_close(gradient(batches[number], seed), wanted, rtol=1e-3, atol=1e-5)
            with flat.replaced(flat.views(moved)):
                torch.testing.assert_close(gradient(batches[0]), elsewhere, rtol=1e-3, atol=1e-5)
        assert len(recorder.graphs) == 4
        assert not recorder.broken
    assert "forward" not in vars(model.trunk())
    torch.testing.assert_close(gradient(batches[0]), expected[0, 0], rtol=1e-3, atol=1e-5)


@on_gpu
def test_passes_without_gradients_see_the_parameters_as_they_are(passes):
    model, flat, batches, gradient = passes
    with graphed(model.trunk()):
        for _ in range(3):
            gradient(batches[0])
        flat.values.mul_(1.2)
        model.eval()
        with torch.no_grad():
            found = model.predictions(batches[0])
    with torch.no_grad():
        torch.testing.assert_close(found, model.predictions(batches[0]))


@on_gpu
def test_two_forward_passes_at_once_are_refused(passes):
    model, _, batches, gradient = passes
    with graphed(model.trunk()):
        for _ in range(3):
            for batch in batches[:2]:
                gradient(batch)
        first = model.losses(batches[0]).mean()
        second = model.losses(batches[1]).mean()
        second.backward()
        with pytest.raises(RuntimeError, match="before the next forward pass"):
            first.backward()


@on_gpu
def test_a_model_that_cannot_be_recorded_runs_as_ever(passes, monkeypatch):
    model, _, batches, gradient = passes
    expected = gradient(batches[0])
    own = model.trunk().forward

    def waits(**inputs):
        found = own(**inputs)
        assert found.last_hidden_state.sum().item() is not None  # asks the device
        return found

    monkeypatch.setattr(model.trunk(), "forward", waits)
    with graphed(model.trunk()):
        gradient(batches[0])
        with pytest.warns(RuntimeWarning, match="no CUDA graphs of this model"):
            found = gradient(batches[0])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(gradient(batches[0]), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_nothing_is_recorded_on_a_cpu(folder, kind):
    config = configure(folder, kind)
    target, sources = load_tasks(config)
    trunk = build_model(config, [target, *sources]).trunk()
    with graphed(trunk):
        assert not isinstance(trunk.forward, Recorder)


def test_a_model_that_is_pooled_its_own_way_has_no_trunk(folder):
    config = configure(folder, "encoder", model={"pooling": "cls"})
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources])
    assert model.trunk() is not None
    model.pooling = "own"
    assert model.trunk() is None
    with contextlib.ExitStack() as stack:
        stack.enter_context(graphed(None))
