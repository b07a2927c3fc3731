"""``sgg_model.json``: what a saved model is, and checksums of its files."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sgg_ray.bounded import read_bounded
from sgg_ray.config import TEXT
from sgg_ray.errors import ModelError

MODEL_MANIFEST = "sgg_model.json"
LARGEST_MIB = 4
Scale = tuple[float, Annotated[float, Field(gt=0)]]
Tokens = Annotated[int, Field(ge=1, le=100_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ShownRows(_Strict):
    """Labelled rows that stand before every text.

    Attributes:
        texts: the parts of each text.
        labels: number of each text's label.
    """

    texts: list[Annotated[list[str], Field(min_length=1)]]
    labels: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _side_by_side(self):
        if len(self.texts) != len(self.labels):
            raise ValueError("texts and labels must be equally many")
        return self


class SpokenLabels(_Strict):
    """What a language model is asked and says.

    Attributes:
        prompt: template of the prompt; None for the default one.
        words: what is said for each label; None for the labels' names.
        chat: whether prompts go into the tokenizer's chat template.
        length_normalised: whether a word counts by the mean of its tokens.
        max_new_tokens: of an answer.
        offsets: by label set, what is subtracted from the scores of its words.
        example_length: tokens of one text with its prompt and answer, where several stand in one input.
        shown: labelled rows that stand before every text.
    """

    prompt: str | None = None
    words: list[str] | None = None
    chat: bool
    length_normalised: bool
    max_new_tokens: Tokens
    offsets: dict[str, list[float]]
    example_length: Tokens | None = None
    shown: ShownRows | None = None


class Quantised(_Strict):
    """In how few bits the frozen weights below an adapter were. They are quantised again when the model is loaded.

    Attributes:
        scheme: as ``model.quantization``.
        precision: as ``model.precision``: of what is not quantised, and of the arithmetic.
    """

    scheme: Literal["nf4", "int8"]
    precision: Literal["float32", "bfloat16"]


class Manifest(_Strict):
    """A saved model.

    Attributes:
        base: the model that was adapted, as the configuration gave it.
        adapted: whether the weights are an adapter's, to be put on ``base``.
        max_length: tokens of a text.
        target_head: key of the target's labels.
        heads: label names by key.
        fields: what the parts of a text are called: {text} alone, or the target's columns.
        pooling: of an encoder.
        language_model: of a language model.
        quantised: of one whose frozen weights were.
        temperature: that probabilities were calibrated to.
        scales: of heads of kind regression, mean and standard deviation of the numbers that they were trained on.
        threshold: of kind multi_label, the probability from which on a label is predicted; None: ½.
        at_least_one: of kind multi_label, whether every text is given a label.
        shares: of a model that is an average, each member's share; member number i lies in the folder ``member-i``.
        files: SHA-256 of each file, by its path in the folder.
    """

    base: str
    adapted: bool
    max_length: Tokens
    target_head: str
    heads: dict[str, list[str]]
    fields: Annotated[list[str], Field(min_length=1)] = [TEXT]
    files: dict[str, str]
    pooling: Literal["mean", "cls", "own"] | None = None
    language_model: SpokenLabels | None = None
    quantised: Quantised | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    scales: dict[str, Scale] = Field(default_factory=dict)
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    at_least_one: bool = False
    shares: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=8)] | None = (
        None
    )

    @model_validator(mode="after")
    def _fits_together(self):
        if self.target_head not in self.heads:
            raise ValueError("target_head is none of the heads")
        if (self.pooling is None) == (self.language_model is None):
            raise ValueError("must hold either pooling or language_model")
        return self


def read_manifest(folder: Path) -> Manifest:
    """What the model in ``folder`` is.

    Raises:
        ModelError: there is none, or one that was not written here.
    """
    try:
        return Manifest.model_validate_json(read_bounded(folder / MODEL_MANIFEST, LARGEST_MIB))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(map(str, detail["loc"]))
        reason = f"{MODEL_MANIFEST}: {place}{': ' if place else ''}{detail['msg']}"
    except OSError as error:
        reason = f"{MODEL_MANIFEST}: {error.strerror}"
    raise ModelError(f"{folder}: no model that sgg wrote ({reason}); give the folder 'model' of a run")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside the model's files."""
    content = manifest.model_dump(mode="json", exclude_none=True)
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / MODEL_MANIFEST).write_text(text + "\n", encoding="utf-8")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder`` by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files}


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the model's files with their checksums.

    Raises:
        ModelError: one is missing, was changed, or lies somewhere else.
    """
    for name, expected in manifest.files.items():
        if not _is_whole(folder, name, expected):
            raise ModelError(
                f"{folder}: {name} is not the file that was written with the model (its checksum differs); copy the "
                "folder again, or train anew"
            )


def _is_whole(folder: Path, name: str, expected: str) -> bool:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return False
    try:
        return path.is_file() and not path.is_symlink() and _checksum(path) == expected
    except (OSError, ValueError):  # a name that no file can have
        return False


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
