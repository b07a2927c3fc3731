"""What the schema found wrong, as lines for people: where, what, found, what to do."""

import difflib
import re
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sgg_ray.config.schema import Config

Location = Sequence[int | str]

MOST_LINES = 20  # of one file
MOST_CHARACTERS = 80  # of a value or a key
_SHORT = reprlib.Repr()  # which takes time for what it shows alone, however large a value is
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = MOST_CHARACTERS

WORDING = {
    "greater_than_equal": "must be >= {ge:g}",
    "greater_than": "must be > {gt:g}",
    "less_than_equal": "must be <= {le:g}",
    "less_than": "must be < {lt:g}",
    "literal_error": "must be one of {expected}",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be letters, digits, '.', '_' or '-', beginning with a letter or digit",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list ('- ...' for each entry)",
    "dict_type": "must be 'key: value' pairs",
    "string_too_long": "must have at most {max_length} characters",
    "invalid_key": "must be text; put the key in quotes",
}


# Keys by what they were called before 0.2: users of Transformers, PEFT and Ray know the names of now.
RENAMED = {
    "train.steps": "max_steps",
    "train.warmup": "warmup_ratio",
    "train.max_gradient_norm": "max_grad_norm",
    "train.checkpoint_every": "save_steps",
    "train.log_every": "logging_steps",
    "train.evaluation_batch_size": "eval_batch_size",
    "ray.workers": "num_workers",
    "ray.storage": "storage_path",
    "tune.samples": "num_samples",
    "tune.max_concurrent": "max_concurrent_trials",
    "tune.monitor": "metric",
    "compare.judge": "eval_split",
    "compare.apart": "exclude_together",
    "compare.max_concurrent": "max_concurrent_cells",
    "guidance.direction": "lambda_direction",
    "guidance.magnitude": "lambda_magnitude",
    "guidance.alignment": "lambda_alignment",
    "guidance.source": "lambda_source",
    "guidance.radius": "fd_relative_change",
    "guidance.distance": "fd_step",
    "guidance.limit": "max_hvp_ratio",
    "guidance.every": "interval",
    "guidance.warmup": "warmup_ratio",
    "alignment.names": "label_name_prior",
    "alignment.refresh_every": "refresh_interval",
    "target.limit": "max_rows",
    "sources.limit": "max_rows",
}

# Keys and values that were there before 0.2 and are no more: no strategy used them, no measurement spoke for them.
REMOVED = {
    "train.contrastive": "steps on pairs of rows are gone; train.method: setfit trains on pairs",
    "train.average": "averages of parameters are gone; leave it out",
    "alignment.temperature": "softmax weighting is gone; leave it out",
    "guidance.reference": "the running mean is the only reference; leave it out",
    "guidance.reference_every": "the running mean is the only reference; leave it out",
    "guidance.magnitude_form": "‖g‖ is the only form; leave it out",
}
REMOVED_VALUES = {
    ("train.head", "regression"): "a fitted head is gone; train.method: setfit has one",
    ("alignment.weighting", "softmax"): "it is gone; use relu",
    ("alignment.weighting", "confident"): "it is gone; use relu",
}


def problem_lines(error: ValidationError, data: dict[str, Any]) -> list[str]:
    """The errors that have a place in the file, a line each; of very many the first, and how many more there are."""
    details = [detail for detail in error.errors(include_url=False, include_context=True) if detail["loc"]]
    lines = [problem_line(detail, data) for detail in details[:MOST_LINES]]
    more = len(details) - len(lines)
    if more > 0:
        unknown = sum(detail["type"] == "extra_forbidden" for detail in details[MOST_LINES:])
        lines.append(f"and {more:,} more problems, of which {unknown:,} are unknown keys; fix these first")
    return lines


def problem_line(detail: ErrorDetails, data: dict[str, Any]) -> str:
    """One error of pydantic as one line.

    Args:
        detail: what pydantic found.
        data: what was validated; gives entries of lists their names.
    """
    location = detail["loc"]
    where = _readable(location, data)
    kind, found = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        gone = REMOVED.get(_key(location))
        return f"{where}: {gone}" if gone else f"{where}: unknown key; {_key_hint(location)}"
    if kind == "missing":
        field = _field(location)
        meaning = f" ({field.description})" if field and field.description else ""
        return f"{where}: is missing; add it{meaning}"
    if kind == "value_error":
        message = str(context["error"])
        return f"{where}: {message}, found {_short(found)}"
    if kind in {"model_type", "model_attributes_type"}:
        message = f"must be a section with keys such as '{_keys(location)[0]}'"
    elif kind in WORDING:
        message = WORDING[kind].format(**context)
    else:
        message = detail["msg"].replace("Input should be", "must be").replace("\n", " ")
    if kind == "string_type" and isinstance(found, int | float):
        message += " (put it in quotes)"
    gone = REMOVED_VALUES.get((_key(location), found)) if isinstance(found, str) else None
    if gone:
        return f"{where}: {found}: {gone}"
    near = _nearest(found, re.findall(r"'([^']*)'", context.get("expected", "")))
    return f"{where}: {message}, found {_short(found)}{near}"


def _key(location: Location) -> str:
    """Dotted key of the schema: without the places in lists."""
    return ".".join(part for part in location if isinstance(part, str))


def _readable(location: Location, data: Any) -> str:
    """Dotted path, with entries of lists by name where they have one."""
    parts: list[str] = []
    node = data
    for part in location:
        node = _inside(node, part)
        named = isinstance(part, int) and isinstance(node, dict) and isinstance(node.get("name"), str)
        parts.append(_cut(node["name"] if named else str(part)))
    return ".".join(parts)


def _inside(node: Any, part: int | str) -> Any:
    try:
        return node[part]
    except (KeyError, IndexError, TypeError):
        return None


def _key_hint(location: Location) -> str:
    section = ".".join(str(part) for part in location[:-1] if isinstance(part, str)) or "top level"
    keys = _keys(location[:-1])
    now = RENAMED.get(_key(location))
    near = f"it is now '{now}'" if now else _nearest_key(location, keys)
    return f"{near + ' ' if near else ''}({section} takes: {', '.join(keys)})"


def _nearest_key(location: Location, keys: list[str]) -> str:
    """What may have been meant: a key, or what one was called before."""
    section = ".".join(str(part) for part in location[:-1] if isinstance(part, str))
    names = {key: key for key in keys}
    for before, now in RENAMED.items():
        if before.rpartition(".")[0] == section:
            names[before.rpartition(".")[2]] = now
    near = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"did you mean '{names[near[0]]}'?" if near else ""


def _nearest(found: Any, choices: list[str]) -> str:
    short = isinstance(found, str) and len(found) <= MOST_CHARACTERS
    near = difflib.get_close_matches(found, choices, n=1) if short else []
    return f"; did you mean '{near[0]}'?" if near else ""


def _short(found: Any) -> str:
    return "nothing" if found is None else _cut(_SHORT.repr(found))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _keys(location: Location) -> list[str]:
    """Keys of the section at a location of the schema."""
    field = _field(location)
    sections = [Config] if field is None else list(_sections(field.annotation))
    return list(sections[0].model_fields) if sections else []


def _field(location: Location) -> FieldInfo | None:
    """The schema's field at a location."""
    section: type[BaseModel] = Config
    field: FieldInfo | None = None
    for part in location:
        if isinstance(part, str):
            field = section.model_fields.get(part)
            if field is None:
                return None
            section = next(_sections(field.annotation), section)
    return field


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
