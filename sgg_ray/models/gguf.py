"""Quantised .gguf files: dequantised once on each machine, then read like any other model folder."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sgg_ray.errors import ModelError
from sgg_ray.models.transformers_output import first_line, quiet_transformers

# Plain English that every language model has seen the like of, and how surprised a sound one is at most by a token of
# it: 1.7 to 3.5 are usual, 5 where English is foreign to a model. Gemma 3 as Transformers 5.17 dequantises it has 8.9.
SENTENCES = (
    "The children went to school in the morning and came home in the afternoon.",
    "Water boils at a hundred degrees and freezes at zero.",
    "She said that she would write a letter to her brother as soon as she had time.",
)
MOST_LOSS = 7.0  # nats a token
CACHE = "SGG_CACHE"  # environment variable: where dequantised models are kept


def dequantised(file: Path) -> Path:
    """The folder with ``file``'s weights in fp32 and its tokenizer, made at the first call on this machine.

    Transformers takes half a minute for a 135 M model, and every process of a run needs it: so it is done once, into
    ``$SGG_CACHE`` (default ``~/.cache/sgg_ray``), at 4 bytes a parameter.

    Raises:
        ModelError: the file cannot be converted, or the package gguf is not installed.
    """
    from filelock import FileLock

    status = file.stat()
    mark = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
    name = f"{file.stem}-{hashlib.blake2b(mark.encode(), digest_size=6).hexdigest()}"
    root = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "sgg_ray") / "gguf"
    folder = root / name
    if folder.is_dir():
        return folder
    _check(file)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{name}.lock"):
        if not folder.is_dir():
            part = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}."))
            try:
                _convert(file, part)
                os.replace(part, folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    return folder


def _check(file: Path) -> None:
    """Read the head of the file, which is quick, and see whether Transformers knows the architecture."""
    try:
        import gguf
    except ImportError:
        raise ModelError(
            "model.path: .gguf files need the package gguf; python -m pip install 'sgg-ray[gguf]'"
        ) from None
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    try:
        field = gguf.GGUFReader(str(file)).get_field("general.architecture")
        assert field is not None
        architecture = field.contents()
    except Exception as error:  # whatever bytes make its parser raise
        raise ModelError(f"model.path: {file} is no readable .gguf file ({error}); fetch it again") from error
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelError(
            f"model.path: {file} is of architecture '{architecture}', which Transformers cannot convert; give the "
            "original model's folder, or one of: " + ", ".join(sorted(GGUF_SUPPORTED_ARCHITECTURES))
        )


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        with quiet_transformers():
            AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
            check_sound(model, AutoTokenizer.from_pretrained(folder), str(file))
            if hasattr(model.config, "quantization_config"):
                delattr(model.config, "quantization_config")
            # Transformers does not write a model that it has dequantised: an equal one that was never quantised.
            with torch.device("meta"):
                plain = AutoModelForCausalLM.from_config(model.config)
            plain.load_state_dict(model.state_dict(), assign=True)
            plain.tie_weights()
            plain.save_pretrained(folder)
    except ModelError:
        raise
    except Exception as error:  # the converters raise what they like
        raise ModelError(
            f"model.path: Transformers cannot convert {file} ({first_line(error)}); give the original model's folder"
        ) from error


def check_sound(model: Any, tokenizer: Any, name: str) -> None:
    """Refuse a model that has come out wrong: weights that were unpacked in another order look like any others.

    Args:
        model: a causal language model of Transformers.
        name: of the file, for the message.

    Raises:
        ModelError: plain English surprises the model as no trained one is.
    """
    import torch

    losses = []
    with torch.no_grad():
        for sentence in SENTENCES:
            ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    loss = sum(losses) / len(losses)
    if not loss <= MOST_LOSS:  # NaN is refused too
        raise ModelError(
            f"model.path: {name} comes out wrong (mean token loss {loss:.1f} on plain English, sound is at most "
            f"{MOST_LOSS:g}): this version of Transformers does not read it; python -m pip install -U transformers, or "
            "give the original model's folder"
        )
