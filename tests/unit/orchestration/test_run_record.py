"""MLflow gets the settings that count, and of rows their digests."""

from dataclasses import replace

import mlflow

from sgg_ray.orchestration.run_record import (
    evaluation_dataset,
    fingerprint,
    tracked_datasets,
    tracked_parameters,
    tracked_tags,
)
from sgg_ray.tasks import load_tasks
from sgg_ray.tracking import Tracker


def test_settings_of_other_commands_and_those_not_set_are_left_out(make_config):
    config = make_config(compare={"strategies": [{"name": "full"}]}, tune={"num_samples": 2})
    sections = {key.split(".")[0] for key in tracked_parameters(config, "train")}
    assert not {"tune", "compare"} & sections
    assert {"model", "target", "train", "guidance", "sources"} <= sections
    assert "tune.num_samples" in tracked_parameters(config, "tune")
    assert None not in tracked_parameters(config, "train").values()


def test_settings_that_have_no_say_are_left_out(make_config):
    trained = set(tracked_parameters(make_config(), "train"))
    assert {"target.columns.text", "target.shots", "guidance.lambda_direction", "train.max_steps"} <= trained
    assert not [
        key for key in trained if key.startswith("tracking.") or "completion" in key or "prompt" in key
    ]
    assert not {"train.budget", "train.max_new_tokens", "target.split", "sources.clean.split"} & trained
    assert "train.budget" in tracked_parameters(make_config(train={"method": "auto"}), "train")
    hub = make_config(target={"path": "hf://owner/name", "split": "validation"})
    assert tracked_parameters(hub, "train")["target.split"] == "validation"
    scored = set(tracked_parameters(make_config(), "score"))
    assert {key for key in scored if key.startswith(("train.", "guidance."))} == {
        "train.max_length",
        "train.share_labels",
        "train.head",
    }
    numbers = tracked_parameters(make_config(target={"kind": "regression"}, sources=[]), "train")
    assert numbers["target.columns.label"] == "label"
    assert "train.max_new_tokens" not in numbers
    answers = make_config(
        target={"kind": "generation"}, sources=[], model={"path": "causal"}, train={"calibration_folds": 0}
    )
    spoken = set(tracked_parameters(answers, "train"))
    assert {"target.columns.prompt", "target.columns.completion", "train.max_new_tokens"} <= spoken
    assert not {"target.columns.text", "target.columns.label", "target.labels"} & spoken


def test_rows_are_known_by_their_digests(make_config):
    config = make_config()
    target, sources = load_tasks(config)
    found = tracked_datasets(config, [target, *sources])
    assert [(dataset.name, dataset.context) for dataset in found] == [
        ("target", "training"),
        ("target", "test"),
        ("clean", "source"),
        ("flipped", "source"),
    ]
    assert [dataset.rows for dataset in found[:2]] == [len(target.train), len(target.test)]
    assert found[1] == evaluation_dataset(config, target)
    assert len({dataset.digest for dataset in found}) == 4  # flipped labels are other rows
    other = replace(target, test=target.test.take(range(len(target.test) - 1)))
    assert evaluation_dataset(config, other).digest != found[1].digest
    assert fingerprint([other]) != fingerprint([target]) == fingerprint([load_tasks(config)[0]])


def test_mlflow_shows_them_as_inputs(make_config, tmp_path):
    config = make_config()
    target, sources = load_tasks(config)
    tracker = Tracker.start(
        config.tracking.uri,
        "tests",
        "run",
        tags=tracked_tags(config, "train", "runs/toy"),
        datasets=tracked_datasets(config, [target, *sources]),
    )
    assert tracker.finish()
    run = mlflow.MlflowClient(config.tracking.uri).get_run(tracker.run_id)
    contexts = {(entry.dataset.name, entry.tags[0].value) for entry in run.inputs.dataset_inputs}
    assert contexts == {
        ("target", "training"),
        ("target", "test"),
        ("clean", "source"),
        ("flipped", "source"),
    }
    assert run.data.tags["mlflow.source.name"] == "sgg train"
    assert run.data.tags["mlflow.user"]
