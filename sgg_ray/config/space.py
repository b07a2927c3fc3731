"""What a sweep varies: distributions over keys of the configuration."""

import difflib
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sgg_ray.config.values import Real, Whole

REFUSED = ("name", "seed", "target", "sources", "ray", "tracking", "tune", "compare")
SCORED = (  # what alignment scores depend on, whole sections or single keys
    "model",
    "alignment.summary",
    "alignment.rows",
    "alignment.confidence",
    "alignment.label_name_prior",
    "alignment.row_weighting",
    "alignment.row_share",
    "alignment.row_scores",
    "alignment.row_warmup",
    "train.max_length",
    "train.share_labels",
)
Model = TypeVar("Model", bound=BaseModel)


class Distribution(BaseModel):
    """The values that one key may take in a sweep: a uniform, log-uniform or integer range, or a choice."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    uniform: tuple[Real, Real] | None = Field(None, description="[low, high], every value as likely")
    log_uniform: tuple[Real, Real] | None = Field(None, description="[low, high], every magnitude as likely")
    integer: tuple[Whole, Whole] | None = Field(None, description="[low, high], whole numbers, both included")
    choice: list[Any] | None = Field(None, description="one of these values")

    @field_validator("choice", mode="after")
    @classmethod
    def _scalars(cls, choice: list[Any] | None) -> list[Any] | None:
        if choice is not None and (
            not choice
            or not all(value is None or isinstance(value, str | int | float | bool) for value in choice)
        ):
            raise ValueError("must be a list of at least one number, text, true, false or null")
        return choice

    @model_validator(mode="after")
    def _one_sound_kind(self):
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("must hold one of uniform, log_uniform, integer, choice")
        bounds = self.bounds
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError("must be [low, high] with low < high")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("must be [low, high] with 0 < low")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest value; None for a choice."""
        return self.uniform or self.log_uniform or self.integer

    @property
    def extremes(self) -> list[Any]:
        """The values that must be valid for all to be: both bounds, or every choice."""
        return list(self.bounds or self.choice or [])

    @property
    def is_logarithmic(self) -> bool:
        """Whether values are drawn on a logarithmic scale."""
        return self.log_uniform is not None

    def holds(self, value: Any) -> bool:
        """Whether the distribution can produce ``value``."""
        if self.bounds is None:
            return value in self.extremes
        low, high = self.bounds
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and low <= value <= high
        )


def with_values(config: Model, values: Mapping[str, Any]) -> Model:
    """A copy of ``config`` in which dotted keys have other values, validated anew.

    Raises:
        pydantic.ValidationError: a value is not allowed.
        KeyError: there is no such section.
    """
    data = config.model_dump()
    for key, value in values.items():
        *sections, last = key.split(".")
        node = data
        for section in sections:
            node = node[section]
            if not isinstance(node, dict):
                raise KeyError(key)
        node[last] = value
    return type(config).model_validate(data)


def check_space(config: Any, space: Mapping[str, Distribution]) -> list[str]:
    """What is wrong with a sweep's keys and values, a line each."""
    problems = []
    known = [key for key in config.flat() if key.split(".")[0] not in REFUSED]
    adapted = config.model.adapter is not None
    for key, distribution in space.items():
        where = f"tune.space.{key}"
        if key.split(".")[0] in REFUSED:
            problems.append(
                f"{where}: cannot be searched, it changes what trials are compared on or where they run; search "
                "keys of guidance, train, alignment or model"
            )
        elif key not in known and not (adapted and key.startswith("model.adapter.")):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "see 'sgg config schema'"
            problems.append(f"{where}: the configuration has no such key; {hint}")
        elif depends_on_scores(key) and distribution.bounds is not None:
            problems.append(
                f"{where}: changes the alignment scores, which are taken once for each of its values; give the "
                "values as a choice"
            )
        else:
            problems += _refused_values(config, key, distribution, where)
    return problems


def depends_on_scores(key: str) -> bool:
    """Whether sources have to be scored anew for each value of this key."""
    return any(key == scored or key.startswith(f"{scored}.") for scored in SCORED)


def _refused_values(config: Any, key: str, distribution: Distribution, where: str) -> list[str]:
    problems = []
    for value in distribution.extremes:
        try:
            with_values(config, {key: value})
        except ValidationError as error:
            detail = error.errors()[0]
            message = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
            problems.append(f"{where}: {message}, found {value!r}")
    return problems
