"""Training on rows with completions, alone and beside rows with labels: guidance, micro-batches, workers, answers."""

import gloo_worker
import numpy as np
import pytest
import torch
from torch import multiprocessing

from sgg_ray.models import LanguageModel, PromptedRows, build_model
from sgg_ray.models.batch import TokenisedRows
from sgg_ray.tasks import load_tasks
from sgg_ray.training import (
    SingleProcess,
    TextPredictions,
    Trainer,
    generate_texts,
    plain,
    predict_rows,
    run_training,
)
from sgg_ray.training.passes import TARGET

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}
LORA = {"peft_type": "lora", "r": 4, "init_lora_weights": False, "lora_dropout": 0.0}


@pytest.fixture
def labels(data):
    """A source with labels, for a mixed pool."""
    return {"name": "labels", "path": str(data / "clean.jsonl"), "prompt": "Review: {text}\nLabel:"}


@pytest.fixture
def make_trainer(make_generation):
    """A Trainer over a target with completions and all sources in equal parts."""

    def make(**changes) -> Trainer:
        config = make_generation(**changes)
        target, sources = load_tasks(config)
        model = build_model(config, [target, *sources])
        rows: dict[str, TokenisedRows] = {one.name: model.tokenise(one, one.train) for one in sources}
        weights = {name: 1 / len(rows) for name in rows}
        return Trainer(model, model.tokenise(target, target.train), rows, weights, config, SingleProcess())

    return make


def first_gradient(trainer: Trainer) -> torch.Tensor:
    trainer._step()
    return trainer.flat.gradient.clone()


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_micro_batches_and_checkpointing_change_no_gradient(make_trainer, generation, labels, adapter):
    """g + H·v + λ ĝ_S of one step in a mixed pool, cut into parts of three rows or recomputed."""
    settings = {
        "guidance": {**TERMS, "hvp": "exact" if adapter is None else "finite_difference"},
        "sources": [generation["sources"][0], labels],
    }
    train = {"max_grad_norm": 1e9}
    whole = first_gradient(make_trainer(model={"adapter": adapter}, train=train, **settings))
    parts = make_trainer(model={"adapter": adapter}, train={**train, "micro_batch_size": 3}, **settings)
    tolerance = 1e-4 if adapter is None else 1e-3
    assert whole.norm() > 0.1
    assert relative(first_gradient(parts), whole) < tolerance
    if adapter is not None:  # a double backward does not go through recomputed parts of every model
        model = {"adapter": adapter, "gradient_checkpointing": True}
        assert relative(first_gradient(make_trainer(model=model, train=train, **settings)), whole) < tolerance


@pytest.mark.parametrize("model", ["lm", "t5"])
@pytest.mark.parametrize("hvp", ["finite_difference", "central_difference"])
def test_a_finite_difference_is_the_exact_product(make_trainer, hvp, model, request):
    terms = {
        "lambda_direction": 0.0,
        "lambda_magnitude": 0.2,
        "lambda_alignment": 0.0,
        "lambda_source": 0.0,
        "warmup_ratio": 0.0,
    }
    difference, exact = (
        make_trainer(
            model={"path": str(request.getfixturevalue(model))},
            sources=[],
            guidance={**terms, "fd_relative_change": 0.02, "hvp": mode},
            train={"max_steps": 6},
        )
        for mode in (hvp, "exact")
    )
    difference.run()
    exact.flat.values.copy_(difference.flat.values)
    first, second = (curvature(trainer) for trainer in (difference, exact))
    assert second.norm() > 1e-3
    assert torch.cosine_similarity(first, second, dim=0) > 0.98


def curvature(trainer: Trainer) -> torch.Tensor:
    """H·v [P] of the magnitude term on the first target batch."""
    passes = trainer.passes
    pairs = passes.target_batch(0)
    passes.backward(pairs, len(pairs), trainer.step, TARGET)
    before = trainer.flat.gradient.clone()
    trainer.guidance.apply(
        trainer.step,
        lambda: passes.losses(pairs, len(pairs), trainer.step, TARGET),
        None,
        passes.sum.all_reduce,
    )
    return trainer.flat.gradient - before


