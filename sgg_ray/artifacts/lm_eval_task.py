"""The test rows of a run as a task of lm-evaluation-harness, which then measures what ``metrics.json`` has."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from sgg_ray.artifacts.finished_run import FinishedRun
from sgg_ray.bounded import refused_name
from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.models import EncoderDecoderModel, LanguageModel, load_model
from sgg_ray.tasks import Rows, Text

# `!function` names are resolved in the file of that name beside the task's.
_TASK = """\
# lm_eval --model hf --model_args {arguments} --include_path {folder} --tasks {name}
task: {name}
custom_dataset: !function rows.rows
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
process_results: !function rows.process_results
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""
_ROWS = '''\
"""Rows of the task, and labels compared as the run compares them."""

import json
from pathlib import Path

from datasets import Dataset


def rows(**_):
    with (Path(__file__).parent / "test.jsonl").open(encoding="utf-8") as lines:
        return {"test": Dataset.from_list([json.loads(line) for line in lines])}


def process_results(doc, results):
    scores = [said / count + offset for (said, _), count, offset in zip(results, doc["counts"], doc["offsets"])]
    return {"acc": float(scores.index(max(scores)) == doc["label"])}
'''


def write_lm_eval_task(run: FinishedRun, folder: str | Path, exported: str | Path) -> str:
    """Write the run's test rows as a task folder for lm-evaluation-harness (``lm_eval``, 0.4.9 or newer).

    Prompts, label words, the mean over a word's tokens and contextual calibration are those of the run: on the exported
    model the harness finds the accuracy of ``metrics.json``, but for rounding.

    Args:
        run: a finished training of a causal language model on a target with labels.
        folder: where to; must be empty or not there.
        exported: the exported model, for the command in the task's first line.

    Returns:
        The task's name.

    Raises:
        ConfigError: the folder is in use.
        ModelError: the model is no causal one, or generates.
    """
    folder = Path(folder)
    if refused := refused_name(folder):
        raise ConfigError(f"--lm-eval: cannot write to {folder} ({refused}); choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--lm-eval: {folder} exists already; give a new or an empty folder")
    model, head = load_model(run.model)
    if (
        not isinstance(model, LanguageModel)
        or isinstance(model, EncoderDecoderModel)
        or run.config.target.kind != "classification"
    ):
        raise ModelError(
            "--lm-eval: only a causal language model that was trained on labels is scored by lm_eval"
        )
    examples = _examples(run, model, head)
    name = f"sgg_{run.config.name}".replace("-", "_").replace(".", "_")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(example, ensure_ascii=False) for example in examples]
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "rows.py").write_text(_ROWS, encoding="utf-8")
    arguments = f"pretrained={exported},dtype=float32"
    if not model.prompter.chat and model.tokenizer("x")["input_ids"][0] == model.tokenizer.bos_token_id:
        arguments += ",add_bos_token=True"
    text = _TASK.format(name=name, arguments=arguments, folder=folder)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return name


def _examples(run: FinishedRun, model: LanguageModel, head: str) -> list[dict]:
    frame = pd.read_parquet(run.path / "predictions.parquet")
    task, prompter, tokenizer = model.task_of(head, [""]), model.prompter, model.tokenizer
    texts = _texts(frame, task.fields)
    numbers = {label: number for number, label in enumerate(model.labels[head])}
    rows = Rows(tuple(texts), np.array([numbers[label] for label in frame["label"]], dtype=np.int64))
    answers, words = prompter.answers(task), prompter.words(task)
    end = tokenizer.eos_token_id
    choices = [word + (tokenizer.eos_token if ids[-1] == end else "") for word, ids in zip(words, answers)]
    offsets = model.offsets[head].tolist() if head in model.offsets else [0.0] * len(answers)
    counts = [len(ids) if model.length_normalised else 1 for ids in answers]
    shown = model.shots.get(head)
    prompts = prompter.write_all(task, rows, shown)
    for number, kept in enumerate(model.tokenise(task, rows).ids):
        whole = tokenizer(prompts[number], add_special_tokens=not prompter.chat)["input_ids"]
        if len(whole) > len(kept) + 1:  # some tokenizers end a text, a prompt never
            prompts[number] = tokenizer.decode(kept, skip_special_tokens=not prompter.chat)
    return [
        {"prompt": prompt, "choices": choices, "label": int(label), "counts": counts, "offsets": offsets}
        for prompt, label in zip(prompts, rows.labels)
    ]


def _texts(frame: pd.DataFrame, fields: tuple[str, ...]) -> list[Text]:
    if len(fields) == 1:
        column = fields[0] if fields[0] in frame.columns else "text"
        return frame[column].tolist()
    return list(zip(*(frame[field] for field in fields)))
