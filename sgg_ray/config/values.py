"""Kinds of values in the YAML file: bounded numbers, filters, labels."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sgg_ray.config.label_names import label_name


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


# Python takes true for 1, people do not.
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Real = Annotated[float, BeforeValidator(_no_boolean)]
Share = Annotated[Real, Field(ge=0, le=1)]
ShareBelowOne = Annotated[Real, Field(ge=0, lt=1)]
OpenShare = Annotated[Real, Field(gt=0, lt=1)]
NotNegative = Annotated[Real, Field(ge=0)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[Whole, Field(ge=1)]
CountOrZero = Annotated[Whole, Field(ge=0)]
Scalar = str | int | float | bool


def _number_or_all(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be a whole number of at least 1, or 'all'")


def _name_or_names(value: Any) -> Any:
    names = as_list(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be the name of a column, or a list of names")
    if len(set(names)) < len(names):
        raise ValueError("must be different columns")
    return names[0] if len(names) == 1 else names


Names = Annotated[str | list[str], BeforeValidator(_name_or_names)]
CountOrAll = Annotated[int | Literal["all"], BeforeValidator(_number_or_all)]


# Filters and labels are checked before pydantic sees them: of a union of types it would report every type as
# a problem of its own.


def check_filter(where: Any) -> Any:
    """Pass on a filter, column to value or list of values.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(where, dict):
        raise ValueError("must be 'column: value' pairs")
    for column, wanted in where.items():
        values = as_list(wanted)
        if not isinstance(column, str) or not values or not all(map(_is_scalar, values)):
            raise ValueError("must give each column a value or a list of values")
    return where


def check_labels(labels: Any) -> Any:
    """Pass on label names, or label names with their values in the file.

    Raises:
        ValueError: it is something else, or two labels cannot be told apart.
    """
    if not isinstance(labels, list | dict) or not all(map(_is_scalar, labels)):
        raise ValueError("must be a list of names, or 'name: value in the file' for each label")
    names = [label_name(name) for name in labels]
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise ValueError("must be at least two different labels")
    if isinstance(labels, dict):
        if not all(isinstance(name, str) for name in labels):
            raise ValueError("must be 'name: value in the file', for instance {negative: 0, positive: 1}")
        values = [value for found in labels.values() for value in as_list(found)]
        if (
            not all(map(_is_scalar, values))
            or not all(map(as_list, labels.values()))
            or len({label_name(value) for value in values}) < len(values)
        ):
            raise ValueError("must give each label a value of its own, or a list of such")
    return labels


def as_list(value: Any) -> list[Any]:
    """Several values as they are, and one as a list of one."""
    return value if isinstance(value, list) else [value]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
