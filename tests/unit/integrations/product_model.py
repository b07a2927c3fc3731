"""The product's model with its tokenised rows, as the loops of others want it: batches in, a loss out.

A module, so that spawned processes can import it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from sgg_ray.config import Config
from sgg_ray.integrations.transformers import guided
from sgg_ray.models import TaskModel, build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, Trainer
from sgg_ray.training.parameter_layout import learning_rate_factor
from sgg_ray.training.sampling import target_batch

WEIGHTS = {"clean": 0.7, "flipped": 0.3}


class WithRows(nn.Module):
    """Takes numbers of tasks and of their rows."""

    def __init__(self, model: TaskModel, rows: Sequence[Any]):
        super().__init__()
        self.model, self.rows = model, rows

    def forward(self, task, row):
        pairs = [(self.rows[int(number)], int(place)) for number, place in zip(task, row)]
        return {"loss": self.model.losses(self.model.collate(pairs)).mean()}


def examples(task: int, rows: Sequence[int]) -> list[dict[str, int]]:
    return [{"task": task, "row": int(row)} for row in rows]


def both(config: Config) -> tuple[Trainer, WithRows]:
    """The product's trainer, and an equal model for another loop."""
    target, sources = load_tasks(config)
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        model = build_model(config, [target, *sources])
        made.append((model, [model.tokenise(task, task.train) for task in (target, *sources)]))
    (own, rows), (other, others) = made
    other.load_state_dict(own.state_dict())
    trainer = Trainer(own, rows[0], dict(zip(WEIGHTS, rows[1:])), WEIGHTS, config, SingleProcess())
    return trainer, WithRows(other, others)


def in_order(config: Config, model: WithRows) -> list[dict[str, int]]:
    """The target's rows in the order in which the product's loop takes them."""
    settings = config.train
    return [
        example
        for step in range(settings.max_steps)
        for example in examples(
            0, target_batch(len(model.rows[0]), settings.batch_size, step, config.seed).tolist()
        )
    ]


def sources_of(model: WithRows) -> dict[str, list[dict[str, int]]]:
    return {
        name: examples(number, range(len(model.rows[number]))) for number, name in enumerate(WEIGHTS, start=1)
    }


def optimisers(model: nn.Module, config: Config) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """The product's AdamW and schedule, where heads have the backbone's rate and nothing decays."""
    settings = config.train
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    factor = LambdaLR(
        optimiser, lambda step: learning_rate_factor(step, settings.max_steps, settings.warmup_ratio)
    )
    return optimiser, factor


def terms_of(config: Config) -> dict[str, Any]:
    return config.guidance.model_dump(exclude_unset=True)


def trainer_class(config: Config, model: WithRows, base: type) -> type:
    return guided(
        base,
        sources=sources_of(model),
        weights=WEIGHTS,
        source_batch_size=config.train.source_batch_size,
        **terms_of(config),
    )


def arguments(config: Config, folder: str, batch: int, accumulation: int = 1, **more: Any):
    from transformers import TrainingArguments

    settings = config.train
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_steps=settings.max_steps,
        data_seed=config.seed,
        **{
            "train_sampling_strategy": "sequential",
            "max_grad_norm": settings.max_grad_norm,
            "remove_unused_columns": False,
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        }
        | more,
    )


def parameters_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}
