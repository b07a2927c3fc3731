"""Whether the small files beside a model's weights are what they should be, before a library reads them.

Somebody else's model is input like any other: a wrong number in its config.json would end in a traceback, take hours
or fill the memory.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sgg_ray.bounded import MIB, parse_json, read_bounded
from sgg_ray.errors import ModelError

# MiB of files that are read whole. Vocabularies are the largest: that of Gemma 3 takes 33.
SETTINGS_MIB, VOCABULARY_MIB = 4, 256
OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "adapter_config.json",
)
# Any other value may name a kernel on the hub, which is code.
IMPLEMENTATIONS = {
    "attn_implementation": ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
    "experts_implementation": ("eager", "batched_mm", "grouped_mm"),
}
# What the architectures call their sizes, with the largest that is taken for one.
MOST_LAYERS, MOST_EXPERTS, MOST_MODULES = 1_000, 10_000, 200_000
WIDTH, HEADS, VOCABULARY = 1_000_000, 100_000, 100_000_000
SIZES = {
    r"hidden_size|embedding_size|n_embd|d_model|dim": (1, WIDTH),
    r"intermediate_size|d_ff|n_inner|ffn_dim": (1, 10 * WIDTH),
    r"num_attention_heads|num_key_value_heads|n_heads?|num_heads|head_dim": (1, HEADS),
    r"vocab_size": (1, VOCABULARY),
    r"max_position_embeddings|n_positions": (-1, 10 * VOCABULARY),
    r"(num|n)_(hidden_)?(layers?|blocks)|(num_)?(encoder|decoder)_layers|num_hidden_groups": (1, MOST_LAYERS),
    r"inner_group_num": (1, MOST_LAYERS),
    r"\w+_(layers|blocks)": (-MOST_LAYERS, MOST_LAYERS),
    r"(\w+_)?experts": (0, MOST_EXPERTS),
}


def check_model_files(location: str) -> None:
    """Look at the JSON files of a model's folder; those of a hub id are looked at where they were fetched to.

    Raises:
        ModelError: one is no regular file, too large, no JSON, or holds what no model has.
    """
    folder = Path(location)
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        if file.suffix in {".json", ".txt", ".jinja", ".model"} and not file.is_dir():
            _check_size(file)
    for name in OBJECTS:
        if (folder / name).exists():
            content = read_object(folder / name)
            if name == "config.json":
                check_settings(content, str(folder / name))


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object that a settings file holds.

    Raises:
        ModelError: it cannot be read, is too large or holds something else.
    """
    try:
        content = parse_json(read_bounded(file, SETTINGS_MIB))
    except (OSError, ValueError) as error:
        raise ModelError(f"model.path: {file} cannot be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"model.path: {file} must hold a JSON object, found {type(content).__name__}; fetch it again"
        )
    return content


def check_settings(settings: Mapping[str, Any], place: str) -> None:
    """Look at the values of a config.json, also in the sections of its parts.

    Raises:
        ModelError: a size that no model has, or an implementation of attention that is not known here.
    """
    for section in _sections(settings):
        sizes = {MOST_LAYERS: 1, MOST_EXPERTS: 1}
        for key, value in section.items():
            least, most = _bounds(key)
            for number in value if isinstance(value, list) else [value]:
                if most is None or number is None or (least < 1 and not _is_whole(number)):
                    continue
                if not _is_whole(number) or not least <= number <= most:
                    raise ModelError(
                        f"model.path: {place}: {key} must be a whole number from {least:,} to {most:,}, found "
                        f"{_short(number)}; fetch the file again"
                    )
                sizes[most] = max(sizes.get(most, 1), number)
            for kind, known in IMPLEMENTATIONS.items():
                if str(key).strip("_").removesuffix("_internal") == kind:
                    _check_implementation(value, known, f"{place}: {key}")
        if sizes[MOST_LAYERS] * sizes[MOST_EXPERTS] > MOST_MODULES:
            raise ModelError(
                f"model.path: {place}: {sizes[MOST_LAYERS]:,} layers of {sizes[MOST_EXPERTS]:,} experts are more than "
                f"the {MOST_MODULES:,} modules that a model may have; fetch the file again"
            )


def _check_size(file: Path) -> None:
    try:
        found = file.stat()
    except OSError as error:
        raise ModelError(f"model.path: {file} cannot be read ({error.strerror}); fetch it again") from error
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"model.path: {file} is no regular file; fetch it again")
    most = SETTINGS_MIB if file.name in OBJECTS else VOCABULARY_MIB
    if found.st_size > most * MIB:
        raise ModelError(
            f"model.path: {file} has {found.st_size / MIB:.0f} MiB, at most {most} are read; fetch it again"
        )


def _sections(settings: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    yield settings
    for value in settings.values():
        if isinstance(value, Mapping) and depth < 4:
            yield from _sections(value, depth + 1)


def _bounds(key: Any) -> tuple[int, int | None]:
    """Least and most that a key may be set to; no most for a key that is no size."""
    return next((found for names, found in SIZES.items() if re.fullmatch(names, str(key))), (0, None))


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _check_implementation(value: Any, known: tuple[str, ...], place: str) -> None:
    """Names, or a name for each part of the model."""
    for name in value.values() if isinstance(value, Mapping) else [value]:
        if name is not None and name not in known:
            raise ModelError(
                f"model.path: {place} must be one of {', '.join(known)}, found {_short(name)}; delete the key"
            )


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
