"""Scores of tasks with completions: a completion against others of its task, at the same prompt."""

import numpy as np
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.errors import TrainingError
from sgg_ray.models import LanguageModel, PromptedRows, build_model
from sgg_ray.scoring import LayerComparison, TaskSummariser, score_tasks
from sgg_ray.scoring.class_contrasts import Part
from sgg_ray.scoring.completion_contrasts import (
    NEGATIVES,
    completion_contrasts,
    completion_parts,
    with_negatives,
)
from sgg_ray.tasks import load_tasks
from sgg_ray.training import plain, run_training


@pytest.fixture
def labels(data):
    """A source with labels, for a mixed pool."""
    return {"name": "labels", "path": str(data / "clean.jsonl"), "prompt": "Review: {text}\nLabel:"}


def test_the_contrast_is_the_gradient_of_own_minus_others(make_generation):
    config = make_generation()
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    rows = model.tokenise(target, target.train)
    part = Part(np.array([1, 4, 5, 7, 8]), np.full(5, 0.2))
    (found,) = completion_contrasts(model, rows, [part], batch_size=8)
    assert isinstance(model, LanguageModel)
    assert isinstance(rows, PromptedRows)
    compared = with_negatives(rows, part.rows, model.prompter.room_beside)
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
    torch.testing.assert_close(found.whole(), flat, atol=1e-4, rtol=1e-3)


def log_likelihood(model, prompt: list[int], completion) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]])
    logits = model.backbone(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(completion)[:, None]).mean()


def test_every_completion_is_the_other_one_as_often_as_each(make_generation, tmp_path):
    rows = [{"prompt": f"word{n} good{n % 12}", "completion": f"word{n}"} for n in range(40)]
    path = str(toy.write_rows(tmp_path / "rows.jsonl", rows))
    target, _ = load_tasks(make_generation(target={"path": path, "shots": 12}))
    tokens = build_model(make_generation(), [target]).tokenise(target, target.train)
    compared = with_negatives(tokens, np.arange(12), lambda tokens: 40 - tokens)
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
        compared = with_negatives(rows, part.rows, lambda tokens: 40 - tokens)
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
    assert isinstance(rows, PromptedRows)
    (part,) = completion_parts(rows, np.arange(6), 1)
    compared = with_negatives(rows, part.rows, lambda tokens: 40 - tokens)
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
