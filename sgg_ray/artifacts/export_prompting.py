"""How to load an exported language model: the text, with code, that its model card gets."""

from collections.abc import Sequence

from sgg_ray.models import EncoderDecoderModel, LanguageModel
from sgg_ray.models.greedy import end_tokens, has_virtual_tokens

# What all three templates below begin their code with.
_OPENING = """\
{base}

```python
import re

import torch
{imports}
from transformers import {model_class}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {load}.eval()


def plain(text):  # special tokens that stand in a text are characters like others
    names = {{token.content for token in tokenizer.added_tokens_decoder.values() if token.special}}
    names = sorted((name for name in names | {{*tokenizer.all_special_tokens}} if len(name) > 1), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)) or "(?!)", lambda found: f"{{found[0][0]}} {{found[0][1:]}}", text)


"""

# log p(answer | prompt), where answers are scored.
_SCORE = """\
def score(answer):
    with torch.no_grad():
{said}    return said.gather(1, torch.tensor(answer)[:, None]).{reduction}()


"""

_LOADING = (
    """\
Labels are words that the model says after a prompt; their scores are log-probabilities. Long texts are not cut
here."""
    + _OPENING
    + """\
text = {text}
prompt = tokenizer({prompt}, add_special_tokens={special})["input_ids"]
answers = {answers}
offsets = {offsets}


"""
    + _SCORE
    + """\
scores = torch.stack([score(answer) for answer in answers.values()]) + torch.tensor(offsets)
probabilities = dict(zip(answers, scores.softmax(-1).tolist()))
print(probabilities)
```
"""
)


_ANSWERING = (
    """\
Prompts are answered greedily. Long ones are not cut here."""
    + _OPENING
    + """\
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
answer = tokenizer.decode(ids[0, {begins} :], skip_special_tokens=True).strip()
print(answer)
```
{several}"""
)


_CHOOSING = (
    """\
Each choice counts by its log-probability after the prompt. (Where one choice of a row is the beginning of another, the
token that ends an answer belongs to each of them.)"""
    + _OPENING
    + """\
text = {text}
choices = {choices}
written = {prompt}
prompt = tokenizer(written, add_special_tokens={special})["input_ids"]
{tokenised}if any(one != other and other[: len(one)] == one for one in answers for other in answers):
    answers = [ids + [tokenizer.eos_token_id] for ids in answers]


"""
    + _SCORE
    + """\
scores = torch.stack([score(answer) for answer in answers])
probabilities = dict(zip(choices, scores.softmax(-1).tolist()))
print(probabilities)
```
"""
)


# What differs between architectures, by the places of the templates above.
_CAUSAL = {
    "model_class": "AutoModelForCausalLM",
    "said": """\
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
    said = logits[-len(answer) - 1 : -1].float().log_softmax(-1)
""",
    "tokenised": """\
whole = [tokenizer(written + {lead!r} + plain(one), add_special_tokens={special})["input_ids"] for one in choices]
answers = [ids[len(prompt) :] for ids in whole]
""",
    "begins": "prompt.shape[1]",
    "several": """
For several prompts at once set `tokenizer.padding_side = "left"` and hand on the tokenizer's `attention_mask`.
""",
}
_ENCODER_DECODER = {
    "model_class": "AutoModelForSeq2SeqLM",
    "said": """\
        answered = torch.tensor([[{start}] + answer[:-1]])
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=answered).logits[0]
    said = logits.float().log_softmax(-1)
""",
    "tokenised": """\
answers = [tokenizer(plain(one), add_special_tokens=False)["input_ids"] for one in choices]
""",
    "begins": "1",
    "several": "",
}


def _prompt_code(written: str, fields: Sequence[str], example: str) -> tuple[str, str]:
    """Lines of Python: an example of a text, and the prompt that holds it."""
    if len(fields) == 1:
        before, _, after = written.rpartition(f"{{{fields[0]}}}")  # rows that are shown may hold it as well
        return f'"{example}"', f"{before!r} + plain(text) + {after!r}"
    filled = "".join(f".replace({f'{{{field}}}'!r}, plain(text[{field!r}]))" for field in fields)
    return repr(dict.fromkeys(fields, example)), f"{written!r}{filled}"


def model_class_of(model: LanguageModel) -> str:
    """Transformers' class that loads the exported weights."""
    return _pieces(model)["model_class"]


def _pieces(model: LanguageModel) -> dict[str, str]:
    return _ENCODER_DECODER if isinstance(model, EncoderDecoderModel) else _CAUSAL


def how_to_prompt(model: LanguageModel, head: str, name: str, load: str, imports: str, base: str) -> str:
    """How the exported model is loaded, and the lines that make labels, choices or answers with it.

    Args:
        head: key of the target's labels.
        name: of the exported folder.
        load: the expression that loads the model.
        imports: a line that ``load`` needs.
        base: a sentence about where an adapter's model lies.
    """
    task, prompter = model.task_of(head, []), model.prompter
    example = "a prompt to answer" if task.generates else "a text to label"
    named = tuple(f"{{{field}}}" for field in task.fields)
    text, prompt = _prompt_code(prompter.write(task, named, model.shots.get(head)), task.fields, example)
    special = not prompter.chat
    places = {"start": getattr(model, "start", None), "special": special, "lead": prompter.lead(task)}
    given = {
        "folder": name,
        "base": base,
        "imports": imports,
        "load": load,
        "text": text,
        "prompt": prompt,
        "special": special,
        "reduction": "mean" if model.length_normalised else "sum",
        **{place: piece.format(**places) for place, piece in _pieces(model).items()},
    }
    if task.generates:
        template = _ANSWERING
        own = {
            "most": model.max_new_tokens,
            "ends": end_tokens(model.backbone, model.tokenizer),
            "pad": model.tokenizer.pad_token_id,
            # PEFT 0.21 says something else with a cache where virtual tokens stand before a prompt.
            "cache": not has_virtual_tokens(model.backbone),
        }
    elif task.kind == "multiple_choice":
        template, own = _CHOOSING, {"choices": [f"choice {label}" for label in task.labels]}
    else:
        answers = {label: list(ids) for label, ids in zip(task.labels, prompter.answers(task))}
        offsets = model.offsets[head].tolist() if head in model.offsets else [0.0] * len(answers)
        template, own = _LOADING, {"answers": answers, "offsets": offsets}
    return template.format(**given, **own).replace("import torch\n\n", "import torch\n")
