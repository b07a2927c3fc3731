"""Find settings that are for another kind of model, before anything that follows from them is looked at."""

from collections.abc import Iterator
from typing import Any

from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models.architecture import Architecture
from sgg_ray.models.backbone import find_model
from sgg_ray.models.sharding import check_sharding

ENCODERS = (Architecture.ENCODER,)
CAUSAL = (Architecture.CAUSAL,)
LANGUAGE_MODELS = (Architecture.CAUSAL, Architecture.ENCODER_DECODER)
TITLES = {ENCODERS: "encoders", CAUSAL: "causal language models", LANGUAGE_MODELS: "language models"}


def check_settings(config: Config) -> None:
    """See whether every setting is one for this kind of model.

    Raises:
        ModelError: with one line for each that is not; or for each that a sharded training cannot do.
    """
    path, architecture = config.model.path, find_model(config.model.path).architecture
    problems = [
        f"{key}: {found} is for {TITLES[kinds]}, and {path} is {architecture.title}; leave it out, or give another "
        "model"
        for key, found, kinds in _special(config)
        if architecture not in kinds
    ]
    kind = config.target.kind
    if config.train.method == "auto" and architecture is Architecture.ENCODER and kind != "classification":
        problems.append(
            f"strategy: auto chooses trainings of an encoder for a target of kind classification, found {kind}; leave "
            "it out (train.method: auto as well), or name another strategy"
        )
    if problems:
        raise ModelError(problems)
    check_sharding(config)


def _special(config: Config) -> Iterator[tuple[str, Any, tuple[Architecture, ...]]]:
    """Settings that are not for every kind of model and not at their default: key, value, and the kinds."""
    model, train = config.model, config.train
    for key, found, plain, kinds in (
        ("model.pooling", model.pooling, "mean", ENCODERS),
        ("model.quantization", model.quantization, None, CAUSAL),
        ("model.chat", model.chat, None, LANGUAGE_MODELS),
        ("model.length_normalised", model.length_normalised, False, LANGUAGE_MODELS),
        ("model.contextual_calibration", model.contextual_calibration, False, LANGUAGE_MODELS),
        ("train.head", train.head, "zero", ENCODERS),
        ("train.loss", train.loss, "cross_entropy", LANGUAGE_MODELS),
        ("train.context_examples", train.context_examples, 0, LANGUAGE_MODELS),
        ("ray.sharding", config.ray.sharding, None, CAUSAL),
    ):
        if found != plain:
            yield key, str(found).lower() if isinstance(found, bool) else found, kinds
    if model.trainable == "heads":
        yield "model.trainable", "heads", ENCODERS
    if train.method == "setfit":
        yield "train.method", "setfit", ENCODERS
    elif train.method in ("zero_shot", "in_context"):
        yield "train.method", train.method, LANGUAGE_MODELS
