"""Read the YAML file, apply ``--set``, and report everything that is wrong with it at once."""

import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sgg_ray.config.addresses import without_passwords
from sgg_ray.config.document import read_document, write_yaml
from sgg_ray.config.kinds import check_kinds
from sgg_ray.config.messages import problem_line, problem_lines
from sgg_ray.config.overrides import apply_override
from sgg_ray.config.roles import check_roles
from sgg_ray.config.schema import Config, same_names
from sgg_ray.config.space import check_space
from sgg_ray.config.strategies import (
    SECTIONS,
    check_overrides,
    check_strategies,
    choose_default,
    read_strategies,
    read_strategy,
)
from sgg_ray.config.strategy_messages import replaced_values, with_culprit
from sgg_ray.errors import ConfigError
from sgg_ray.secrets import is_redacted


def load_config(
    path: str | Path, overrides: Sequence[str] = (), name: str | None = None, strategy: str | None = None
) -> Config:
    """Read a configuration file.

    Input paths in it are relative to the file and come back absolute; outputs are relative to where the
    command runs.

    Args:
        path: the YAML file.
        overrides: ``a.b=value`` strings, the value in YAML; an entry of a list goes by position or name.
        name: replaces ``name``.
        strategy: replaces ``strategy``. A strategy's keys stand above the file's own, and overrides above both.

    Raises:
        ConfigError: with one line for each problem in file and overrides.
    """
    path = Path(path)
    data = read_document(path)
    written = copy.deepcopy(data)
    problems = [line for override in overrides for line in apply_override(data, override)]
    if strategy is not None:
        data["strategy"] = strategy
    choose_default(data)
    if data.get("strategy") is not None:
        problems += _wrong_values(data)
        problems += read_strategy(data, path.parent)
        problems += check_overrides(data, overrides)
        for override in overrides:
            apply_override(data, override)
    if data.get("name") is None:
        data["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "run"
    if name is not None:
        data["name"] = name
    problems += read_strategies(data, path.parent)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        # The schema compares names only once every value is right, but all problems are wanted at once: names
        # are compared here, and the schema's own line for them is left out.
        twice = same_names(_names(data))
        problems += [line for line in problem_lines(error, data) if line not in problems]
        for detail in error.errors(include_url=False):
            line = str(detail.get("ctx", {}).get("error"))
            if not detail["loc"] and line != "; ".join(twice):
                problems.append(line)
        if data.get("strategy") is not None:
            problems = with_culprit(problems, written, data, overrides)
        raise ConfigError([*problems, *twice]) from None
    wrong = check_kinds(config)
    problems += wrong if config.strategy is None else with_culprit(wrong, written, data, overrides)
    if config.tune is not None:
        problems += check_space(config, config.tune.space)
    if config.compare is not None:
        problems += check_strategies(config) + check_roles(config)
    if problems:
        raise ConfigError(problems)
    if config.strategy is not None:
        config.remember_replaced(replaced_values(written, data, overrides))
    return _absolute_inputs(config, os.path.abspath(path.parent))


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back to the same values."""
    # What a strategy sets is in the sections, with all overrides; put in place once more, it would undo these.
    return write_yaml(without_passwords(config.model_copy(update={"strategy": None}).model_dump(mode="json")))


def passwords_in(config: Config) -> list[str]:
    """Keys whose addresses hold passwords that are written out."""
    return [key for key, value in config.flat().items() if isinstance(value, str) and is_redacted(value)]


def config_schema() -> dict[str, Any]:
    """JSON schema of the YAML file, for editors that complete and check it."""
    return Config.model_json_schema()


def _wrong_values(data: dict[str, Any]) -> list[str]:
    """What is wrong with single values of the file that has a strategy: nobody would look at those it replaces."""
    sections = {section: data[section] for section in SECTIONS if isinstance(data.get(section), dict)}
    sections["model"] = {"path": "any", **sections.get("model", {})}
    try:
        Config.model_validate({"name": "any", "target": {"path": "any", "shots": 1}, **sections})
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        return [
            problem_line(detail, data)
            for detail in details
            if len(detail["loc"]) > 1 and detail["type"] not in ("extra_forbidden", "missing")  # these remain
        ]
    return []


def _names(data: dict[str, Any]) -> list[Any]:
    target, sources = data.get("target"), data.get("sources")
    entries = [entry for entry in (sources if isinstance(sources, list) else []) if isinstance(entry, dict)]
    first = target.get("name", "target") if isinstance(target, dict) else "target"
    return [first, *(entry.get("name") for entry in entries)]


def _absolute_inputs(config: Config, base: str) -> Config:
    """Make input paths absolute: a run folder's config.yaml must replay from anywhere."""

    def absolute(path: str) -> str:
        return (
            path
            if "://" in path or path.startswith("${")
            else os.path.abspath(os.path.join(base, os.path.expanduser(path)))
        )

    def moved(section):
        return section.model_copy(update={"path": absolute(section.path)})

    target = moved(config.target)
    if target.test.path is not None:
        target = target.model_copy(update={"test": moved(target.test)})
    if target.unlabelled is not None:
        target = target.model_copy(update={"unlabelled": moved(target.unlabelled)})
    model = config.model
    # What is no folder here may be a hub id.
    if model.path.startswith((".", "~")) or os.path.exists(absolute(model.path)):
        model = moved(model)
    sources = [moved(source) for source in config.sources]
    ray = config.ray.model_copy(update={"storage_path": os.path.expanduser(config.ray.storage_path)})
    uri = config.tracking.uri.replace(":///~/", f":///{os.path.expanduser('~')}/", 1)
    tracking = config.tracking.model_copy(update={"uri": uri})
    changes = {"target": target, "model": model, "sources": sources, "ray": ray, "tracking": tracking}
    return config.model_copy(update=changes)
