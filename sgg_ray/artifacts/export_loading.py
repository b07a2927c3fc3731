"""How to load an exported encoder: the text, with code, that its model card gets."""

from collections.abc import Sequence
from typing import Literal

from sgg_ray.artifacts.finished_run import FinishedRun
from sgg_ray.evaluation import THRESHOLD
from sgg_ray.models import EncoderClassifier, read_manifest
from sgg_ray.tasks import kind_of

Form = Literal["sentence-transformers", "transformers", "adapter"]

_ENCODE = """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{folder}")
logits = model.encode(["a text to label"], convert_to_tensor=True)  # one value a label
labels = {labels}
print(dict(zip(labels, logits[0]{activation}.tolist())))
```
"""

_LOADING: dict[Form, str] = {
    "sentence-transformers": _ENCODE,
    "transformers": """\
How the encoder's states become logits is in `modeling_sgg.py`, which Transformers runs only when it is told to:

```python
from transformers import pipeline

classify = pipeline("text-classification", model="{folder}", trust_remote_code=True, top_k=None)
print(classify(["a text to label"], truncation=True))
```
""",
    "adapter": """\
The folder holds the adapter and the head; the model that was adapted is loaded from `{base}` (change
`base_model_name_or_path` in `adapter_config.json` where it lies elsewhere).

"""
    + _ENCODE
    + """
The adapter without the head: `PeftModel.from_pretrained(AutoModel.from_pretrained("{base}"), "{folder}")`.
""",
}

# Virtual tokens are no weights of the model: only PEFT can put them in front of a text.
_LOADING_PROMPTS = """\
The folder holds the virtual tokens and the head; the model that was adapted is loaded from `{base}`.

```python
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = PeftModel.from_pretrained(AutoModel.from_pretrained("{base}"), "{folder}").eval()
head = load_file("{folder}/head.safetensors")
tokens = tokenizer(["a text to label"], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    output = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    states = output.last_hidden_state[:, -tokens.input_ids.shape[1] :]  # without those of virtual tokens
{pooling}
    features = torch.nn.functional.normalize(pooled, dim=-1) * pooled.shape[-1] ** 0.5
    logits = torch.nn.functional.linear(features, head["weight"], head["bias"])  # one value a label
labels = {labels}
print(dict(zip(labels, logits[0]{activation}.tolist())))
```
"""
_ACTIVATIONS = {"multi_label": ".sigmoid()", "regression": ""}  # where not softmax
_POOLING = {
    "mean": """\
    mask = tokens.attention_mask.unsqueeze(-1).to(states.dtype)
    pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)""",
    "cls": "    pooled = states[:, 0]",
    "own": "    pooled = output.pooler_output",
}
_LOADING_AVERAGE = """\
The model is an average: each folder `member-…` is a model of its own, and their probabilities are averaged.

```python
from sentence_transformers import SentenceTransformer

shares = {shares}
texts = ["a text to label"]
members = [SentenceTransformer(f"{folder}/member-{{number}}") for number in range(len(shares))]
chances = [member.encode(texts, convert_to_tensor=True){activation} for member in members]
logits = sum(share * chance for share, chance in zip(shares, chances)){inverse}  # one value a label
labels = {labels}
print(dict(zip(labels, logits[0]{activation}.tolist())))
```
"""


def how_to_load(
    run: FinishedRun,
    model: EncoderClassifier,
    head: str,
    name: str,
    form: Form,
    base: str | None = None,
    prompts: bool = False,
) -> str:
    """How one model is loaded, or an average that was written as one.

    Args:
        name: of the exported folder.
        base: where the model that an adapter belongs to lies.
        prompts: the adapter is virtual tokens.
    """
    template = _LOADING_PROMPTS if prompts else _LOADING[form]
    return template.format(
        folder=name,
        labels=list(model.labels[head]),
        base=base,
        pooling=_POOLING[run.config.model.pooling],
        activation=_activation(head),
    ) + _thresholds(run, model, head)


def how_to_load_members(
    run: FinishedRun, model: EncoderClassifier, head: str, name: str, shares: Sequence[float]
) -> str:
    """How an average is loaded whose members were written as folders of their own.

    Args:
        model: one of the members.
        name: of the exported folder.
        shares: of each member's probabilities.
    """
    activation = _activation(head)
    return _LOADING_AVERAGE.format(
        folder=name,
        labels=list(model.labels[head]),
        shares=list(shares),
        activation=activation,
        inverse={".softmax(-1)": ".log()", "": ""}.get(activation, ".logit()"),
    ) + _thresholds(run, model, head)


def _activation(head: str) -> str:
    """Code that makes probabilities of the values of a head."""
    return _ACTIVATIONS.get(kind_of(head), ".softmax(-1)")


def _thresholds(run: FinishedRun, model: EncoderClassifier, head: str) -> str:
    """From which value on a label applies, in words."""
    kind = kind_of(head)
    if kind == "ordinal":
        return (
            "\nLabels stand from the lowest to the highest. The label of a text is the first at which the sum of the "
            "probabilities reaches one half.\n"
        )
    if kind != "multi_label":
        return ""
    manifest = read_manifest(run.model)
    threshold = THRESHOLD if manifest.threshold is None else manifest.threshold
    least = "; where none does, the most probable one" if manifest.at_least_one else ""
    return f"\nA label applies from a probability of {threshold:.4g} on{least}.\n"
