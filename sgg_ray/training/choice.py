"""Which strategies a model is averaged from, and how much each counts: from scores and shots, before any training.

Chosen on the development half of eighteen tasks; what it came to there, and on the other half, is in studies/log.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sgg_ray.config import Config, apply_strategy, shipped_strategy
from sgg_ray.models import Architecture, EncoderClassifier, PretrainedModel, build_model
from sgg_ray.tasks import Task, label_name_rows
from sgg_ray.training.head import begin_at_names

# Steepness κ of the label names up to which they have no say, and from which on they have all of it.
MISLEADING, TELLING = 0.2, 0.8
GUIDED_FLOOR = 0.3  # least weight of a guided training from a zero head: an average wants members that differ
LEAST_SHARE = 0.05  # of the average, below which a member is not worth its training
SELF_TRAINING = "self-training"  # the member that learns from unlabelled texts what the others make of them
SELF_TRAINED_SHARE = 0.5  # of the average; measured in studies/unlabelled.py
MEANINGS = {  # of the members, in a few words
    "sgg": "sources, head from zero",
    "sgg-tenth": "a tenth of the sources, head at the label names",
    "sgg-target": "target alone with guidance, head at the label names",
    "sgg-target-without-names": "target alone with guidance, head from zero",
    "full": "target alone, plain",
    "sgg-language-model": "weighted sources with guidance",
    "sgg-target-language-model": "target alone with guidance",
    SELF_TRAINING: "target and the unlabelled texts, as the others label them",
}
AS_THE_FILE = "as the file"  # the one member where nothing is chosen


@dataclass(frozen=True)
class Choice:
    """Settings chosen by strategy ``auto``, with the evidence for them."""

    shares: Mapping[str, float]  # of each strategy, the largest first and self-training last, adding up to 1
    strength: float  # of the source mixture, in [0, 1]
    steepness: float | None  # κ of the label names; None where they have no say
    left_out: tuple[str, ...] = ()  # strategies that were considered, too

    @property
    def evidence(self) -> str:
        """In words: ``sources help; label names tell the shots apart``."""
        if self.strength >= 1:
            sources = "sources help"
        elif self.strength > 0:
            sources = f"sources help a little (strength {self.strength:.2f})"
        else:
            sources = "no source helps: the target alone"
        if self.steepness is None:
            return sources
        if self.steepness >= TELLING:
            names = "label names tell the shots apart"
        elif self.steepness > MISLEADING:
            names = "label names say something about the shots"
        else:
            names = "label names say nothing about the shots"
        return f"{sources}; {names} (steepness {self.steepness:.2f})"

    def __str__(self) -> str:
        members = " + ".join(
            f"{100 * share:.0f} % {name}" + (f" ({MEANINGS[name]})" if name in MEANINGS else "")
            for name, share in self.shares.items()
        )
        others = f"; considered, too: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{members}, because {self.evidence}{others}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to choice.json."""
        return {
            "shares": dict(self.shares),
            "left_out": list(self.left_out),
            "strength": self.strength,
            "steepness": self.steepness,
            "evidence": self.evidence,
        }


def choose(strength: float, steepness: float | None, budget: int, unlabelled: bool = False) -> Choice:
    """Shares of the strategies.

    With s the strength of the source mixture and m the steepness of the label names on a ramp from MISLEADING to
    TELLING: weighted sources from a zero head count max(s, GUIDED_FLOOR), a tenth of them from a head at the label
    names max(m, s), and plain fine-tuning (1 − s)(1 − m). Without any source, guidance on the target alone takes the
    place of the first two.

    Args:
        strength: of the source mixture, in [0, 1], see ``sgg_ray.alignment.mixture_strength``.
        steepness: κ of what the labels are called; None if they are no words.
        budget: most members, self-training among them.
        unlabelled: whether there are texts without labels: half of the average is then a member that is trained on
            them, labelled by the others. It needs a budget of two.
    """
    names = (
        0.0 if steepness is None else float(np.clip((steepness - MISLEADING) / (TELLING - MISLEADING), 0, 1))
    )
    zero_head, at_names = ("sgg", "sgg-tenth") if strength > 0 else ("sgg-target-without-names", "sgg-target")
    weights = {
        zero_head: max(strength, GUIDED_FLOOR),
        at_names: max(names, strength),
        "full": (1 - strength) * (1 - names),
    }
    total = sum(weights.values())
    ranked = sorted(weights, key=lambda name: -weights[name])
    trained_last = {SELF_TRAINING: SELF_TRAINED_SHARE} if unlabelled else {}
    most = budget - len(trained_last)
    kept = [name for name in ranked if weights[name] / total >= LEAST_SHARE][:most]
    rest = sum(weights[name] for name in kept) / (1 - sum(trained_last.values()))
    shares = {name: weights[name] / rest for name in kept} | trained_last
    return Choice(shares, strength, steepness, tuple(name for name in ranked if name not in kept))


@torch.no_grad()
def names_steepness(
    config: Config, target: Task, foundation: PretrainedModel, device: torch.device
) -> float | None:
    """How steep logits along the label names are for the shots, at the model as loaded; None without words or heads."""
    names = label_name_rows(target.labels)
    if names is None or foundation.architecture.is_language_model or target.kind != "classification":
        return None
    model = build_model(config, [target], foundation).to(device)
    assert isinstance(model, EncoderClassifier)
    rows, words = model.tokenise(target, target.train), model.tokenise(target, names)
    return begin_at_names(model, rows, words, config.train.eval_batch_size)


def only_member(config: Config, architecture: Architecture, with_sources: bool) -> str:
    """The one training of a language model: a strategy that was measured for its kind, or as the file says.

    Measured were causal models with LoRA (studies/language_models.py). Without an adapter, or with another one, other
    rates are right.

    Args:
        with_sources: whether there is a source that helps.
    """
    adapter = config.model.adapter
    if architecture is not Architecture.CAUSAL or adapter is None or adapter.peft_type.lower() != "lora":
        return AS_THE_FILE
    return "sgg-language-model" if with_sources else "sgg-target-language-model"


def member_config(config: Config, name: str) -> Config:
    """The configuration of one member's training: the strategy's guidance and loop on the file's own model."""
    if name == AS_THE_FILE:
        train = config.train.model_copy(update={"method": "gradients"})
        return config.model_copy(update={"train": train})
    if name == SELF_TRAINING:
        alone = apply_strategy(
            config, shipped_strategy("alignment-weighted").model_copy(update={"alignment": {}})
        )
        guidance = alone.guidance.model_copy(update={"lambda_source": 1.0})
        return alone.model_copy(update={"guidance": guidance})
    strategy = shipped_strategy(name).model_copy(update={"model": {}, "alignment": {}})
    return apply_strategy(config, strategy)
