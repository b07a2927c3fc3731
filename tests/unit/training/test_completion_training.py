"""Training on rows with completions, alone and beside rows with labels: guidance, micro-batches, workers, answers."""

import gloo_worker
import numpy as np
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing

from sgg_ray.errors import TrainingError
from sgg_ray.models import PromptedRows, build_model
from sgg_ray.models.batch import TokenisedRows
from sgg_ray.scoring import LayerComparison, TaskSummariser, score_tasks
from sgg_ray.scoring.class_contrasts import Part
from sgg_ray.scoring.completion_contrasts import (
    NEGATIVES,
    completion_contrasts,
    completion_parts,
    with_negatives,
)
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, Trainer, answer, generate_texts, plain, run_training

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


@pytest.mark.parametrize("hvp", ["finite_difference", "central_difference"])
def test_a_finite_difference_is_the_exact_product(make_trainer, hvp):
    terms = {
        "lambda_direction": 0.0,
        "lambda_magnitude": 0.2,
        "lambda_alignment": 0.0,
        "lambda_source": 0.0,
        "warmup_ratio": 0.0,
    }
    difference, exact = (
        make_trainer(
            sources=[], guidance={**terms, "fd_relative_change": 0.02, "hvp": mode}, train={"max_steps": 6}
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
    pairs = trainer._target_pairs(0)
    trainer._backward(pairs, len(pairs), stage=2)
    before = trainer.flat.gradient.clone()
    trainer.guidance.apply(
        trainer.step, lambda: trainer._losses(pairs, len(pairs), 2), None, trainer.sum.all_reduce
    )
    return trainer.flat.gradient - before


def test_with_every_term_off_it_is_the_target_alone_bit_for_bit(make_generation):
    off = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
    config = make_generation(guidance=off)
    target, sources = load_tasks(config)
    weights = {source.name: 0.5 for source in sources}
    one = run_training(config, target, sources, weights, torch.device("cpu"))
    other = run_training(plain(config), target, [], {}, torch.device("cpu"))
    for (name, mine), theirs in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert one.answers.texts == other.answers.texts


def test_sources_teach_the_target_and_shuffled_ones_do_not(make_generation):
    config = make_generation(
        train={"max_steps": 80, "batch_size": 12, "source_batch_size": 24}, guidance=TERMS
    )
    target, sources = load_tasks(config)
    exact = {}
    for source in sources:
        outcome = run_training(config, target, sources, {source.name: 1.0}, torch.device("cpu"))
        pairs = zip(outcome.answers.texts, target.test.completions)
        exact[source.name] = np.mean([text == reference for text, reference in pairs])
    assert exact["clean"] > 0.9
    assert exact["shuffled"] < 0.5


def test_answers_do_not_depend_on_the_batch_size(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    one, other = (answer(model, target, target.test, size, SingleProcess()) for size in (1, 7))
    assert one.texts == other.texts
    assert one.texts == tuple(generate_texts(model, target, target.test, 5))
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
    tokens = model.tokenise(target, target.test)
    np.testing.assert_array_equal(one.tokens, [len(own) for (own,) in tokens.candidates])


def test_progress_is_told_batch_by_batch(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    told = []
    rows = target.test.take(np.arange(10))
    model = build_model(config, [target])
    answer(model, target, rows, 4, SingleProcess(), lambda done, total: told.append((done, total)))
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


def test_the_contrast_is_the_gradient_of_own_minus_others(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    rows = model.tokenise(target, target.train)
    part = Part(np.array([1, 4, 5, 7, 8]), np.full(5, 0.2))
    (found,) = completion_contrasts(model, rows, [part], batch_size=8)
    compared = with_negatives(rows, part.rows, model.max_length)
    total = torch.zeros(())
    for row in part.rows:
        own, *others = compared.candidates[row]
        assert own == rows.candidates[row][0]
        assert len(others) == NEGATIVES
        assert own not in others
        said = [log_likelihood(model, rows.ids[row].tolist(), one) for one in (own, *others)]
        total = total - 0.2 * (said[0] - sum(said[1:]) / NEGATIVES)
    expected = torch.autograd.grad(total, list(model.parameters()))
    flat = torch.cat([value.flatten() for value in expected])
    torch.testing.assert_close(found, flat, atol=1e-4, rtol=1e-3)


def log_likelihood(model, prompt: list[int], completion) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]])
    logits = model.backbone(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(completion)[:, None]).mean()


def test_every_completion_is_the_other_one_as_often_as_each(make_generation, tmp_path):
    rows = [{"prompt": f"word{n} good{n % 12}", "completion": f"word{n}"} for n in range(40)]
    path = str(toy.write_rows(tmp_path / "rows.jsonl", rows))
    target, _ = load_tasks(make_generation(target={"path": path, "shots": 12}))
    tokens = build_model(make_generation(), [target]).tokenise(target, target.train)
    compared = with_negatives(tokens, np.arange(12), 40)
    counts: dict = {}
    for _, *others in compared.candidates:
        for other in others:
            counts[other] = counts.get(other, 0) + 1
    assert set(counts.values()) == {NEGATIVES}
    assert len(counts) == 12


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(1, 12), st.randoms())
def test_parts_take_every_row_once_and_have_something_to_contrast(kinds, most, random):
    own = tuple(((kind, 9),) for kind in kinds)
    ids = tuple(np.array([1]) for _ in kinds)
    rows = PromptedRows("", ids, np.zeros(len(kinds), dtype=np.int64), candidates=own)
    chosen = np.array(random.sample(range(len(kinds)), len(kinds)))
    if len(set(kinds)) == 1:
        with pytest.raises(ValueError, match="one completion only"):
            completion_parts(rows, chosen, most)
        return
    parts = completion_parts(rows, chosen, most)
    assert len(parts) <= most
    assert sorted(np.concatenate([part.rows for part in parts])) == list(range(len(kinds)))
    for part in parts:
        assert len({kinds[row] for row in part.rows}) > 1
        assert part.weights.sum() == pytest.approx(1)
        compared = with_negatives(rows, part.rows, 40)
        widths = {len(compared.candidates[row]) for row in part.rows}
        assert len(widths) == 1
        assert 2 <= widths.pop() <= 1 + NEGATIVES


def test_what_makes_a_completion_likely_anywhere_cancels(make_generation):
    """A bonus for a token, whatever the prompt, has a gradient of plain losses and none of balanced contrasts."""
    config = make_generation()
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    bonus = torch.zeros(len(model.tokenizer), requires_grad=True)
    rows = model.tokenise(target, target.train)
    (part,) = completion_parts(rows, np.arange(6), 1)
    compared = with_negatives(rows, part.rows, 40)
    total = torch.zeros(())
    plain_loss = torch.zeros(())
    for row in part.rows:
        own, *others = (bonus[list(one)].mean() for one in compared.candidates[row])
        total = total - (own - sum(others) / len(others))
        plain_loss = plain_loss - own
    (contrast,) = torch.autograd.grad(total, bonus, retain_graph=True)
    (loss,) = torch.autograd.grad(plain_loss, bonus)
    distinct = len({rows.candidates[row][0] for row in part.rows}) == len(part.rows)
    assert loss.norm() > 0.5
    assert contrast.norm() < (1e-6 if distinct else 0.5 * loss.norm())


def test_clean_sources_score_above_shuffled_ones(make_generation, tmp_path):
    """At a model that knows a little of the task, as a pre-trained one does: the random one has nothing to compare."""
    before = str(toy.write_rows(tmp_path / "before.jsonl", toy.answers(400, seed=9)))
    learnt = make_generation(
        target={"path": before, "shots": 200}, sources=[], train={"max_steps": 20, "batch_size": 32}
    )
    task, _ = load_tasks(learnt)
    model = run_training(plain(learnt), task, [], {}, torch.device("cpu")).model
    for seed in range(2):
        config = make_generation(seed=seed, target={"shots": 16})
        target, sources = load_tasks(config)
        found = score_tasks(TaskSummariser(model, config.alignment, seed), target, sources)
        clean, shuffled = found["clean"], found["shuffled"]
        assert clean is not None
        assert shuffled is not None
        assert clean.low > 0 > shuffled.low
        assert clean.value > 0.5 + shuffled.value


def test_a_mixed_pool_is_scored_and_looked_at_layer_by_layer(make_generation, generation, labels):
    config = make_generation(sources=[generation["sources"][0], labels])
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources])
    found = score_tasks(TaskSummariser(model, config.alignment, 0), target, sources)
    assert all(score is not None and np.isfinite(score.value) for score in found.values())
    layers = LayerComparison(model, 0)
    gradients = layers.target(target, ())
    for source in sources:
        cosines = layers.source(source, gradients)
        assert cosines.keys() == gradients.layers.keys()
        assert all(abs(cosine) <= 1 for cosine in cosines.values())


def test_one_completion_in_all_rows_is_nothing_to_compare(make_generation, tmp_path):
    rows = [{"prompt": f"word{n}", "completion": "very"} for n in range(20)]
    source = {"name": "same", "kind": "generation", "path": str(toy.write_rows(tmp_path / "s.jsonl", rows))}
    config = make_generation(sources=[source])
    target, sources = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, 0)
    assert score_tasks(summariser, target, sources) == {"same": None}
    with pytest.raises(TrainingError, match="one completion only: no contrast to compare"):
        LayerComparison(summariser.model, 0).source(
            sources[0], LayerComparison(summariser.model, 0).target(target, ())
        )


@pytest.mark.parametrize("method", ["zero_shot", "in_context"])
def test_without_training_the_model_answers_as_it_is(make_generation, method):
    off = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
    settings = {"method": method, "context_length": 100}
    config = make_generation(
        guidance=off, sources=[], train=settings, target={"prompt": "Review: {text}\nLabel:"}
    )
    target, _ = load_tasks(config)
    outcome = run_training(config, target, [], {}, torch.device("cpu"))
    assert len(outcome.answers.texts) == len(target.test)
    assert np.isfinite(outcome.answers.losses).all()
    assert outcome.trainable == 0
