"""What a sweep searches is one training, whose values have an effect."""

from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.tune.sweep_plan import prepare_tuning


class Notes(NullListener):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_file_of_strategy_auto_is_searched_as_one_training(make_config):
    listener = Notes()
    config = make_config(
        train={"method": "auto", "learning_rate": 5e-5},
        alignment={"weighting": "evidence"},
        guidance={"interval": 2},
    )
    plan = prepare_tuning(config, listener)
    assert (plan.config.train.method, plan.config.alignment.weighting) == ("gradients", "relu")
    assert (plan.config.train.share_labels, plan.config.train.learning_rate) == (True, 1e-4)
    assert plan.config.guidance.interval == 2
    assert any("strategy sgg in place of auto" in note for note in listener.notes)


def test_a_language_model_is_searched_as_auto_would_train_it(make_config, lm):
    listener = Notes()
    adapter = {"peft_type": "lora", "r": 2, "target_modules": ["q_proj"]}
    train = {"method": "auto", "learning_rate": 5e-5, "max_length": 48}
    plan = prepare_tuning(make_config(model={"path": str(lm), "adapter": adapter}, train=train), listener)
    assert (plan.config.train.learning_rate, plan.config.guidance.fd_step) == (1e-3, 0.3)
    assert any("strategy sgg-language-model in place of auto" in note for note in listener.notes)


def test_other_files_are_searched_as_they_are(make_config):
    listener = Notes()
    config = make_config()
    assert prepare_tuning(config, listener).config.train == config.train
    assert not any("in place of auto" in note for note in listener.notes)
