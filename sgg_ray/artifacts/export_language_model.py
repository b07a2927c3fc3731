"""A trained causal language model as a folder for Transformers or PEFT, and the lines that make labels or answers."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from sgg_ray.artifacts.finished_run import FinishedRun
from sgg_ray.errors import ModelError
from sgg_ray.models import LanguageModel, read_object
from sgg_ray.models.greedy import end_tokens, has_virtual_tokens
from sgg_ray.models.quantised import settings_of

Form = Literal["transformers", "adapter"]

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank may have
_VLLM = """
vLLM serves the folder as it is:

```sh
{command}
```
"""

_LOADING = """\
Labels are words that the model says after a prompt; their scores are log-probabilities. Long texts are not cut
here.{base}

```python
import re

import torch
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {load}.eval()


def plain(text):  # special tokens that stand in a text are characters like others
    names = {{token.content for token in tokenizer.added_tokens_decoder.values() if token.special}}
    names = sorted((name for name in names | {{*tokenizer.all_special_tokens}} if len(name) > 1), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)) or "(?!)", lambda found: f"{{found[0][0]}} {{found[0][1:]}}", text)


text = {text}
prompt = tokenizer({prompt}, add_special_tokens={special})["input_ids"]
answers = {answers}
offsets = {offsets}


def score(answer):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
    said = logits[-len(answer) - 1 : -1].float().log_softmax(-1)
    return said.gather(1, torch.tensor(answer)[:, None]).{reduction}()


scores = torch.stack([score(answer) for answer in answers.values()]) + torch.tensor(offsets)
probabilities = dict(zip(answers, scores.softmax(-1).tolist()))
print(probabilities)
```
"""


_ANSWERING = """\
Prompts are answered greedily. Long ones are not cut here.{base}

```python
import re

import torch
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {load}.eval()


def plain(text):  # special tokens that stand in a text are characters like others
    names = {{token.content for token in tokenizer.added_tokens_decoder.values() if token.special}}
    names = sorted((name for name in names | {{*tokenizer.all_special_tokens}} if len(name) > 1), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)) or "(?!)", lambda found: f"{{found[0][0]}} {{found[0][1:]}}", text)


text = {text}
prompt = tokenizer({prompt}, add_special_tokens={special}, return_tensors="pt")["input_ids"]
with torch.no_grad():
    ids = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens={most},
        do_sample=False,
        eos_token_id={ends},
        pad_token_id={pad},
        use_cache={cache},
    )
answer = tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True).strip()
print(answer)
```

For several prompts at once set `tokenizer.padding_side = "left"` and hand on the tokenizer's `attention_mask`.
"""


_CHOOSING = """\
Each choice counts by its log-probability after the prompt. (Where one choice of a row is the beginning of another, the
token that ends an answer belongs to each of them.){base}

