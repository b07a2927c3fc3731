"""Trainings whose sources a bandit chooses: what is drawn, what is learnt from it, and how it resumes."""

import numpy as np
import pytest
import torch

from sgg_ray.training import load_checkpoint, save_checkpoint
from sgg_ray.training.passes import EACH_SOURCE, TARGET

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0}
BOTH = pytest.mark.parametrize("weighting", ["exp3", "ucb1"])


def bandit_trainer(make_trainer, weighting, **train):
    return make_trainer(guidance=OFF, alignment={"weighting": weighting}, train=train)


@BOTH
def test_the_source_batch_is_shared_by_four_turns(make_trainer, weighting):
    update = bandit_trainer(make_trainer, weighting, source_batch_size=10).phases[0].update
    update.bandit.learn({0: 0.1, 1: 0.1})
    batch = update.batch(3)
    assert sum(map(len, batch.values())) == 10
    assert update.taken.sum() == 4
    for number, pairs in batch.items():
        assert {id(rows) for rows, _ in pairs} == {id(update.passes.sources[update.names[number]])}


def test_rewards_are_cosines_with_the_target_over_what_both_share(make_trainer):
    trainer = bandit_trainer(make_trainer, "ucb1", weight_decay=0.0)
    trainer.model.eval()
    update, passes, flat = trainer.phases[0].update, trainer.passes, trainer.flat
    for _ in range(2):  # away from the zero head, where the backbone has no gradient
        trainer._step()
        trainer.step += 1
    trainer.model.eval()
    batch = {
        0: [(passes.sources["clean"], row) for row in range(8)],
        1: [(passes.sources["flipped"], row) for row in range(8)],
    }
    gradients, _ = update._gradients(batch, 8, 2)
    own = gradients.clone()
    passes.backward(batch[0], 8, 2, EACH_SOURCE)
    torch.testing.assert_close(own[0], flat.gradient)
    pairs = passes.target_batch(2)
    passes.backward(pairs, len(pairs), 2, TARGET)
    learnt = {}
    update.bandit.learn = learnt.update
    update._learn([0, 1], own)
    where = trainer.layout.shared
    expected = torch.cosine_similarity(own[:, where], flat.gradient[where][None])
    np.testing.assert_allclose([learnt[0], learnt[1]], expected.tolist(), rtol=1e-5)
    assert learnt[0] > 0 > learnt[1]


@BOTH
def test_the_flipped_source_is_drawn_less_and_less(make_trainer, weighting):
    events = []
    trainer = bandit_trainer(make_trainer, weighting, max_steps=60)
    trainer.run(events.extend)
    shares = [event["share/flipped"] for event in events]
    assert shares[-1] < (
        0.4 if weighting == "exp3" else 0.48
    )  # bounds of UCB1 are still wide after 240 turns
    assert all(event["share/flipped"] + event["share/clean"] == pytest.approx(1.0) for event in events)


@BOTH
def test_a_resumed_bandit_is_the_uninterrupted_one_bit_for_bit(make_trainer, tmp_path, weighting):
    whole = bandit_trainer(make_trainer, weighting)
    whole.run(checkpoint=lambda trainer: trainer.step == 3 and save_checkpoint(trainer, tmp_path))
    resumed = bandit_trainer(make_trainer, weighting)
    load_checkpoint(resumed, tmp_path)
    assert resumed.step == 3
    resumed.run()
    assert torch.equal(resumed.flat.values, whole.flat.values)
    for name, value in whole.phases[0].update.state_dict().items():
        assert torch.equal(value, resumed.phases[0].update.state_dict()[name]), name


def test_a_gradient_that_is_not_finite_teaches_nothing(make_trainer):
    update = bandit_trainer(make_trainer, "exp3").phases[0].update
    update._learn([0, 1], torch.full((2, update.passes.flat.size), float("nan")))
    np.testing.assert_array_equal(update.bandit.rewards, 0.0)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"train": {"combine": "pcgrad"}}, "train.combine"),
        ({"alignment": {"refresh_interval": 5}}, "refresh_interval"),
    ],
)
def test_what_would_choose_the_sources_as_well_is_refused(make_config, section, key):
    changes = {**section, "alignment": {"weighting": "exp3", **section.get("alignment", {})}}
    with pytest.raises(ValueError, match=f"{key}: alignment.weighting exp3 chooses the sources"):
        make_config(guidance=OFF, **changes)
