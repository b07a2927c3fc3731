"""The YAML file as types: every key, its unit, its default and its bounds."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from sgg_ray.config.addresses import without_passwords
from sgg_ray.config.model_section import ModelConfig
from sgg_ray.config.run_sections import RayConfig, TrackingConfig
from sgg_ray.config.search_sections import CompareConfig, TuneConfig
from sgg_ray.config.section import LONGEST_NAME, NAME, Section
from sgg_ray.config.task_sections import SourceConfig, TargetConfig
from sgg_ray.config.training_sections import AlignmentConfig, GuidanceConfig, TrainConfig
from sgg_ray.config.values import Whole


class Config(Section):
    """One run: a model, a target, its sources, and what to do with them."""

    name: str = Field(
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="of the run and its folder; default: the file's name",
    )
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = Field(
        0, description="of splits, batches, dropout and sketches"
    )
    strategy: str | None = Field(
        None,
        description="auto, or another strategy of `sgg compare` by name or path, whose keys then stand in place of the "
        "file's own; none: the sections below as they are; null: auto, unless the file sets how to train: a key of "
        "'guidance', a learning rate, an adapter, ...",
    )
    model: ModelConfig
    target: TargetConfig
    sources: list[SourceConfig] = Field(default_factory=list, description="tasks to learn from")
    alignment: AlignmentConfig = Field(default_factory=AlignmentConfig)  # pyright: ignore[reportArgumentType]
    guidance: GuidanceConfig = Field(default_factory=GuidanceConfig)  # pyright: ignore[reportArgumentType]
    train: TrainConfig = Field(default_factory=TrainConfig)  # pyright: ignore[reportArgumentType]
    tune: TuneConfig | None = Field(None, description="of `sgg tune`; null = its defaults")
    compare: CompareConfig | None = Field(None, description="of `sgg compare`")
    ray: RayConfig = Field(default_factory=RayConfig)  # pyright: ignore[reportArgumentType]
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)  # pyright: ignore[reportArgumentType]

    _replaced: tuple[str, ...] = PrivateAttr(default=())

    @property
    def replaced(self) -> tuple[str, ...]:
        """A line for each value of the file that the strategy replaced when the file was loaded."""
        return self._replaced

    def remember_replaced(self, lines: tuple[str, ...]) -> None:
        """Keep the lines of :attr:`replaced`; they are no part of the values and are not dumped."""
        self._replaced = lines

    @model_validator(mode="after")
    def _schedule_fits(self):
        if self.train.schedule == "sequential" and self.train.combine != "sum":
            raise ValueError("train.combine: needs target and sources in one step; use train.schedule: joint")
        if self.train.schedule == "sequential" and self.guidance.lambda_alignment > 0:
            raise ValueError(
                "guidance.lambda_alignment: needs the sources beside the target; set it to 0, or train.schedule "
                "to joint"
            )
        return self

    @model_validator(mode="after")
    def _bandit_fits(self):
        weighting, train = self.alignment.weighting, self.train
        if weighting not in ("exp3", "ucb1"):
            return self
        for key, taken, plain in (
            ("train.combine", train.combine, "sum"),
            ("train.schedule", train.schedule, "joint"),
            ("alignment.refresh_interval", self.alignment.refresh_interval, 0),
        ):
            if taken != plain:
                raise ValueError(
                    f"{key}: alignment.weighting {weighting} chooses the sources of each step itself, found {taken}; "
                    f"use {plain}"
                )
        return self

    @model_validator(mode="after")
    def _method_fits(self):
        method = self.train.method
        if method in ("gradients", "auto"):
            return self
        if self.train.context_examples:
            raise ValueError(
                f"train.context_examples: train.method {method} trains on no episodes; set it to 0"
            )
        terms = ("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source")
        guided = [term for term in terms if getattr(self.guidance, term) > 0]
        if guided:
            raise ValueError(
                f"guidance.{guided[0]}: train.method {method} has no guidance and no sources; set it to 0"
            )
        if method != "setfit":
            return self
        if self.model.adapter is not None or self.model.trainable != "all":
            raise ValueError(
                "model: train.method setfit trains every parameter; leave out adapter and trainable"
            )
        if self.ray.num_workers > 1:
            raise ValueError("ray.num_workers: train.method setfit trains in one process; use 1")
        if self.train.head != "zero":
            raise ValueError("train.head: train.method setfit fits a head of its own; leave it out")
        return self

    @model_validator(mode="after")
    def _target_fits(self):
        kind, train = self.target.kind, self.train
        if train.head == "label_names" and kind not in ("classification", "generation"):
            raise ValueError(
                f"train.head: label_names needs a target of kind classification, found {kind}; leave it out"
            )
        if self.model.contextual_calibration and kind == "multiple_choice":
            raise ValueError(
                "model.contextual_calibration: a target of kind multiple_choice has no label words; leave it out"
            )
        if train.method == "setfit" and kind != "classification":
            raise ValueError(
                f"train.method: setfit needs a target of kind classification, found {kind}; use gradients"
            )
        if self.tune is not None and self.tune.metric == "accuracy" and kind == "regression":
            raise ValueError("tune.metric: a target of kind regression has no accuracy; use loss")
        return self

    @model_validator(mode="after")
    def _names_differ(self):
        twice = same_names([self.target.name, *(source.name for source in self.sources)])
        if twice:
            raise ValueError("; ".join(twice))
        return self

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key, sources by name: what MLflow lists as parameters."""
        data = self.model_dump()
        data["sources"] = {source["name"]: source for source in data["sources"]}
        if data["compare"] is not None:
            strategies = data["compare"]["strategies"]
            data["compare"]["strategies"] = {strategy["name"]: strategy for strategy in strategies}
        return dict(_flatten(without_passwords(data), ""))


def same_names(names: Sequence[Any]) -> list[str]:
    """One line for each name that several tasks have."""
    names = [name for name in names if isinstance(name, str)]  # the schema says what others are
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return [
        f"sources: {names.count(name)} tasks are named '{name}'; give each its own name "
        "(the target's counts, by default 'target')"
        for name in twice
    ]


def _flatten(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
