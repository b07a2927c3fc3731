"""Method auto: choose strategies, train each of them, and average what they predict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.errors import ConfigError
from sgg_ray.models import PretrainedModel, build_model, find_model
from sgg_ray.tasks import Rows, Task, sharing_labels
from sgg_ray.training.choice import (
    SELF_TRAINING,
    Choice,
    choose,
    member_config,
    names_steepness,
    only_member,
)
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.evaluate import predict
from sgg_ray.training.hooks import Hooks
from sgg_ray.training.outcome import Outcome, average
from sgg_ray.training.training_state import TrainingState, load_member, stored_members

UNLABELLED = "unlabelled"  # the target's texts without labels, as a source


def used_sources(
    config: Config, target: Task, sources: Sequence[Task], weights: Mapping[str, float]
) -> list[Task]:
    """The sources that a training has to know."""
    refreshed = config.alignment.refresh_interval > 0
    used = [source for source in sources if refreshed or weights.get(source.name, 0.0) > 0]
    return sharing_labels(target, used) if config.train.share_labels else used


def run_average(
    train: Callable[..., Outcome],
    config: Config,
    target: Task,
    sources: Sequence[Task],
    weights: Mapping[str, float],
    device: torch.device,
    communicator: Communicator,
    hooks: Hooks,
    foundation: PretrainedModel | None,
) -> Outcome:
    """Method auto: choose strategies, train each of them, and average what they predict.

    Members that had ended when a run was stopped are read from its checkpoint, and the one under way goes on. Language
    models are trained once: an average of them would be answered by several large models.

    Args:
        train: a whole training of one member, as ``run_training``.
    """
    strength = min(1.0, sum(weights.values()))
    found = find_model(config.model.path) if foundation is None else foundation
    if found.architecture.is_language_model:  # of which a copy beside the one that is trained may not fit
        choice = Choice({only_member(config, found.architecture, strength > 0): 1.0}, strength, None)
    else:
        foundation = foundation or PretrainedModel(config.model, device)
        steepness = names_steepness(config, target, foundation, device)
        choice = choose(strength, steepness, config.train.budget, bool(target.unlabelled))
    hooks.on_choice(choice)
    used = [source for source in sources if weights.get(source.name, 0.0) > 0]
    shares = {source.name: weights[source.name] / strength for source in used}
    several = len(choice.shares) > 1
    place = hooks.resume_from if several else None
    stored, under_way = ([], None) if place is None else stored_members(place)
    ended: dict[str, Outcome] = {}
    for number, name in enumerate(choice.shares):
        chosen = member_config(config, name)
        beside = (used, shares) if chosen.guidance.lambda_source > 0 else ([], {})
        if name == SELF_TRAINING:
            beside = ([pseudo_labelled(target, choice, ended, config, communicator)], {UNLABELLED: 1.0})
        if number < len(stored):
            model = build_model(chosen, [target, *used_sources(chosen, target, *beside)], foundation).to(
                device
            )
            ended[name] = load_member(stored[number], name, model, target)
            continue
        own = hooks if number == 0 or hooks.of_member is None else hooks.of_member(name)
        own = replace(own, updates=None, updates_of=None)
        if several:
            resumed = under_way if number == len(stored) else None
            own = replace(
                own,
                checkpoint=_beside(ended, hooks),
                checkpoint_wanted=hooks.checkpoint_wanted,
                resume_from=resumed,
            )
        ended[name] = train(chosen, target, *beside, device, communicator, own, foundation)
        if hooks.checkpoint is not None and len(ended) < len(choice.shares):
            hooks.checkpoint(TrainingState(None, dict(ended), averages=True))
    return average(list(ended.values()), choice)


def check_unlabelled(config: Config) -> None:
    """See whether there is an average for ``target.unlabelled`` to be used in.

    Raises:
        ConfigError: a language model, which is trained once.
    """
    if config.target.unlabelled is not None and find_model(config.model.path).architecture.is_language_model:
        raise ConfigError(
            "target.unlabelled: an average of models labels these texts, but a language model is trained once; leave "
            "it out"
        )


def pseudo_labelled(
    target: Task, choice: Choice, members: Mapping[str, Outcome], config: Config, communicator: Communicator
) -> Task:
    """The target's unlabelled texts as a source, each with the label that the members think likeliest together.

    Self-training (Scudder 1965; Lee 2013, Pseudo-Label), with the whole average as the teacher.

    Args:
        members: what has been trained, by the names in ``choice``.
    """
    texts = Rows(target.unlabelled, np.zeros(len(target.unlabelled), dtype=np.int64))
    found = np.zeros((len(texts), len(target.labels)))
    for name, outcome in members.items():
        tokens = outcome.model.tokenise(target, texts)
        size = config.train.eval_batch_size
        found += choice.shares[name] * predict(outcome.model, tokens, size, communicator)
    return Task(UNLABELLED, target.labels, replace(texts, labels=found.argmax(1)), texts.take([]), "source")


def _beside(ended: Mapping[str, Outcome], hooks: Hooks) -> Callable[[TrainingState], None] | None:
    """Keeps how far a member is together with those that have ended before it."""
    keep = hooks.checkpoint
    if keep is None:
        return None
    return lambda state: keep(replace(state, ended=dict(ended), averages=True))
