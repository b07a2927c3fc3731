"""Strategies of a comparison: files that change some keys of a configuration, and what comes of it."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sgg_ray.config.document import read_document
from sgg_ray.config.messages import problem_lines
from sgg_ray.config.schema import Config
from sgg_ray.config.search_sections import StrategyConfig
from sgg_ray.config.section import NAME
from sgg_ray.config.space import with_values
from sgg_ray.errors import ConfigError

SECTIONS = ("model", "alignment", "guidance", "train")
FOLDER = "strategies"
AUTO, NO_STRATEGY = "auto", "none"
# What a strategy decides. A file that sets one of these decides for itself.
DECISIVE = {
    "model": ("adapter", "trainable"),
    "alignment": ("weighting", "refresh_interval"),
    "train": ("method", "schedule", "combine", "head", "share_labels", "learning_rate", "head_learning_rate"),
}
# What each training of `auto` has for itself, so that one value for all of them would be lost.
SET_BY_AUTO = ("guidance.lambda_", "guidance.max_hvp_ratio", "train.learning_rate", "train.head")
SHIPPED = Path(str(files("sgg_ray"))) / FOLDER  # package data


def read_strategies(data: dict[str, Any], base: Path) -> list[str]:
    """Put the contents of strategy files in place of their names, in the document of a configuration.

    A name stands for ``strategies/NAME.yaml`` beside the configuration, or else one that the package ships. What
    ends in .yaml is a path, relative to the configuration.

    Args:
        data: the document; changed in place.
        base: folder of the configuration.

    Returns:
        A line for each file that cannot be read.
    """
    section = data.get("compare")
    if not isinstance(section, dict) or not isinstance(section.get("strategies"), list):
        return []
    entries = section["strategies"]
    problems = []
    for place, entry in enumerate(entries):
        if not isinstance(entry, str):
            continue
        path = _find(entry, base)
        if path is None:
            problems.append(f"compare.strategies: there is no strategy '{entry}'; {_hint(entry, base)}")
        try:
            found = read_document(path) if path else {}
        except ConfigError as error:
            problems += error.problems
            found = {}
        # What cannot be read changes nothing, so that the schema does not tell of it a second time.
        fallback = entry if re.match(NAME, entry) else f"strategy-{place}"
        entries[place] = {"name": path.stem if path else fallback, **found}
    return problems


def choose_default(data: dict[str, Any]) -> None:
    """Let strategy ``auto`` decide where a file says nothing of how to train; data is changed in place.

    It says something if it names a strategy (``none``: the sections as they are), sets a key of ``guidance`` or one
    that is DECISIVE, or has a sweep or a comparison. Only the kind classification is decided for.
    """
    if data.get("strategy") == NO_STRATEGY:
        data["strategy"] = None
        return
    target = data.get("target")
    kind = target.get("kind", "classification") if isinstance(target, dict) else None
    if data.get("strategy") is not None or kind != "classification":
        return
    if data.get("compare") is not None or data.get("tune") is not None or data.get("guidance"):
        return
    for section, keys in DECISIVE.items():
        own = data.get(section)
        if own is not None and not isinstance(own, dict):
            return  # the schema tells
        if any(key in (own or {}) for key in keys):
            return
    data["strategy"] = AUTO


def check_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """A line for each override that strategy ``auto`` would not look at."""
    if data.get("strategy") != AUTO:
        return []
    return [
        f"--set {override}: strategy auto sets this for each of its trainings; leave it out, or take one strategy "
        "(--set strategy=sgg)"
        for override in overrides
        if override.strip().startswith(SET_BY_AUTO)
    ]


def read_strategy(data: dict[str, Any], base: Path) -> list[str]:
    """Put the keys of the strategy that ``strategy`` names in place of the document's own; data is changed in place.

    Returns:
        A line if there is no such strategy, or its file cannot be read.
    """
    name = data.get("strategy")
    if not isinstance(name, str):
        return []
    path = _find(name, base)
    if path is None:
        return [f"strategy: there is no strategy '{name}'; {_hint(name, base)}"]
    try:
        found = StrategyConfig.model_validate({"name": path.stem, **read_document(path)})
    except ConfigError as error:
        return list(error.problems)
    except ValidationError as error:
        return [f"strategy: {path}: {line}" for line in problem_lines(error, {})]
    for section in SECTIONS:
        own = data.get(section)
        if own is None or isinstance(own, dict):
            data[section] = _merged_section(own or {}, getattr(found, section))
    return []


def shipped_strategy(name: str) -> StrategyConfig:
    """A strategy that the package ships."""
    return StrategyConfig.model_validate({"name": name, **read_document(SHIPPED / f"{name}.yaml")})


def check_strategies(config: Config) -> list[str]:
    """What is wrong with the strategies' values, a line each."""
    assert config.compare is not None
    problems = []
    for strategy in config.compare.strategies:
        try:
            apply_strategy(config, strategy)
        except ValidationError as error:
            lines = problem_lines(error, _merged(config, strategy))
            lines += [str(detail.get("ctx", {})["error"]) for detail in error.errors() if not detail["loc"]]
            problems += [f"compare.strategies.{strategy.name}.{line}" for line in lines]
    known = config.flat()
    for key in config.compare.vary:
        if key not in known or key.split(".")[0] not in SECTIONS:
            near = difflib.get_close_matches(key, [k for k in known if k.split(".")[0] in SECTIONS], n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"use keys of {', '.join(SECTIONS)}"
            problems.append(f"compare.vary.{key}: cannot be varied; {hint}")
    for key, values in config.compare.vary.items():
        if not values:
            problems.append(f"compare.vary.{key}: needs at least one value")
    names = [strategy.name for strategy in config.compare.strategies]
    problems += [
        f"compare.strategies: '{name}' stands {names.count(name)} times; give each its own name"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    return problems or _wrong_variants(config)


def apply_strategy(config: Config, strategy: StrategyConfig) -> Config:
    """The configuration with the strategy's keys in place of its own.

    Raises:
        pydantic.ValidationError: a key or value is not allowed.
    """
    return Config.model_validate(_merged(config, strategy))


def strategy_configs(config: Config) -> dict[str, Config]:
    """The configuration of every strategy by its name; with ``vary`` of every combination, named after its values."""
    assert config.compare is not None
    found = {}
    for strategy in config.compare.strategies:
        own = apply_strategy(config, strategy)
        for values in _combinations(config.compare.vary):
            marks = [f"{key.split('.')[-1]}={_short(value)}" for key, value in values.items()]
            found[" ".join([strategy.name, *marks])] = with_values(own, values) if values else own
    return found


def _merged(config: Config, strategy: StrategyConfig) -> dict[str, Any]:
    """Key by key; an adapter is replaced as a whole, since its options belong to its method."""
    data = config.model_dump()
    for section in SECTIONS:
        data[section] = _merged_section(data[section], getattr(strategy, section))
    # A file that lets the package decide does not mean to decide for the strategies that it compares.
    if data["train"]["method"] == "auto" and "method" not in strategy.train:
        data["train"]["method"] = "gradients"
    if data["alignment"]["weighting"] == "evidence" and "weighting" not in strategy.alignment:
        data["alignment"]["weighting"] = "relu"
    return data


def _merged_section(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(own)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, Mapping) and key != "adapter":
            value = {**before, **value}
        merged[key] = value
    return merged


def _combinations(vary: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(vary, values)) for values in product(*vary.values())]


def _wrong_variants(config: Config) -> list[str]:
    """What shows only when every strategy is combined with what varies."""
    assert config.compare is not None
    baseline = config.compare.baseline
    try:
        known = strategy_configs(config)
    except ValidationError as error:
        detail = error.errors()[0]
        message = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        return [f"compare.vary.{'.'.join(map(str, detail['loc']))}: {message}, found {detail['input']!r}"]
    if baseline is not None and baseline not in known:
        return [f"compare.baseline: '{baseline}' is none of the strategies; choose one of {', '.join(known)}"]
    return []


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _find(entry: str, base: Path) -> Path | None:
    if entry.endswith((".yaml", ".yml")):
        candidates = [base / os.path.expanduser(entry)]
    else:
        candidates = [base / FOLDER / f"{entry}.yaml", SHIPPED / f"{entry}.yaml"]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _hint(entry: str, base: Path) -> str:
    known = sorted({path.stem for folder in (base / FOLDER, SHIPPED) for path in folder.glob("*.yaml")})
    near = difflib.get_close_matches(entry, known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"there are: {', '.join(known)}" if known else "give the path of a .yaml file"
