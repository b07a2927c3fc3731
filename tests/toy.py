"""A model and tasks small enough for tests: a random encoder, and texts whose label follows from words."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOOD = tuple(f"good{number}" for number in range(12))
BAD = tuple(f"bad{number}" for number in range(12))
PLAIN = tuple(f"word{number}" for number in range(170))
WIDTH = 32


def save_encoder(folder: Path) -> Path:
    """Write a random BERT with its WordPiece tokenizer, as ``save_pretrained`` does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    words = (*SPECIAL, *GOOD, *BAD, *PLAIN)
    vocabulary = folder / "words.txt"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(str(vocabulary)).save_pretrained(folder)
    vocabulary.unlink()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        model = BertModel(config)
        # Wider than BERT's own 0.02: with it, so small a random model hardly tells two texts apart.
        model.embeddings.word_embeddings.weight.data.normal_(std=0.5)
        model.save_pretrained(folder)
    return folder


def save_language_model(
    folder: Path, template: str | None = None, width: int = WIDTH, layers: int = 2
) -> Path:
    """Write a random Llama with a word-level tokenizer that has no padding token, as ``save_pretrained`` does.

    Args:
        template: chat template of the tokenizer.
        width: of the hidden states.
        layers: decoder blocks.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = _words("<unk>", "<end>")
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<end>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=len(words),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.4 / layers,  # deeper ones turn rounding into other gradients
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_encoder_decoder(folder: Path, **settings: Any) -> Path:
    """Write a random T5 with a word-level tokenizer that ends every text, as T5's own does.

    Args:
        settings: of ``T5Config``, in place of the tied and scaled output layer of the first T5.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = _words("<pad>", "</s>", "<unk>")
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    inner.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])  # pyright: ignore[reportAttributeAccessIssue]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = T5Config(
            vocab_size=len(words),
            d_model=WIDTH,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            **{"decoder_start_token_id": 0, **settings},
        )
        model = T5ForConditionalGeneration(config)
        if not config.scale_decoder_outputs:  # with an output layer of its own, as T5 1.1 and FLAN have
            model.lm_head.weight = torch.nn.Parameter(torch.randn(len(words), WIDTH) / WIDTH**0.5)
        model.save_pretrained(folder)
    return folder


def _words(*special: str) -> list[str]:
    """The vocabulary of word-level tokenizers."""
    own = (
        "Text",
        "Label",
        "Review",
        ":",
        "?",
        ",",
        "negative",
        "positive",
        "topic",
        "cold",
        "warm",
        "very",
        "x",
    )
    asked = ("Which", "label", "fits", "this", "text", "user", "assistant")
    return list(dict.fromkeys((*special, *own, *asked, *GOOD, *BAD, *PLAIN)))


def sentences(
    count: int, seed: int, labels: Sequence[str] = ("negative", "positive")
) -> list[dict[str, str]]:
    """``count`` rows, half of each label: the first label has bad words, the last one good words."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = number % 2
        telling = random.choice(GOOD if kind else BAD, size=random.integers(2, 5))
        others = random.choice(PLAIN, size=random.integers(2, 9))
        words = random.permutation([*telling, *others])
        rows.append({"text": " ".join(words), "label": labels[-1] if kind else labels[0]})
    return rows


def rated(count: int, seed: int, levels: int | None = None) -> list[dict[str, Any]]:
    """``count`` rows with a number that grows with the good words among four telling ones: from 1 to 5.

    Args:
        levels: bring numbers to so many levels, 0, 1, ...; None leaves them as they are.
    """
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        good = int(random.integers(0, 5))
        telling = [*random.choice(GOOD, size=good), *random.choice(BAD, size=4 - good)]
        words = random.permutation([*telling, *random.choice(PLAIN, size=random.integers(2, 6))])
        stars = 1.0 + good if levels is None else good * levels // 5
        rows.append({"text": " ".join(words), "stars": stars})
    return rows


def tagged(count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` rows with a list of labels: ``praise`` beside good words, ``blame`` beside bad ones."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        kinds = [name for name in ("praise", "blame") if random.random() < 0.5]
        telling = [
            word for name in kinds for word in random.choice(GOOD if name == "praise" else BAD, size=2)
        ]
        words = random.permutation([*telling, *random.choice(PLAIN, size=random.integers(3, 7))])
        rows.append({"text": " ".join(words), "labels": kinds})
    return rows


def answers(count: int, seed: int, length: int = 3) -> list[dict[str, str]]:
    """``count`` rows with a prompt and a completion that follows from it: what is good is answered with its bad word.

    'word7 good3 word1' is answered 'very bad3'.
    """
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        number = int(random.integers(len(GOOD)))
        others = list(random.choice(PLAIN, size=length))
        others.insert(int(random.integers(length + 1)), GOOD[number])
        rows.append({"prompt": " ".join(others), "completion": f"very {BAD[number]}"})
    return rows


def choices(count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` rows of :func:`answers` with the right answer and that of another row in random order."""
    random = np.random.default_rng(seed)
    rows, others = answers(count, seed), answers(count, seed + 1000)
    found = []
    for row, other in zip(rows, others):
        label = int(random.integers(2))
        wrong = other["completion"]
        if wrong == row["completion"]:
            wrong = f"very {PLAIN[0]}"
        own = [wrong, row["completion"]] if label else [row["completion"], wrong]
        found.append({"text": row["prompt"], "choices": own, "label": label})
    return found


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` put over it, section by section."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
        )
    return result


def finish_run(config: Any) -> Path:
    """Train ``config`` in this process and leave the run folder of a finished training, without Ray and MLflow."""
    import torch

    from sgg_ray.artifacts import RunFolder
    from sgg_ray.models import save_model
    from sgg_ray.tasks import load_tasks
    from sgg_ray.training import run_training

    target, sources = load_tasks(config)
    weights = {source.name: 1 / len(sources) for source in sources}
    outcome = run_training(config, target, sources, weights, torch.device("cpu"))
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    folder.update(command="train")
    (folder.path / "model").mkdir()
    origin = {"base": config.model.path, "target_head": target.head, "fields": target.inputs}
    save_model(outcome.model, folder.path / "model", **origin)
    folder.write_json("metrics.json", {"guided": outcome.predictions.metrics().to_dict()})
    folder.write_parquet("predictions.parquet", outcome.predictions.frame())
    folder.finish()
    return folder.path
