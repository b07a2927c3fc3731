"""Bad input of kind generation: one line with the place, what was found and what to do; nothing is started."""

import pytest
import toy
from transformers import AutoTokenizer

ENCODER_KEYS = {"head": "label_names"}


def source(**changes):
    return {"name": "s", "kind": "generation", "path": "rows.jsonl", **changes}


# What is changed in a sound configuration, and what the line has to say.
WRONG = {
    "labels": (
        {"target": {"labels": ["a", "b"]}},
        "target.labels: a task of kind generation has no labels; leave it out",
    ),
    "verbalizers": ({"target": {"verbalizers": {"a": "b"}}}, "target.verbalizers: a task of kind generation"),
    "labels in the prompt": ({"target": {"prompt": "{text} {labels}"}}, "target.prompt: a task of kind"),
    "prompt without text": ({"target": {"prompt": "Answer:"}}, "target.prompt: must hold {text}"),
    "columns of labels": (
        {"target": {"columns": {"text": "question"}}},
        "target.columns.text: a task of kind generation reads prompt and completion, or messages, found 'question'",
    ),
    "pairs and messages": (
        {"target": {"columns": {"messages": "m", "prompt": "q"}}},
        "target.columns.prompt: messages hold prompt and completion; leave out prompt or messages",
    ),
    "flipped labels": (
        {"sources": [source(flip_labels=0.5)]},
        "sources.s.flip_labels: a task of kind generation has no labels, found 0.5; use shuffle_completions",
    ),
    "unknown kind": (
        {"target": {"kind": "generatoin"}},
        "target.kind: must be one of 'classification', 'ordinal', 'multi_label', 'regression', 'multiple_choice' or "
        "'generation', found 'generatoin'; did you mean 'generation'?",
    ),
    "no new tokens": ({"train": {"max_new_tokens": 0}}, "train.max_new_tokens: must be >= 1, found 0"),
    "shared labels": ({"train": {"share_labels": True}}, "train.share_labels: a target of kind generation"),
    "missing column": (
        {"target": {"columns": {"completion": "answr"}}},
        "target.columns.completion: column 'answr' is not in",
    ),
    "too few rows": ({"target": {"shots": 1000}}, "target.shots: 1000 rows are needed beside the test rows"),
    "the head of an encoder": ({"train": ENCODER_KEYS}, "train.head: label_names is for encoders"),
}


@pytest.mark.parametrize("verb", ["score", "train", "tune"])
@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting(refused, write_generation, here, verb, changes, said):
    toy.write_rows(here / "rows.jsonl", toy.answers(40, 3))
    assert said in refused(verb, write_generation(**changes))


# In a configuration with labels.
FOREIGN = {
    "columns of completions": (
        {"target": {"columns": {"completion": "answer"}}},
        "target.columns.completion: a task of kind classification reads text and label, found 'answer'; use these, or "
        "add kind: generation",
    ),
    "shuffled completions": (
        {"sources": [{"name": "s", "path": "rows.jsonl", "shuffle_completions": 1.0}]},
        "sources.s.shuffle_completions: needs kind: generation, found 1; use flip_labels",
    ),
}


@pytest.mark.parametrize(("changes", "said"), FOREIGN.values(), ids=FOREIGN)
def test_a_key_of_completions_in_a_task_with_labels(refused, write_config, here, changes, said):
    toy.write_rows(here / "rows.jsonl", toy.sentences(40, 3))
    assert said in refused("train", write_config(**changes))


def test_an_encoder_generates_nothing(refused, write_generation, encoder):
    said = refused("train", write_generation(model={"path": str(encoder)}, sources=[]))
    assert said.startswith("target.kind: generation needs a language model, ")
    assert said.endswith("is an encoder; give another model, or a task with labels")


def test_answers_that_leave_no_room_for_a_prompt(refused, write_generation):
    said = refused("train", write_generation(train={"max_length": 10}, sources=[]))
    assert said.startswith("train.max_length: 12 of the 12 shots of target need up to ")


def test_a_shot_that_does_not_fit(refused, write_generation, here):
    long = [{"prompt": f"word{n} good1", "completion": "very " * 45} for n in range(40)]
    path = str(toy.write_rows(here / "long.jsonl", long))
    said = refused("train", write_generation(target={"path": path}))
    assert said.startswith("train.max_length: 12 of the 12 shots of target need up to ")
    assert said.endswith("tokens for prompt and completion, which is never cut, found 40; raise it")


@pytest.mark.parametrize("token", ["eos_token", "pad_token"])
def test_a_tokenizer_without_an_end(refused, write_generation, here, token):
    """Without a padding token it pads with the end; without an end, answers cannot end."""
    folder = toy.save_language_model(here / "lm")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    if token == "eos_token":
        tokenizer.pad_token = "x"
    tokenizer.save_pretrained(folder)
    said = refused("train", write_generation(model={"path": str(folder)}))
    missing = {"eos_token": "has no token that ends a text", "pad_token": "has no padding token"}
    assert missing[token] in said


def test_all_that_is_wrong_is_told_at_once(sgg, write_generation, no_ray):
    wrong = {"labels": ["a", "b"], "columns": {"label": "x"}}
    result = sgg("train", write_generation(target=wrong, sources=[source(flip_labels=1.0)]))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3


def test_targets_of_both_kinds_are_not_averaged(refused, write_generation, data):
    labels = {"name": "labels", "path": str(data / "clean.jsonl")}
    grid = {"strategies": [{"name": "full"}], "targets": ["target", "labels"]}
    said = refused("compare", write_generation(sources=[labels], compare=grid))
    assert said == (
        "compare.targets: results of different kinds cannot be averaged, found targets of kinds classification and "
        "generation; give targets of one kind"
    )


def test_a_template_that_refuses_the_messages(refused, write_generation, here):
    template = "{{ raise_exception('roles must alternate') }}"
    folder = toy.save_language_model(here / "lm", template)
    said = refused("train", write_generation(model={"path": str(folder)}))
    assert said.startswith("model.chat: the chat template refuses messages of user (roles must alternate)")


def test_a_dry_run_shows_the_plan(sgg, write_generation, no_ray):
    result = sgg("train", write_generation(), "--dry-run")
    assert result.exit_code == 0, result.output
    assert "target, 12 examples with completions" in result.output
    assert "shuffled: 100% of the completions were swapped with other rows' on purpose" in result.output