def answers(outcome) -> tuple[str, ...]:
    assert isinstance(outcome.predictions, TextPredictions)
    return outcome.predictions.texts


def test_with_every_term_off_it_is_the_target_alone_bit_for_bit(make_generation):
    off = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
    config = make_generation(guidance=off)
    target, sources = load_tasks(config)
    weights = {source.name: 0.5 for source in sources}
    one = run_training(config, target, sources, weights, torch.device("cpu"))
    other = run_training(plain(config), target, [], {}, torch.device("cpu"))
    for (name, mine), theirs in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert answers(one) == answers(other)


def test_sources_teach_the_target_and_shuffled_ones_do_not(make_generation):
    config = make_generation(
        train={"max_steps": 80, "batch_size": 12, "source_batch_size": 24}, guidance=TERMS
    )
    target, sources = load_tasks(config)
    exact = {}
    for source in sources:
        outcome = run_training(config, target, sources, {source.name: 1.0}, torch.device("cpu"))
        pairs = zip(answers(outcome), target.test.completions)
        exact[source.name] = np.mean([text == reference for text, reference in pairs])
    assert exact["clean"] > 0.9
    assert exact["shuffled"] < 0.5


def test_answers_do_not_depend_on_the_batch_size(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    one, other = (predict_rows(model, target, target.test, size) for size in (1, 7))
    tokens = model.tokenise(target, target.test)
    assert isinstance(model, LanguageModel)
    assert isinstance(tokens, PromptedRows)
    assert isinstance(one, TextPredictions)
    assert isinstance(other, TextPredictions)
    assert one.texts == other.texts
    assert one.texts == tuple(generate_texts(model, target, target.test, 5))
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
    np.testing.assert_array_equal(one.tokens, [len(own) for (own,) in tokens.candidates])


def test_progress_is_told_batch_by_batch(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    told = []
    rows = target.test.take(np.arange(10))
    model = build_model(config, [target])
    predict_rows(model, target, rows, 4, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.slow
def test_two_workers_train_and_answer_as_one(make_generation, generation, labels, tmp_path):
    sources = [{**generation["sources"][0]}, {**labels, "name": "flipped"}]
    changes = {"sources": sources, "guidance": TERMS, "alignment": {"refresh_interval": 2}}
    config = make_generation(**changes, train={"max_steps": 6, "learning_rate": 1e-5, "micro_batch_size": 3})
    target, tasks = load_tasks(config)
    multiprocessing.spawn(gloo_worker.worker, (2, tmp_path, [config], target, tasks), nprocs=2)
    expected = gloo_worker.alone(config, target, tasks)
    start = dict(build_model(config, [target, *tasks]).named_parameters())
    for rank in range(2):
        for found in torch.load(tmp_path / f"{rank}.pt", weights_only=False):
            assert found["texts"] == expected["texts"]
            assert found["weights"] == pytest.approx({"clean": 0.2, "flipped": 0.8})
            # Adam turns the rounding of a gradient that is next to nothing into a step: the whole way counts.
            assert apart(found["values"], expected["values"]) < 0.01 * apart(start, expected["values"])
            torch.testing.assert_close(found["probabilities"], expected["probabilities"], atol=1e-4, rtol=0.0)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Distance between two sets of parameters."""
    return float(sum(((one[name] - other[name]).detach() ** 2).sum() for name in other)) ** 0.5


@pytest.mark.parametrize("method", ["zero_shot", "in_context"])
def test_without_training_the_model_answers_as_it_is(make_generation, method):
    off = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
    settings = {"method": method, "context_length": 100}
    config = make_generation(
        guidance=off, sources=[], train=settings, target={"prompt": "Review: {text}\nLabel:"}
    )
    target, _ = load_tasks(config)
    outcome = run_training(config, target, [], {}, torch.device("cpu"))
    assert len(answers(outcome)) == len(target.test)
    assert np.isfinite(outcome.predictions.losses).all()
    assert outcome.trainable == 0
