"""A sweep goes on from its own JSON; what Ray Tune has pickled in the folder of a run is never read."""

import pickle

import pytest

from sgg_ray.artifacts import RunFolder
from sgg_ray.errors import ConfigError
from sgg_ray.orchestration.tune.kept_trials import TRIALS, KeptTraining, KeptTrial, read_trials, write_trials

TRAINING = KeptTraining(losses=[0.5, 0.25], correct=[1.0, 0.0], seconds=1.5)


@pytest.fixture
def folder(make_config):
    config = make_config(name="sweep")
    folder = RunFolder(config.ray.storage_path, "sweep")
    folder.begin(config)
    return folder


def test_trials_are_read_as_they_were_written(folder):
    assert read_trials(folder) == {}
    trials = {
        "trial_1": KeptTrial(values={"guidance.lambda_direction": 0.1 + 0.2, "train.max_steps": 3}),
        "trial_12": KeptTrial(
            values={"model.adapter": None}, trainings=[TRAINING] * 2, failure="no gradients"
        ),
    }
    write_trials(folder, trials)
    again = read_trials(folder)
    assert again == trials
    assert again["trial_1"].is_of({"guidance.lambda_direction": 0.1 + 0.2, "train.max_steps": 3})
    assert not again["trial_1"].is_of({"guidance.lambda_direction": 0.3, "train.max_steps": 3})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"trial_x": {"values": {}}}',
        b'{"trial_1": {}}',
        b'{"trial_1": {"values": {}, "trainings": [{"losses": "many", "correct": [], "seconds": 1}]}}',
        b"[" * 100_000,
        pickle.dumps({"trial_1": 1}),
    ],
    ids=range(8),
)
def test_what_was_not_written_here_is_refused(folder, content):
    (folder.path / TRIALS).write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trials(folder)
