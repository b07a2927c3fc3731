"""Sources that have some of the target's labels train its head."""

import numpy as np
import torch

from sgg_ray.models import EncoderClassifier, build_model, load_model, save_model
from sgg_ray.tasks import Rows, Task, sharing_labels
from sgg_ray.tasks.task_loading import NO_ROWS
from sgg_ray.training import run_training

CPU = torch.device("cpu")
THREE = ("negative", "neutral", "positive")
OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0}


def task(name, labels, numbers, role="source") -> Task:
    texts = tuple(
        f"{'good1' if labels[number] == 'positive' else 'bad1'} word{row}"
        for row, number in enumerate(numbers)
    )
    rows = Rows(texts, np.array(numbers))
    return Task(name, labels, rows, rows if role == "target" else NO_ROWS, role)


def test_rows_with_labels_of_the_target_are_kept_and_numbered_as_there():
    target = task("t", ("negative", "positive"), [0, 1], "target")
    source = task("s", ("positive", "other", "negative"), [0, 1, 2, 0])
    (cut,) = sharing_labels(target, [source])
    assert cut.labels == ("negative", "positive")
    assert cut.head == target.head
    assert cut.train.labels.tolist() == [1, 0, 1]
    assert cut.train.texts == tuple(source.train.texts[row] for row in (0, 2, 3))


def test_sources_with_one_common_label_or_with_labels_that_the_target_has_all_stay_as_they_are():
    target = task("t", THREE, [0, 1, 2], "target")
    sources = [task("a", ("neutral", "loud"), [0, 1]), task("b", ("positive", "negative"), [0, 1])]
    assert sharing_labels(target, sources) == sources


def test_a_source_with_two_of_three_labels_trains_those_outputs_of_the_targets_head_alone(make_config):
    target = task("target", THREE, [0, 1, 2] * 4, "target")
    source = task("s", ("positive", "negative"), [0, 1] * 8)
    config = make_config(train={"share_labels": True})
    model = build_model(config, [target, source])
    assert [*model.labels] == [target.head]
    assert model.owner(source.head) == target.head
    assert isinstance(model, EncoderClassifier)
    head = model.head(target.head)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(0))
    rows = model.tokenise(source, source.train)
    model.eval()
    batch = model.collate([(rows, 0), (rows, 1)])
    logits = head(model.features(batch))
    expected = torch.nn.functional.cross_entropy(logits[:, [2, 0]], batch.labels, reduction="none")
    losses = model.losses(batch)
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert head.weight.grad is not None
    assert head.weight.grad[[0, 2]].abs().sum() > 0
    assert not head.weight.grad[1].any()


def test_a_training_with_shared_labels_is_saved_without_the_sources_label_sets(make_config, tmp_path):
    target = task("target", THREE, [0, 1, 2] * 4, "target")
    source = task("s", ("positive", "negative"), [0, 1] * 8)
    config = make_config(train={"share_labels": True, "max_steps": 4}, guidance={"lambda_alignment": 0.05})
    outcome = run_training(config, target, [source], {"s": 1.0}, CPU)
    own_heads = run_training(make_config(train={"max_steps": 4}), target, [source], {"s": 1.0}, CPU)
    assert own_heads.trainable == outcome.trainable + 2 * (32 + 1)
    save_model(outcome.model, tmp_path, base="toy", target_head=target.head)
    loaded, head = load_model(tmp_path)
    assert head == target.head
    assert [*loaded.labels] == [target.head]
    assert isinstance(loaded, EncoderClassifier)
    assert isinstance(outcome.model, EncoderClassifier)
    assert torch.equal(loaded.head(head).weight, outcome.model.head(head).weight)
