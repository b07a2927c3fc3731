from dataclasses import replace

import pytest

from sgg_ray.models import LanguageModel, build_model
from sgg_ray.tasks import load_tasks


@pytest.fixture
def make_language_model(make_generation):
    """Target, model and configuration; template=... gives the tokenizer a chat template."""

    def make(template=None, **changes):
        config = make_generation(**changes)
        target, _ = load_tasks(config)
        model = build_model(config, [target])
        assert isinstance(model, LanguageModel)
        if template:
            model.tokenizer.chat_template = template
            model.prompter = replace(model.prompter, chat=True)
        return model.eval(), target

    return make
