"""Tokens a second, share of the device's peak, memory and the time that batches take."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from sgg_ray.orchestration.messages import StepDone
from sgg_ray.orchestration.train import train_worker
from sgg_ray.orchestration.train.history import History
from sgg_ray.training import throughput

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}
ADAPTER = {"peft_type": "lora", "r": 16, "target_modules": ["query", "value"]}


def real_tokens(pairs) -> int:
    return sum(len(tokens.ids[row]) for tokens, row in pairs)


def test_tokens_of_batches_count_once_and_operations_for_every_pass(make_trainer, monkeypatch):
    monkeypatch.setattr(throughput, "peak_of", lambda device: 1e9)
    trainer = make_trainer(
        guidance=TERMS,
        model={"precision": "bfloat16"},
        train={"max_steps": 6, "logging_steps": 3, "batch_size": 5, "source_batch_size": 7},
    )
    events = []
    trainer.run(events.extend)
    told = [event for event in events if "tokens_per_second" in event]
    assert [event["step"] for event in told] == [2, 5]
    for event in told:
        steps, seconds = range(event["step"] - 2, event["step"] + 1), 3 * event["seconds"]
        passes = trainer.passes
        target = sum(real_tokens(passes.target_batch(step)) for step in steps)
        source = sum(real_tokens(passes.source_batch(step, trainer.weights)) for step in steps)
        assert event["tokens_per_second"] * seconds == pytest.approx(target + source, rel=1e-4)
        work = throughput.operations_of_a_token(trainer.model)
        assert event["mfu"] * 1e9 * seconds == pytest.approx((2 * target + source) * work, rel=1e-4)
        assert 0 < event["data_share"] < 1
        assert 0.05 < event["peak_memory_gib"] < 64


def test_nothing_is_said_of_an_unknown_device(make_trainer):
    events = []
    make_trainer(train={"max_steps": 2}).run(events.extend)
    assert "tokens_per_second" in events[-1]
    assert "mfu" not in events[-1]


@pytest.mark.parametrize(
    "model", [{}, {"adapter": ADAPTER}, {"trainable": "heads"}], ids=["full", "lora", "heads"]
)
def test_operations_are_those_that_a_pass_makes(make_trainer, model):
    trainer = make_trainer(model=model, used=())
    batch = trainer.model.collate([(trainer.target, row) for row in range(8)])
    with FlopCounterMode(display=False) as counter:
        trainer.model.losses(batch).mean().backward()
    places = batch.input_ids.numel()  # padding is computed as well
    assert counter.get_total_flops() / places == pytest.approx(
        throughput.operations_of_a_token(trainer.model), rel=0.25
    )


class Nobody:
    """A log whose messages nobody takes."""

    def tell(self, message, attempt=""):
        return self

    def taken(self):
        return 0

    def require_driver(self):
        pass


def test_ray_train_hears_of_losses_and_throughput(monkeypatch):
    heard = []
    monkeypatch.setattr(
        train_worker.ray.train, "report", lambda metrics, checkpoint: heard.append((metrics, checkpoint))
    )
    history = History("guided", Nobody())  # pyright: ignore[reportArgumentType]
    history.add(StepDone({"step": 3, "loss": 0.5, "tokens_per_second": 70.0}))
    for first in (True, False):
        train_worker._report({"guided": history}, first, 4, lambda folder: None, final=False, writes=first)
    assert heard[0][0] == {"step": 4, "loss": 0.5, "tokens_per_second": 70.0, "final": False}
    assert heard[0][1] is not None
    assert heard[1] == ({"step": 4, "final": False}, None)
