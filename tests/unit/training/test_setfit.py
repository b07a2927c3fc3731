"""SetFit by its own package, in the model of all other strategies."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sgg_ray.errors import ConfigError
from sgg_ray.models import EncoderClassifier, build_model
from sgg_ray.tasks import Rows, Task, load_tasks
from sgg_ray.training import check_setfit, run_training
from sgg_ray.training.head import take_head

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}


@pytest.fixture
def config(make_config):
    return make_config(
        sources=[], guidance=OFF, train={"method": "setfit", "max_steps": 6, "learning_rate": 1e-3}
    )


def test_it_trains_backbone_and_head_and_is_repeatable(config):
    target, _ = load_tasks(config)
    before = build_model(config, [target]).state_dict()
    events = []
    from sgg_ray.training import Hooks

    outcomes = [
        run_training(config, target, [], {}, torch.device("cpu"), hooks=Hooks(on_events=events.extend))
        for _ in range(2)
    ]
    after = outcomes[0].model.state_dict()
    assert after.keys() == before.keys()
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"backbone", "heads"}
    np.testing.assert_array_equal(outcomes[0].probabilities, outcomes[1].probabilities)
    right = (outcomes[0].probabilities.argmax(1) == target.test.labels).mean()
    assert right > 0.6  # the words tell the label; chance is 0.5
    assert [event["step"] for event in events] == [5, 5]


def test_a_model_that_is_stored_in_half_precision_is_trained_in_full(config, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(config.model.path).half().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(config.model.path).save_pretrained(tmp_path)
    model = config.model.model_copy(update={"path": str(tmp_path)})
    target, _ = load_tasks(config)
    outcome = run_training(config.model_copy(update={"model": model}), target, [], {}, torch.device("cpu"))
    trained = torch.cat([value.flatten() for value in outcome.model.backbone.parameters()])
    assert (trained != trained.half().float()).any()


@pytest.mark.parametrize("labels", [("no", "yes"), ("no", "perhaps", "yes")])
def test_the_head_predicts_what_the_regression_predicts(config, labels):
    random = np.random.default_rng(0)
    classes = np.arange(60) % len(labels)
    rows = Rows(("x",) * 60, classes)
    task = Task("t", labels, rows, rows, "target")
    model = build_model(config, [task])
    assert isinstance(model, EncoderClassifier)
    features = random.normal(size=(60, model.width)) + classes[:, None]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    regression = LogisticRegression().fit(features, classes)
    take_head(model, task.head, regression)
    scaled = torch.from_numpy(features * model.width**0.5).float()
    with torch.no_grad():
        found = model.head(task.head)(scaled).softmax(-1).numpy()
    np.testing.assert_allclose(found, regression.predict_proba(features), atol=1e-5)


def test_what_it_cannot_do_is_told(config, make_config, monkeypatch):
    with pytest.raises(ValueError, match=r"guidance.lambda_direction: train.method setfit has no guidance"):
        make_config(train={"method": "setfit"})
    with pytest.raises(ValueError, match="leave out adapter and trainable"):
        make_config(guidance=OFF, train={"method": "setfit"}, model={"trainable": "heads"})
    with pytest.raises(ValueError, match=r"train.head: train.method setfit fits a head of its own"):
        make_config(guidance=OFF, train={"method": "setfit", "head": "label_names"})
    monkeypatch.setattr("sgg_ray.training.setfit.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package setfit"):
        check_setfit(config)
