"""The task model: heads keyed by label set, zero at the start; predictions that padding does not touch."""

import numpy as np
import pytest
import torch
import toy

from sgg_ray.models import build_model
from sgg_ray.tasks import Rows, Task


def make_task(name, labels, texts, numbers, role="source") -> Task:
    rows = Rows(tuple(texts), np.array(numbers, dtype=np.int64))
    return Task(name, tuple(labels), rows, rows.take([]), role)


def texts(*lengths: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(toy.PLAIN, size=length)) for length in lengths]


@pytest.fixture
def tasks() -> list[Task]:
    lengths = (1, 3, 7, 15)
    return [
        make_task("first", ("negative", "positive"), texts(*lengths), [0, 1, 0, 1], "target"),
        make_task("second", ("negative", "positive"), texts(5, 2), [1, 0]),
        make_task("third", ("cold", "mild", "warm"), texts(4, 9, 6), [2, 0, 1]),
    ]


@pytest.fixture
def model(make_config, tasks):
    return build_model(make_config(), tasks)


def batch_of(model, task, rows=None):
    tokens = model.tokenise(task, task.train)
    return model.collate([(tokens, row) for row in (range(len(tokens)) if rows is None else rows)])


def set_heads(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.heads.parameters():
        parameter.data.normal_(generator=generator)


def test_equal_label_sets_share_a_head_and_others_do_not(model, tasks):
    first, second, third = tasks
    assert first.head == second.head != third.head
    assert list(model.labels.items()) == [(first.head, first.labels), (third.head, third.labels)]
    assert model.head(first.head).weight.shape == (2, toy.WIDTH)
    assert model.head(third.head).weight.shape == (3, toy.WIDTH)
    names = dict(model.named_parameters())
    assert names[model.head_parameters(third.head)[0]] is model.head(third.head).weight


def test_label_names_may_hold_anything(make_config):
    task = make_task("dots", ("a.b", "c d", ""), ["word1"], [0])
    model = build_model(make_config(), [task])
    assert model.eval().predictions(batch_of(model, task)).shape == (1, 3)


def test_a_zero_head_predicts_uniformly(model, tasks):
    model.eval()
    for task in tasks:
        probabilities = model.predictions(batch_of(model, task))
        assert torch.equal(probabilities, torch.full_like(probabilities, 1 / len(task.labels)))


def test_every_seed_starts_with_the_same_model(make_config, tasks):
    first, second = (build_model(make_config(seed=seed), tasks).state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adapters_start_from_the_seed(make_config, tasks):
    adapter = {"model": {"adapter": {"peft_type": "lora", "r": 2}}}
    states = [build_model(make_config(seed=seed, **adapter), tasks).state_dict() for seed in (0, 0, 1)]
    same, differs = (
        [torch.equal(states[0][name], other[name]) for name in states[0] if "lora_A" in name]
        for other in states[1:]
    )
    assert all(same)
    assert same
    assert not any(differs)


@pytest.mark.parametrize("pooling", ["mean", "cls", "own"])
def test_padding_does_not_change_a_prediction(make_config, tasks, pooling):
    model = build_model(make_config(model={"pooling": pooling}), tasks).eval()
    set_heads(model)
    task = tasks[0]
    alone = torch.cat([model.predictions(batch_of(model, task, [row])) for row in range(len(task.train))])
    together = model.predictions(batch_of(model, task))
    assert batch_of(model, task, [0]).input_ids.shape[1] < batch_of(model, task).input_ids.shape[1]
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_features_have_a_fixed_length(model, tasks):
    model.eval()
    norms = model.features(batch_of(model, tasks[0])).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, toy.WIDTH**0.5))


def test_a_mixed_batch_has_each_examples_own_loss(model, tasks):
    model.eval()
    set_heads(model)
    tokens = [model.tokenise(task, task.train) for task in tasks]
    mixed = [(tokens[2], 0), (tokens[0], 1), (tokens[1], 0), (tokens[2], 2), (tokens[0], 3)]
    together = model.losses(model.collate(mixed))
    alone = [model.losses(model.collate([pair])).item() for pair in mixed]
    np.testing.assert_allclose(sorted(together.tolist()), sorted(alone), rtol=1e-5)
    assert together.sum().item() == pytest.approx(sum(alone), rel=1e-5)


def test_long_texts_are_cut(make_config):
    task = make_task("long", ("a", "b"), ["word1 " * 500], [0])
    model = build_model(make_config(train={"max_length": 16}), [task])
    (ids,) = model.tokenise(task, task.train).ids
    assert len(ids) == 16


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_and_parameters_stay_in_full_precision(make_config, tasks, precision):
    model = build_model(make_config(model={"precision": precision}), tasks)
    loss = model.losses(batch_of(model, tasks[0]))
    assert loss.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_gradient_checkpointing_changes_no_gradient(make_config, tasks):
    gradients = []
    for on in (False, True):
        adapter = {"peft_type": "lora", "r": 2}
        model = build_model(make_config(model={"gradient_checkpointing": on, "adapter": adapter}), tasks)
        set_heads(model)
        model.train()
        torch.manual_seed(0)
        model.losses(batch_of(model, tasks[0])).sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad and p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 2
    for plain, checkpointed in zip(*gradients):
        torch.testing.assert_close(plain, checkpointed)
