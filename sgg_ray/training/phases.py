"""Which phases a training has: the only place where the ways to update are told apart."""

import torch

from sgg_ray.alignment import BANDITS
from sgg_ray.config import Config, GuidanceConfig
from sgg_ray.gradients import FlatParameters
from sgg_ray.guidance import Combination, Guidance
from sgg_ray.training.bandit_update import BanditMixture
from sgg_ray.training.diagnostics import Diagnostics
from sgg_ray.training.passes import Passes
from sgg_ray.training.updates import Combined, GuidedSum, GuidedTarget, Phase, SourcesAlone


def guidance_of(
    settings: GuidanceConfig,
    parameters: FlatParameters,
    private: slice,
    shared: slice,
    steps: int,
    world_size: int,
) -> Guidance:
    """The terms as a configuration's section asks for.

    Args:
        settings: the section.
        parameters: the model's.
        private: where those lie that only the target uses.
        shared: where those lie that sources use as well.
        steps: of the whole training.
        world_size: number of workers.
    """
    return Guidance(
        parameters,
        **settings.model_dump(exclude={"lambda_source", "warmup_ratio", "view_modules"}),
        warmup_steps=round(settings.warmup_ratio * steps),
        private=private,
        shared=shared,
        # Of a sharded gradient each worker holds its own part, and not a share of the sum.
        world_size=1 if parameters.sharded else world_size,
    )


def phases_of(
    config: Config, passes: Passes, guidance: Guidance, diagnostics: Diagnostics, uses_sources: bool
) -> tuple[Phase, ...]:
    """The phases of a training as the configuration asks for.

    Args:
        config: ``train.schedule``, ``combine`` and ``max_steps``, ``alignment.weighting`` and
            ``guidance.lambda_source`` are read.
        passes: of the training.
        guidance: its terms.
        diagnostics: what looks at g.
        uses_sources: whether there are sources, and a term that wants them.

    Raises:
        ConfigError: a package is missing that the way of combining needs.
    """
    train, lambda_source = config.train, config.guidance.lambda_source
    target = GuidedTarget(passes, guidance, diagnostics)
    if not uses_sources:
        return (Phase(GuidedSum(target), train.max_steps),)
    if train.schedule == "sequential":
        first = train.max_steps // 2
        return Phase(SourcesAlone(passes), first), Phase(GuidedSum(target), train.max_steps - first)
    if train.combine != "sum" and lambda_source > 0:
        return (Phase(Combined(target, Combination(train.combine), lambda_source), train.max_steps),)
    weighting = config.alignment.weighting
    if weighting in BANDITS and lambda_source > 0:
        bandit = BANDITS[weighting](len(passes.sources))
        update = BanditMixture(target, bandit, lambda_source, guidance.shared)
        return (Phase(update, train.max_steps),)
    mixture = torch.zeros_like(passes.flat.values)
    return (Phase(GuidedSum(target, lambda_source, mixture), train.max_steps),)
