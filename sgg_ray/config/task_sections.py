"""The sections ``target`` and ``sources``: where rows come from and what they mean."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sgg_ray.config.fields import placeholders
from sgg_ray.config.label_names import label_name
from sgg_ray.config.section import LONGEST_NAME, NAME, Section
from sgg_ray.config.values import (
    Count,
    CountOrAll,
    Names,
    Scalar,
    Share,
    ShareBelowOne,
    as_list,
    check_filter,
    check_labels,
)

Kind = Literal["classification", "ordinal", "multi_label", "regression", "multiple_choice", "generation"]


class Columns(Section):
    """Names of the columns of a task's file."""

    text: Names = Field(
        "text", description="column with the text; a list of two gives an encoder both as a pair of segments"
    )
    label: str = Field(
        "label", description="column with the label; of kind multi_label with lists, or with a|b"
    )
    labels: list[str] | None = Field(
        None,
        description="kind multi_label, instead of label: a column of 0 and 1 for each label, named after it",
    )
    choices: Names | None = Field(
        None, description="kind multiple_choice: a column for each choice of a row, or one that holds lists"
    )
    prompt: str = Field("prompt", description="kind generation: column with the prompt")
    completion: str = Field("completion", description="kind generation: column with the answer")
    messages: str | None = Field(
        None,
        description="kind generation, instead of prompt and completion: column with lists of {role, content}; the last "
        "message of the assistant is the answer",
    )

    @model_validator(mode="after")
    def _two_columns(self):
        if self.label in as_list(self.text) or self.prompt == self.completion:
            raise ValueError("must name two different columns")
        return self


class TaskConfig(Section):
    """What target and sources have in common: where rows come from and what they mean."""

    path: str = Field(
        description="a .csv, .tsv, .jsonl, .json, .parquet, .arrow or .xlsx file, package://module/file, or "
        "hf://repo[/config][@revision]"
    )
    kind: Kind = Field(
        "classification",
        description="what a row has: one label; ordinal: one label of an order; multi_label: any number of labels; "
        "regression: a number; language models: multiple_choice: choices of its own; generation: a text as an answer",
    )
    columns: Columns = Field(default_factory=Columns)  # pyright: ignore[reportArgumentType]
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="keep rows whose column has this value, or one of these"
    )
    labels: list[Scalar] | dict[str, Scalar | list[Scalar]] | None = Field(
        None, description="label names, or name: value (or values) in the file; null = the values found"
    )
    prompt: str | None = Field(
        None,
        description="language models: what is asked, with {text} or names of columns, perhaps {labels}; null = a "
        "default, of kind generation the text alone as a message to an assistant",
    )
    verbalizers: dict[str, str] | None = Field(
        None, description="language models: 'label: word that stands for it'; null = the labels' names"
    )
    split: str = Field("train", description="hf:// only: which split to read")
    license: str | None = Field(None, description="licence of the rows, for the model card; null = unknown")
    max_rows: Count | None = Field(
        None, description="rows used at most: of a source, or of the target's test rows"
    )

    @field_validator("where", mode="before")
    @classmethod
    def _readable_filter(cls, where: Any) -> Any:
        return check_filter(where)

    @field_validator("labels", mode="before")
    @classmethod
    def _readable_labels(cls, labels: Any) -> Any:
        return None if labels is None else check_labels(labels)

    @field_validator("prompt")
    @classmethod
    def _prompt_with_text(cls, prompt: str | None) -> str | None:
        if prompt is not None and not placeholders(prompt):
            raise ValueError("must hold {text}, where the text goes")
        return prompt

    @field_validator("verbalizers", mode="before")
    @classmethod
    def _verbalizers_by_name(cls, words: Any) -> Any:
        return {label_name(key): word for key, word in words.items()} if isinstance(words, dict) else words


class HeldOutConfig(Section):
    """Where test rows come from: a share of the target's file, or a file of their own.

    ``test: none`` is short for ``fraction: 0``: quality is then estimated by cross-validation.
    """

    fraction: ShareBelowOne | None = Field(
        None, description="share of the target's distinct rows; 0, or 'test: none' = cross-validation instead"
    )
    path: str | None = Field(None, description="a separate file, read like the target's")
    split: str | None = Field(
        None, description="hf:// only: which split to read, without 'path' of the target's data set"
    )
    columns: Columns | None = Field(None, description="of that file; default: the target's")
    where: dict[str, Scalar | list[Scalar]] | None = Field(None, description="default: the target's")

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, data: Any) -> Any:
        return {"fraction": 0.0} if data == "none" else data

    @property
    def is_none(self) -> bool:
        """Whether there are no test rows."""
        return self.fraction == 0

    @field_validator("where", mode="before")
    @classmethod
    def _readable_filter(cls, where: Any) -> Any:
        return None if where is None else check_filter(where)

    @model_validator(mode="after")
    def _one_origin(self):
        if (self.fraction is None) == (self.path is None and self.split is None):
            raise ValueError("must hold either 'fraction' or 'path', or 'split' of the target's own data set")
        return self


class UnlabelledConfig(Section):
    """Texts of the target's kind without labels, for strategy auto to learn from."""

    path: str = Field(
        description="a file, read like the target's; its labels, if it has any, are not looked at"
    )
    split: str = Field("train", description="hf:// only: which split to read")
    columns: Columns | None = Field(None, description="of that file; default: the target's")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="keep rows whose column has this value, or one of these"
    )
    max_rows: Count = Field(600, description="texts used at most")

    @field_validator("where", mode="before")
    @classmethod
    def _readable_filter(cls, where: Any) -> Any:
        return check_filter(where)


class TargetConfig(TaskConfig):
    """The task to adapt to."""

    name: str = Field("target", pattern=NAME, max_length=LONGEST_NAME, description="in tables and plots")
    shots: CountOrAll = Field(
        description="labelled training examples per class, fewer if a class has fewer rows; kinds regression, "
        "multiple_choice and generation: examples in total; all = every row that is not a test row"
    )
    test: HeldOutConfig = Field(default_factory=lambda: HeldOutConfig.model_validate({"fraction": 0.2}))
    unlabelled: UnlabelledConfig | None = Field(
        None,
        description="strategy auto: further texts without labels, labelled by what it has trained; null = none",
    )


class SourceConfig(TaskConfig):
    """A task to learn from."""

    name: str = Field(
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="in tables and plots, and in --set sources.NAME.key=value",
    )
    flip_labels: Share = Field(0.0, description="experiments only: share of rows that get a wrong label")
    shuffle_completions: Share = Field(
        0.0, description="experiments only, kind generation: share of rows that get another row's completion"
    )
