"""Build the model that a configuration describes, for the tasks that it is trained on."""

import torch

from sgg_ray.config import Config, longest_input
from sgg_ray.models.answer_losses import ANSWER_LOSSES
from sgg_ray.models.architecture import Architecture
from sgg_ray.models.backbone import prepare_backbone
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.encoder_decoder import EncoderDecoderModel
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.objectives import objective_of
from sgg_ray.models.pretrained_model import PretrainedModel
from sgg_ray.models.prompt_writer import template_of
from sgg_ray.models.task_model import TaskModel
from sgg_ray.tasks import Task

LANGUAGE_MODELS = {
    Architecture.CAUSAL: LanguageModel,
    Architecture.ENCODER_DECODER: EncoderDecoderModel,
}


def build_model(
    config: Config,
    tasks: list[Task],
    foundation: PretrainedModel | None = None,
    device: torch.device | str = "cpu",
) -> TaskModel:
    """The model that ``config`` describes: of an encoder, with one head for each label set among ``tasks``.

    With ``train.share_labels``, label sets within that of the first task, the target, have no head of their own.
    Heads come in the order of ``tasks``, so every process builds the same parameters in the same order.
    Adapters draw their initial weights from ``config.seed``.

    Args:
        foundation: the pre-trained model, if it is loaded already; a copy of it is used.
        device: where weights are quantised, if they are, and stay. All others are made on the CPU.
    """
    torch.manual_seed(config.seed)
    place = "cpu" if config.model.quantization is None else device
    foundation, shared = foundation or PretrainedModel(config.model, place), foundation is not None
    backbone = prepare_backbone(
        foundation.copy() if shared else foundation.backbone, config.model, foundation.architecture
    )
    labels = {task.head: task.labels for task in tasks}
    common = {"max_length": longest_input(config.train), "precision": config.model.precision}
    if foundation.architecture.is_language_model:
        return LANGUAGE_MODELS[foundation.architecture](
            backbone,
            foundation.tokenizer,
            labels,
            {task.head: (template_of(task), task.words) for task in reversed(tasks)},
            chat=config.model.chat,
            length_normalised=config.model.length_normalised,
            max_new_tokens=config.train.max_new_tokens,
            quantization=config.model.quantization,
            example_length=config.train.max_length if config.train.context_examples else None,
            answer_loss=None if config.train.loss == "cross_entropy" else ANSWER_LOSSES[config.train.loss](),
            **common,
        )
    known = foundation.known_ids(config.train.max_length) if shared else None
    target = set(tasks[0].labels)
    parts = {
        task.head: task.labels
        for task in tasks
        if config.train.share_labels
        and task.kind == tasks[0].kind == "classification"
        and set(task.labels) < target
    }
    heads = {key: names for key, names in labels.items() if key not in parts}
    # Where tasks share a head, the first one says where numbers lie: they are of one unit.
    objectives = {task.head: objective_of(task.kind, task.train) for task in reversed(tasks)}
    return EncoderClassifier(
        backbone,
        foundation.tokenizer,
        heads,
        pooling=config.model.pooling,
        known_ids=known,
        parts=parts,
        objectives=objectives,
        **common,
    )
