"""A causal language model goes through scoring, training with new scores on the way, and prediction like any other."""

import numpy as np
import pandas
import pytest
import toy

from sgg_ray.config import Config
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.prediction import Predictor

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("database")]


def test_a_language_model_is_scored_trained_and_used(settings, data, tmp_path):
    toy.save_language_model(tmp_path / "lm")
    prompt = {"prompt": "Review: {text}\nLabel:"}
    clean = str(data / "clean.jsonl")
    changes = {
        "model": {"path": str(tmp_path / "lm"), "adapter": {"peft_type": "lora", "r": 4}},
        "target": prompt,
        "sources": [
            {"name": "clean", "path": clean, **prompt},
            {"name": "flipped", "path": clean, "flip_labels": 1.0, **prompt},
            {"name": "other", "path": str(data / "other.jsonl")},
        ],
        "alignment": {"refresh_interval": 4},
        "train": {"max_steps": 12, "learning_rate": 1e-2, "max_length": 40},
        "ray": {"storage_path": str(tmp_path / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    result = train(Config.model_validate(toy.merged(settings, changes)))
    report = {row.source: row for row in result.report.sources}
    # Labels of other names can be compared too: all parameters are shared.
    assert {row.space for row in report.values()} == {"all parameters"}
    assert report["clean"].score.value > 0 > report["flipped"].score.value
    assert report["other"].score is not None
    stored = pandas.read_parquet(result.folder / "predictions.parquet")
    again = Predictor(result.folder / "model", "cpu").probabilities(list(stored["text"]))
    np.testing.assert_allclose(again, stored[["p_negative", "p_positive"]], atol=1e-5)