```python
import re

import torch
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {load}.eval()


def plain(text):  # special tokens that stand in a text are characters like others
    names = {{token.content for token in tokenizer.added_tokens_decoder.values() if token.special}}
    names = sorted((name for name in names | {{*tokenizer.all_special_tokens}} if len(name) > 1), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)) or "(?!)", lambda found: f"{{found[0][0]}} {{found[0][1:]}}", text)


text = {text}
choices = {choices}
written = {prompt}
prompt = tokenizer(written, add_special_tokens={special})["input_ids"]
whole = [tokenizer(written + {lead!r} + plain(one), add_special_tokens={special})["input_ids"] for one in choices]
answers = [ids[len(prompt) :] for ids in whole]
if any(one != other and other[: len(one)] == one for one in answers for other in answers):
    answers = [ids + [tokenizer.eos_token_id] for ids in answers]


def score(answer):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
    said = logits[-len(answer) - 1 : -1].float().log_softmax(-1)
    return said.gather(1, torch.tensor(answer)[:, None]).{reduction}()


scores = torch.stack([score(answer) for answer in answers])
probabilities = dict(zip(choices, scores.softmax(-1).tolist()))
print(probabilities)
```
"""


def write_language_model(
    run: FinishedRun, model: LanguageModel, head: str, folder: Path, name: str, form: Form
) -> str:
    """Write the weights of a run's model into ``folder``, and return how to load them.

    Args:
        head: key of the target's labels.
        name: what the folder will be called.
        form: ``transformers`` merges an adapter into the weights, ``adapter`` leaves it apart.

    Raises:
        ModelError: the model cannot take that form.
    """
    backbone: Any = model.backbone
    adapters = getattr(backbone, "peft_config", {})
    if form not in ("transformers", "adapter"):
        raise ModelError(f"--form: a causal language model takes transformers or adapter, found '{form}'")
    if form == "adapter":
        if not adapters:
            raise ModelError("--form: the run trained the whole model and has no adapter; use transformers")
        shutil.copytree(run.model / "adapter", folder, dirs_exist_ok=True)
        (folder / "README.md").unlink(missing_ok=True)
        base = read_object(folder / "adapter_config.json")["base_model_name_or_path"]
        more, imports = _quantised(model)
        load = f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"{more}), "{name}")'
        where = f" The model that was adapted is loaded from `{base}`."
        lines = _loading(model, head, name, load, "from peft import PeftModel" + imports, where)
        return lines + _vllm_adapter(read_object(folder / "adapter_config.json"), name)
    if any(adapter.is_prompt_learning for adapter in adapters.values()):
        raise ModelError(
            "--form: virtual tokens are no part of the weights and cannot be merged; use adapter"
        )
    if adapters:
        backbone = backbone.merge_and_unload()
    if model.quantization is not None:
        backbone = backbone.to(torch.bfloat16)
    backbone.save_pretrained(folder)
    load = f'AutoModelForCausalLM.from_pretrained("{name}")'
    return _loading(model, head, name, load, "", "") + _VLLM.format(command=f"vllm serve {name}")


def _quantised(model: LanguageModel) -> tuple[str, str]:
    """Further arguments of ``from_pretrained``, and what is imported for them: the weights as they were trained on."""
    if model.quantization is None:
        return "", ""
    dtype = f"torch.{model.precision}"
    options = ", ".join(
        f"{name}={dtype if isinstance(value, torch.dtype) else repr(value)}"
        for name, value in settings_of(model.quantization, torch.float32).items()
    )
    given = f", quantization_config=BitsAndBytesConfig({options}), dtype={dtype}"
    return given, "\nfrom transformers import BitsAndBytesConfig"


def _vllm_adapter(adapter: dict[str, Any], name: str) -> str:
    """How vLLM loads an adapter; nothing for those that it refuses (`PEFTHelper`, vLLM 0.10): it takes plain LoRA."""
    plain_lora = adapter.get("peft_type") == "LORA" and adapter.get("bias", "none") == "none"
    more = ("use_dora", "modules_to_save", "layer_replication", "megatron_config", "target_parameters")
    if not plain_lora or any(adapter.get(key) for key in more):
        return ""
    ranks = [adapter["r"], *(adapter.get("rank_pattern") or {}).values()]
    allowed = next((rank for rank in VLLM_RANKS if rank >= max(ranks)), None)
    if allowed is None:
        return ""
    base = adapter["base_model_name_or_path"]
    if "://" in base or base.endswith(".gguf"):
        return ""  # addresses that are this package's own
    command = f"vllm serve {base} --enable-lora --max-lora-rank {allowed} --lora-modules {name}={name}"
    return _VLLM.format(command=command)


def _prompt_code(written: str, fields: Sequence[str], example: str) -> tuple[str, str]:
    """Lines of Python: an example of a text, and the prompt that holds it."""
    if len(fields) == 1:
        before, after = written.split(f"{{{fields[0]}}}")
        return f'"{example}"', f"{before!r} + plain(text) + {after!r}"
    filled = "".join(f".replace({f'{{{field}}}'!r}, plain(text[{field!r}]))" for field in fields)
    return repr(dict.fromkeys(fields, example)), f"{written!r}{filled}"


def _loading(model: LanguageModel, head: str, name: str, load: str, imports: str, base: str) -> str:
    task, prompter = model.task_of(head, []), model.prompter
    example = "a prompt to answer" if task.generates else "a text to label"
    named = tuple(f"{{{field}}}" for field in task.fields)
    text, prompt = _prompt_code(prompter.write(task, named), task.fields, example)
    given = {
        "folder": name,
        "base": base,
        "imports": imports,
        "load": load,
        "text": text,
        "prompt": prompt,
        "special": not prompter.chat,
    }
    if task.generates:
        text = _ANSWERING.format(
            **given,
            most=model.max_new_tokens,
            ends=end_tokens(model.backbone, model.tokenizer),
            pad=model.tokenizer.pad_token_id,
            # PEFT 0.21 says something else with a cache where virtual tokens stand before a prompt.
            cache=not has_virtual_tokens(model.backbone),
        )
        return text.replace("import torch\n\n", "import torch\n")
    if task.kind == "multiple_choice":
        text = _CHOOSING.format(
            **given,
            choices=[f"choice {label}" for label in task.labels],
            lead=prompter.lead(task),
            reduction="mean" if model.length_normalised else "sum",
        )
        return text.replace("import torch\n\n", "import torch\n")
    answers = {label: list(ids) for label, ids in zip(task.labels, prompter.answers(task))}
    offsets = model.offsets[head].tolist() if head in model.offsets else [0.0] * len(answers)
    text = _LOADING.format(
        **given,
        answers=answers,
        offsets=offsets,
        reduction="mean" if model.length_normalised else "sum",
    )
    return text.replace("import torch\n\n", "import torch\n")
