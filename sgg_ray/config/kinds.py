"""Which keys belong to which kind of task."""

from collections.abc import Iterator, Sequence

from sgg_ray.config.fields import check_prompt
from sgg_ray.config.roles import targets_of
from sgg_ray.config.schema import Config
from sgg_ray.config.task_sections import Columns, SourceConfig, TaskConfig
from sgg_ray.config.values import as_list

GENERATION, REGRESSION, MULTI_LABEL = "generation", "regression", "multi_label"
CHOICE = "multiple_choice"
HUB = "hf://"
PAIRS = ("prompt", "completion", "messages")  # columns of kind generation


def without_effect(config: Config) -> list[str]:
    """A line for each value that says how to choose rows while no rows are chosen."""
    rows, lines = config.alignment, []
    if rows.row_weighting == "none" and rows.row_scores != "influence":
        lines.append(
            f"alignment.row_scores: {rows.row_scores} chooses no rows while alignment.row_weighting is none"
        )
    if rows.row_weighting != "top" and rows.row_share != 0.5:
        lines.append(
            f"alignment.row_share: {rows.row_share:g} is for alignment.row_weighting: top, found "
            f"{rows.row_weighting}"
        )
    return lines


def check_kinds(config: Config) -> list[str]:
    """One line for each key that does not fit the kind of its task."""
    tasks = [("target", config.target), *((f"sources.{source.name}", source) for source in config.sources)]
    problems = [line for place, entry in tasks for line in _unsuitable(place, entry)]
    test = config.target.test.columns
    if test is not None:
        own, other = as_list(config.target.columns.text), as_list(test.text)
        if len(own) != len(other):
            problems.append(
                f"target.test.columns.text: must name {len(own)} as target.columns.text does, found {', '.join(other)}"
            )
        problems += _columns("target.test.columns", test, config.target.kind)
    held_out = config.target.test
    if held_out.split is not None and not (held_out.path or config.target.path).startswith(HUB):
        problems.append(
            f"target.test.split: only {HUB} data sets have splits, found '{held_out.split}'; give test.path or "
            "test.fraction"
        )
    if held_out.is_none:
        problems += _without_test_rows(config)
    if config.target.kind == GENERATION and config.train.share_labels:
        problems.append("train.share_labels: a target of kind generation has no labels; leave it out")
    problems += _unlabelled(config)
    problems += _words_needed(config, tasks)
    if config.compare is not None:
        problems += _mixed_targets(config)
    return problems


def _unlabelled(config: Config) -> Iterator[str]:
    """Who can learn from texts without labels."""
    entry, place = config.target.unlabelled, "target.unlabelled"
    if entry is None:
        return
    if config.train.method != "auto" or config.compare is not None:
        found = "a comparison" if config.compare else config.strategy or "the file's own settings"
        yield f"{place}: only strategy auto of sgg train learns from unlabelled texts, found {found}; leave it out"
    elif config.target.kind != "classification":
        yield f"{place}: needs a target of kind classification, found {config.target.kind}; leave it out"
    elif config.train.budget < 2:
        yield f"{place}: one of the trainings of train.budget learns from them, found a budget of 1; use 2 or 3"
    elif config.ray.sharding is not None:
        yield f"{place}: cannot be used with ray.sharding, found {config.ray.sharding}; leave one of them out"
    if entry.split != "train" and not entry.path.startswith(HUB):
        yield f"{place}.split: only {HUB} data sets have splits, found {entry.path}; leave it out"
    columns = entry.columns
    if columns is not None and len(as_list(columns.text)) != len(as_list(config.target.columns.text)):
        own = len(as_list(config.target.columns.text))
        yield (
            f"{place}.columns.text: must name {own} as target.columns.text does, found "
            f"{', '.join(as_list(columns.text))}"
        )


def _words_needed(config: Config, tasks: Sequence[tuple[str, TaskConfig]]) -> Iterator[str]:
    """What is for tasks with label words."""
    if config.train.context_examples:
        for place, entry in tasks:
            if entry.kind != "classification":
                yield (
                    f"{place}.kind: train.context_examples needs tasks of kind classification, found {entry.kind}; "
                    "set it to 0, or leave out the task"
                )
    if config.train.loss != "cross_entropy" and config.target.kind == GENERATION:
        yield f"train.loss: {config.train.loss} needs answers to choose from, found kind generation; leave it out"


