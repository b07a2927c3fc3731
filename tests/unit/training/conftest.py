from collections.abc import Callable

import pytest

from sgg_ray.models import build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, Trainer


@pytest.fixture
def make_trainer(make_config) -> Callable[..., Trainer]:
    """Make a Trainer over the toy tasks, with the named sources in equal parts."""

    def make(used=("clean", "flipped"), weights=None, **changes) -> Trainer:
        config = make_config(**changes)
        target, sources = load_tasks(config)
        sources = [source for source in sources if source.name in used]
        model = build_model(config, [target, *sources])
        return Trainer(
            model,
            model.tokenise(target, target.train),
            {source.name: model.tokenise(source, source.train) for source in sources},
            weights or {source.name: 1 / len(sources) for source in sources},
            config,
            SingleProcess(),
        )

    return make
