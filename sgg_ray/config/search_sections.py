"""The sections ``tune`` and ``compare``: what is tried and compared."""

from typing import Any, Literal

from pydantic import Field, model_validator

from sgg_ray.config.section import LONGEST_NAME, NAME, Section
from sgg_ray.config.space import Distribution
from sgg_ray.config.values import Count, Scalar


class TuneConfig(Section):
    """A sweep: what is varied, how it is searched, and what is compared."""

    num_samples: Count = Field(20, description="trials; a grid runs each combination instead")
    search: Literal["optuna", "random", "grid"] = Field("optuna", description="how trials are chosen")
    scheduler: Literal["none", "asha"] = Field(
        "none", description="asha stops trials that do poorly on their first held-out parts"
    )
    metric: Literal["loss", "accuracy"] = Field(
        "loss",
        description="how trials are compared on held-out shots: by mean cross-entropy, or accuracy "
        "(kind generation: exact match)",
    )
    folds: Count | None = Field(
        None,
        description="parts that the shots are cut into, each held out once; 1 = one quarter is held out; "
        "null = 4 for under 100 held-out rows, else 1",
    )
    seeds: Count = Field(1, description="trainings of each part, with seeds from 'seed' on")
    max_concurrent_trials: Count | None = Field(None, description="trials at a time; null = as many as fit")
    space: dict[str, Distribution] = Field(
        default_factory=lambda: {
            f"guidance.{term}": Distribution.model_validate({"log_uniform": (1e-3, 1.0)})
            for term in ("lambda_direction", "lambda_magnitude", "lambda_alignment")
        },
        min_length=1,
        description="dotted key: {uniform | log_uniform | integer: [low, high]} or {choice: [...]}",
    )

    @model_validator(mode="after")
    def _grid_of_choices(self):
        open_ended = [key for key, values in self.space.items() if values.bounds is not None]
        if self.search == "grid" and open_ended:
            raise ValueError(f"search: grid needs a choice for every key; {open_ended[0]} has a range")
        if self.scheduler == "asha" and (self.folds or 4) * self.seeds < 2:
            raise ValueError("scheduler: asha needs trials of two trainings or more; raise folds or seeds")
        return self


class StrategyConfig(Section):
    """One way to fine-tune: what it changes of the file's own sections."""

    name: str = Field(
        pattern=NAME, max_length=LONGEST_NAME, description="in tables; default: the file's name"
    )
    description: str = Field("", description="one line of description")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of 'model' and their values")
    alignment: dict[str, Any] = Field(default_factory=dict, description="keys of 'alignment'")
    guidance: dict[str, Any] = Field(default_factory=dict, description="keys of 'guidance'")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of 'train'")
    chosen: str = Field("", description="how its learning rates and other values were found")


class CompareConfig(Section):
    """A grid of strategies, targets, shots and seeds, and what they are compared with."""

    strategies: list[StrategyConfig] = Field(
        min_length=1,
        description="strategies by name or the path of a .yaml file, or sections like such a file",
        json_schema_extra=lambda schema: schema.update(
            items={"anyOf": [{"type": "string"}, schema["items"]]}
        ),
    )
    vary: dict[str, list[Scalar]] = Field(
        default_factory=dict,
        description="dotted keys and values; every strategy is run with each combination of them",
    )
    baseline: str | None = Field(
        None, description="strategy that the others are compared with; null = the first"
    )
    shots: list[Count] = Field(default_factory=list, description="per class; empty = the target's own")
    seeds: Count = Field(5, description="seeds, counted from 'seed' on")
    targets: list[str] = Field(
        default_factory=list,
        description="names of tasks that are the target in turn, the others being sources; empty = the target",
    )
    exclude_together: list[list[str]] = Field(
        default_factory=list,
        description="groups of tasks made of the same texts: never source and target at once",
    )
    unseen: list[str] = Field(
        default_factory=list, description="tasks that are never trained on, for cross-task accuracy"
    )
    eval_split: Literal["test", "validation"] = Field(
        "test",
        description="rows that are predicted; validation = neither test rows nor shots, to choose settings",
    )
    max_concurrent_cells: Count | None = Field(None, description="cells at a time; null = as many as fit")
