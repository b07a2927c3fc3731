"""Which task is target, source or unseen in a part of a comparison."""

import difflib

from sgg_ray.config.schema import Config
from sgg_ray.config.search_sections import CompareConfig
from sgg_ray.config.task_sections import HeldOutConfig, SourceConfig, TargetConfig, TaskConfig

DEFAULT_FRACTION = (
    0.2  # of a source's rows, for testing, when it is the target and the file's target has own test rows
)


def check_roles(config: Config) -> list[str]:
    """What is wrong with the names of tasks in ``compare``, a line each."""
    assert config.compare is not None
    known = [config.target.name, *(source.name for source in config.sources)]
    compare = config.compare
    named = [("targets", name) for name in compare.targets]
    named += [("unseen", name) for name in compare.unseen]
    named += [("exclude_together", name) for group in compare.exclude_together for name in group]
    problems = []
    if not compare.shots and config.target.shots == "all":
        problems.append(
            "compare.shots: target.shots is 'all', and strategies are compared by number; list numbers"
        )
    for key, name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
            problems.append(f"compare.{key}: there is no task '{name}'; {hint}")
    both = [name for name in targets_of(config) if name in compare.unseen]
    if both:
        problems.append(f"compare.unseen: '{both[0]}' is a target; unseen tasks are never trained on")
    return problems


def targets_of(config: Config) -> list[str]:
    """Names of the tasks that take the target's role, in order."""
    assert config.compare is not None
    return list(dict.fromkeys(config.compare.targets)) or [config.target.name]


def shots_of(config: Config) -> list[int]:
    """Numbers of shots per class, in order."""
    assert config.compare is not None
    if config.compare.shots:
        return sorted(set(config.compare.shots))
    assert config.target.shots != "all"  # check_roles
    return [config.target.shots]


def with_target(config: Config, name: str, shots: int, seed: int) -> Config:
    """The configuration with task ``name`` as target, and the others as sources, those that are unseen at the end.

    A source that is the target keeps its labels as they are in its file: ``flip_labels`` is for sources.
    """
    assert config.compare is not None
    compare = config.compare
    entries: dict[str, TaskConfig] = {config.target.name: config.target}
    entries |= {source.name: source for source in config.sources}
    if name == config.target.name:
        target = config.target.model_copy(update={"shots": shots})
    else:
        fraction = config.target.test.fraction or DEFAULT_FRACTION
        test = HeldOutConfig.model_validate({"fraction": fraction})
        target = TargetConfig(**_common(entries[name]), name=name, shots=shots, test=test)
    others = [other for other in entries if other != name and not _apart(compare, name, other)]
    others.sort(key=lambda other: other in compare.unseen)  # stable
    sources = [_as_source(entries[other], other) for other in others]
    return config.model_copy(update={"target": target, "sources": sources, "seed": seed})


def _common(entry: TaskConfig) -> dict:
    return {field: getattr(entry, field) for field in TaskConfig.model_fields}


def _as_source(entry: TaskConfig, name: str) -> SourceConfig:
    return entry if isinstance(entry, SourceConfig) else SourceConfig(**_common(entry), name=name)


def _apart(compare: CompareConfig, one: str, other: str) -> bool:
    return any(one in group and other in group for group in compare.exclude_together)