def _without_test_rows(config: Config) -> Iterator[str]:
    """Who cannot do without them."""
    if config.target.kind in (GENERATION, REGRESSION):  # no trainings hold out a part of their shots
        yield (
            f"target.test: a target of kind {config.target.kind} needs test rows, found none; give test.fraction or "
            "test.path"
        )
    if config.compare is not None:
        yield "target.test: strategies are compared on test rows, found none; give test.fraction or test.path"
    folds = config.train.calibration_folds
    if folds is not None and folds < 2:
        yield (
            f"train.calibration_folds: without test rows quality is estimated on held-out parts, found {folds}; use 2 "
            "or more, or leave it out"
        )


def _unsuitable(place: str, entry: TaskConfig) -> Iterator[str]:
    generation = entry.kind == GENERATION
    if entry.split != "train" and not entry.path.startswith(HUB):
        yield f"{place}.split: only {HUB} data sets have splits, found {entry.path}; leave it out"
    problem = check_prompt(entry)
    if problem:
        yield f"{place}.{problem}"
    if generation:
        for key in ("labels", "verbalizers"):
            if getattr(entry, key) is not None:
                yield f"{place}.{key}: a task of kind generation has no labels; leave it out, or leave out kind"
        if entry.prompt is not None and "{labels}" in entry.prompt:
            yield f"{place}.prompt: a task of kind generation has no {{labels}}; leave them out"
    if entry.kind == REGRESSION:
        for key in ("labels", "verbalizers"):
            if getattr(entry, key) is not None:
                yield f"{place}.{key}: a task of kind regression has numbers and no labels; leave it out"
    if entry.kind == MULTI_LABEL and entry.columns.labels is not None and entry.labels is not None:
        yield f"{place}.labels: columns.labels names the labels already; leave one of them out"
    if entry.kind == CHOICE:
        if entry.verbalizers is not None:
            yield f"{place}.verbalizers: a task of kind {CHOICE} says the choices themselves; leave it out"
        if isinstance(entry.labels, dict):
            yield f"{place}.labels: must list what the label column says for each choice, the first one first"
        if entry.prompt is not None and "{labels}" in entry.prompt:
            yield f"{place}.prompt: a task of kind {CHOICE} has no {{labels}}; leave them out"
    yield from _columns(f"{place}.columns", entry.columns, entry.kind)
    if isinstance(entry, SourceConfig):
        if entry.kind in (REGRESSION, MULTI_LABEL, CHOICE) and entry.flip_labels > 0:
            yield (
                f"{place}.flip_labels: needs a task whose rows have one label, found kind {entry.kind}; leave it out"
            )
        if generation and entry.flip_labels > 0:
            yield (
                f"{place}.flip_labels: a task of kind generation has no labels, found {entry.flip_labels:g}; use "
                "shuffle_completions, which gives rows the completions of others"
            )
        if not generation and entry.shuffle_completions > 0:
            yield (
                f"{place}.shuffle_completions: needs kind: generation, found {entry.shuffle_completions:g}; use "
                "flip_labels, which gives rows wrong labels"
            )


def _columns(place: str, columns: Columns, kind: str) -> Iterator[str]:
    defaults = Columns()  # pyright: ignore[reportCallIssue]
    foreign = ("text", "label") if kind == GENERATION else PAIRS
    own = "prompt and completion, or messages" if kind == GENERATION else "text and label"
    other = "leave out kind" if kind == GENERATION else "add kind: generation"
    for key in foreign:
        found = getattr(columns, key)
        if found != getattr(defaults, key):
            yield f"{place}.{key}: a task of kind {kind} reads {own}, found '{found}'; use these, or {other}"
    if (columns.choices is None) == (kind == CHOICE):
        found = "none" if columns.choices is None else f"kind: {kind}"
        need = f"{CHOICE} needs them" if kind == CHOICE else f"needs kind: {CHOICE}"
        yield f"{place}.choices: {need}, found {found}; name a column for each choice, or one with lists"
    if columns.labels is not None and kind != MULTI_LABEL:
        yield f"{place}.labels: needs kind: multi_label, found {kind}; use columns.label"
    if columns.labels is not None and columns.label != defaults.label:
        yield f"{place}.labels: columns.label holds the labels already; leave one of them out"
    if kind == GENERATION and columns.messages is not None:
        for key in ("prompt", "completion"):
            if getattr(columns, key) != getattr(defaults, key):
                yield f"{place}.{key}: messages hold prompt and completion; leave out {key} or messages"


def _mixed_targets(config: Config) -> Iterator[str]:
    kinds = {config.target.name: config.target.kind} | {s.name: s.kind for s in config.sources}
    found = {kinds[name] for name in targets_of(config) if name in kinds}
    if len(found) > 1:
        yield (
            "compare.targets: results of different kinds cannot be averaged, found targets of kinds "
            f"{' and '.join(sorted(found))}; give targets of one kind"
        )
