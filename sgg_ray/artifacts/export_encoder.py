"""Trained encoders as one folder for Transformers, whose code travels with the weights."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from sgg_ray.models import EncoderClassifier
from sgg_ray.tasks import kind_of

_PROBLEMS: Any = {  # words of Transformers
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


def write_transformers(
    members: Sequence[EncoderClassifier],
    shares: Sequence[float] | None,
    head: str,
    outputs: Sequence[str],
    folder: Path,
) -> None:
    """Write weights, configuration and code of one classifier, or of the average of several.

    Args:
        members: encoders of one kind; adapters are merged into them.
        shares: of each member's probabilities; None for a classifier alone.
        head: key of the labels that are predicted.
        outputs: what each value is about.
        folder: where to.
    """
    from sgg_ray.artifacts import exported_model  # loads most of Transformers

    labels = dict(enumerate(outputs))
    backbones = [_merged(member) for member in members]
    kind = "Guided" if shares is None else "Averaged"
    more = {} if shares is None else {"shares": list(shares)}
    config = getattr(exported_model, f"{kind}ClassifierConfig")(
        backbone=backbones[0].config.to_dict(),
        pooling=members[0].pooling,
        id2label=labels,
        num_labels=len(labels),
        **more,
    )
    config.label2id = {name: number for number, name in labels.items()}
    config.problem_type = _PROBLEMS.get(kind_of(head), "single_label_classification")
    config.architectures = [f"{kind}Classifier"]
    config.auto_map = {
        "AutoConfig": f"modeling_sgg.{kind}ClassifierConfig",
        "AutoModelForSequenceClassification": f"modeling_sgg.{kind}Classifier",
    }
    config.save_pretrained(folder)
    weights: dict[str, Any] = {}
    for number, (member, backbone) in enumerate(zip(members, backbones)):
        prefix = "" if shares is None else f"members.{number}."
        weights |= {f"{prefix}backbone.{name}": value for name, value in backbone.state_dict().items()}
        own = member.head(head).state_dict()
        weights |= {f"{prefix}classifier.{name}": value for name, value in own.items()}
    weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(str(exported_model.__file__), folder / "modeling_sgg.py")


def _merged(member: EncoderClassifier) -> Any:
    backbone: Any = member.backbone
    return backbone.merge_and_unload() if hasattr(backbone, "peft_config") else backbone
