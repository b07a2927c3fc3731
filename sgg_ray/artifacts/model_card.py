"""The README.md of a model's folder: what it was made from, how good it is, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts.files import replace_file
from sgg_ray.artifacts.licences import UNKNOWN, licence_of_model
from sgg_ray.artifacts.quality_card import BASELINE, kept_model, quality_of
from sgg_ray.config import Config
from sgg_ray.markdown import markdown_code, markdown_text
from sgg_ray.secrets import redacted
from sgg_ray.tasks import ONE_LABEL, Task

_LOADING = """\
```python
from sgg_ray.prediction import Predictor

model = Predictor(".")  # this folder
print(model.predict(["a text to label"]))
```

`sgg export` writes it as a folder for sentence-transformers or Transformers.
"""


_LOADING_ANSWERS = """\
```python
from sgg_ray.prediction import Predictor

model = Predictor(".")  # this folder
print(model.predict(["a prompt to answer"]))
```

`sgg export` writes it as a folder for Transformers.
"""


def write_model_card(
    folder: Path,
    *,
    config: Config,
    target: Task,
    sources: Sequence[Task],
    report: AlignmentReport | None,
    metrics: Mapping[str, Any],
) -> Path:
    """Write ``folder``/README.md.

    ``metrics`` is what metrics.json holds: ``guided`` and, when it was trained, ``target-only`` with the
    fields of ``ClassificationMetrics``, and ``difference`` with those of ``PairedComparison``; of kind generation
    ``GenerationMetrics`` and ``GenerationComparison``.
    """
    licence = licence_of_model(config.model)
    sections = [
        _header(config, target, licence),
        _data(config, target, sources),
        _sources(report, sources, metrics),
        quality_of("generation" if target.generates else target.kind, metrics),
        _limits(config, target, metrics),
        _licences(config, licence),
        f"## How to load it\n\n{_LOADING_ANSWERS if target.generates else _LOADING}",
    ]
    return replace_file(Path(folder) / "README.md", "\n".join(filter(None, sections)).encode("utf-8"))


def _header(config: Config, target: Task, licence: str) -> str:
    task = "text-generation" if target.generates else "text-classification"
    tags = json.dumps([task, "few-shot", "sgg-ray"])  # JSON is YAML
    labels = ", ".join(map(markdown_code, target.labels))
    adapter = (
        f" with a {markdown_text(config.model.adapter.peft_type)} adapter" if config.model.adapter else ""
    )
    what = f"Text classifier for **{target.name}** with the labels {labels}"
    if target.generates:
        what = f"Answers prompts of **{target.name}**"
    elif target.kind == "regression":
        what = f"Predicts the number {labels} for texts of **{target.name}**"
    elif target.kind == "multi_label":
        what = f"Gives texts of **{target.name}** any number of the labels {labels}"
    elif target.kind == "ordinal":
        what = f"{what}, from the lowest to the highest"
    steps = f"{'' if config.train.early_stopping is None else 'at most '}{config.train.max_steps} steps"
    return (
        f"---\nlicense: {json.dumps(licence)}\ntags: {tags}\npipeline_tag: {task}\n---\n\n"
        f"# {config.name}\n\n"
        f"{what}: {_portable(config.model.path)}{adapter}, "
        f"adapted by sgg_ray with seed {config.seed} in {steps}. The settings are in the "
        "run's `config.yaml`.\n"
    )


def _portable(path: str) -> str:
    """The path as code, without passwords, and without the folders of this machine, which tell others nothing."""
    return markdown_code(redacted(Path(path).name if Path(path).is_absolute() else path))


def _data(config: Config, target: Task, sources: Sequence[Task]) -> str:
    lines = [
        "## Data\n",
        "| task | role | path | rows for training | test rows |",
        "|---|---|---|---:|---:|",
    ]
    paths = {source.name: source.path for source in config.sources} | {target.name: config.target.path}
    for task in (target, *sources):
        test = str(len(task.test)) if len(task.test) else ""
        path = _portable(paths.get(task.name, ""))
        lines.append(f"| {task.name} | {task.role} | {path} | {len(task.train)} | {test} |")
    notes = [f"- {task.name}: {markdown_text(note)}" for task in (target, *sources) for note in task.notes]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _sources(report: AlignmentReport | None, sources: Sequence[Task], metrics: Mapping[str, Any]) -> str:
    if kept_model(metrics) == BASELINE:
        return (
            "## Sources\n\nNone: on held-out shots guidance was worse, so that the run keeps the model that was "
            "trained on the target alone.\n"
        )
    if report is None:
        return "" if sources else "## Sources\n\nNone: trained on the target alone.\n"
    percent = f"{100 * report.confidence:g} %"
    lines = [
        "## Sources\n",
        f"Alignment is the cosine of a source's gradient with the target's, with its {percent} interval; "
        f"the share (weighting `{report.weighting}`) is the source's share of the mixture at the start.\n",
        "| source | alignment | interval | verdict | share |",
        "|---|---:|---:|---|---:|",
    ]
    for source in report.ranked():
        score = source.score
        value = f"{score.value:+.2f}" if score else ""
        interval = f"{score.low:+.2f} … {score.high:+.2f}" if score else ""
        lines.append(f"| {source.source} | {value} | {interval} | {source.verdict} | {source.weight:.2f} |")
    return "\n".join(lines) + "\n"


def _limits(config: Config, target: Task, metrics: Mapping[str, Any]) -> str:
    if target.generates:
        lines = [
            f"- Adapted to {len(target.train)} examples of one task; other prompts are untested.",
            f"- Prompts are cut after {config.train.max_length} tokens, answers after {config.train.max_new_tokens}.",
            "- It answers every prompt. Whether its answers are true or harmless was not tested.",
        ]
    else:
        lines = [
            f"- Adapted to {len(target.train)} labelled examples of one task; other texts and meanings of the "
            "labels are untested.",
            f"- Texts are cut after {config.train.max_length} tokens.",
        ]
        if target.kind == "regression":
            lines.append("- It always answers with a number, which may lie outside those it was trained on.")
        elif target.kind != "multi_label":
            lines.append(
                "- It always answers with one of its labels and was not tested on texts that fit none."
            )
        probable = target.kind in ONE_LABEL and not metrics.get("calibration")
        lines += ["- Its probabilities were not calibrated."] if probable else []
    lines.append("- It inherits biases from the data of the base model and the sources.")
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def _licences(config: Config, of_model: str) -> str:
    lines = ["## Licences\n", "| what | licence |", "|---|---|"]
    lines.append(f"| base model {_portable(config.model.path)} | {markdown_text(of_model)} |")
    tasks = (config.target, *config.sources)
    lines += [f"| rows of {task.name} | {markdown_text(task.license or UNKNOWN)} |" for task in tasks]
    lines.append(
        "\nThe licence at the top of this card is the base model's. Whether the rows allow the adapted model to be "
        "passed on was not examined."
    )
    return "\n".join(lines) + "\n"
