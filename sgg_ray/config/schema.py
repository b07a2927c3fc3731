"""The YAML file as types: every key, its unit, its default and its bounds."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sgg_ray.config.addresses import without_passwords
from sgg_ray.config.fields import placeholders
from sgg_ray.config.label_names import label_name
from sgg_ray.config.space import Distribution
from sgg_ray.config.values import (
    Count,
    CountOrAll,
    CountOrZero,
    Names,
    NotNegative,
    OpenShare,
    Positive,
    Scalar,
    Share,
    ShareBelowOne,
    Whole,
    as_list,
    check_filter,
    check_labels,
)

Kind = Literal["classification", "ordinal", "multi_label", "regression", "multiple_choice", "generation"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LONGEST_NAME = 100  # it becomes the name of a folder


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, data: Any) -> Any:
        """A section whose keys are all commented out reads as null; it means its defaults."""
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {
            key: value
            for key, value in data.items()
            if value is not None or key not in fields or fields[key].default_factory is None
        }


class AdapterConfig(Section):
    """A PEFT adapter: the method's name and, beside it, any option of that method's PEFT configuration."""

    model_config = ConfigDict(extra="allow", frozen=True)
    peft_type: str = Field(description="PEFT method: lora, ia3, prefix_tuning, prompt_tuning, ...")


class ModelConfig(Section):
    """Which model is adapted, and how."""

    path: str = Field(
        description="hub id, folder, .gguf file, or package://module/path; an encoder, or a causal language model"
    )
    adapter: AdapterConfig | None = Field(None, description="PEFT adapter; null trains the backbone itself")
    trainable: Literal["all", "heads", "biases"] = Field(
        "all", description="without an adapter: what is trained of the backbone, besides the heads"
    )
    pooling: Literal["mean", "cls", "own"] = Field("mean", description="how token states become one vector")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 = autocast, parameters stay fp32"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    license: str | None = Field(
        None, description="licence of the model, for the model card; null = as in its own card"
    )
    chat: bool | None = Field(
        None,
        description="causal models: put prompts into the tokenizer's chat template; null = if it has one",
    )
    length_normalised: bool = Field(
        False,
        description="causal models: a label word or a choice counts by its tokens' mean log-probability, not the sum",
    )
    contextual_calibration: bool = Field(
        False, description="causal models: subtract the scores that label words have without a text"
    )

    @model_validator(mode="after")
    def _adapter_or_part(self):
        if self.adapter is not None and self.trainable != "all":
            raise ValueError("an adapter decides itself what is trained; leave out adapter or trainable")
        return self


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
        "regression: a number; causal models: multiple_choice: choices of its own; generation: a text as an answer",
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
        description="causal models: what is asked, with {text} or names of columns, perhaps {labels}; null = a "
        "default, of kind generation the text alone as a message to an assistant",
    )
    verbalizers: dict[str, str] | None = Field(
        None, description="causal models: 'label: word that stands for it'; null = the labels' names"
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


class TargetConfig(TaskConfig):
    """The task to adapt to."""

    name: str = Field("target", pattern=NAME, max_length=LONGEST_NAME, description="in tables and plots")
    shots: CountOrAll = Field(
        description="labelled training examples per class, fewer if a class has fewer rows; kinds regression, "
        "multiple_choice and generation: examples in total; all = every row that is not a test row"
    )
    test: HeldOutConfig = Field(default_factory=lambda: HeldOutConfig.model_validate({"fraction": 0.2}))


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


class SummaryConfig(Section):
    """Size of the gradient summaries that task workers send."""

    kind: Literal["sketch", "exact"] = Field("sketch", description="exact sends all P values")
    size: Annotated[Whole, Field(ge=64, multiple_of=32)] = Field(
        65536, description="values in a sketch, a multiple of 32"
    )


class AlignmentConfig(Section):
    """How sources are scored and weighted."""

    summary: SummaryConfig = Field(default_factory=SummaryConfig)  # pyright: ignore[reportArgumentType]
    weighting: Literal["uniform", "relu", "evidence", "none"] = Field(
        "relu",
        description="how scores become shares of the mixture; evidence = relu, and the mixture is as strong as the sum "
        "of the utilities, down to no source at all; none = no mixture",
    )
    refresh_interval: CountOrZero = Field(0, description="steps between two scorings; 0 = score once")
    rows: Annotated[Whole, Field(ge=2)] = Field(256, description="rows of a source that are scored")
    row_weighting: Literal["none", "keep", "soft", "top"] = Field(
        "none",
        description="sgg train: rows within a source; keep = without those whose labels are likely wrong, soft = drawn "
        "by the probability that the label is right, top = the share 'row_share' with the most influence of what keep "
        "keeps; none = all rows alike",
    )
    row_share: OpenShare = Field(0.5, description="row_weighting top: share of a source's rows")
    confidence: OpenShare = Field(0.95, description="level of the intervals")
    label_name_prior: bool = Field(
        True,
        description="encoders: use the names of the target's labels as a prior, weighted by how well they fit sources",
    )


class GuidanceConfig(Section):
    """The terms of the objective and how their gradient is computed."""

    lambda_direction: NotNegative = Field(0.1, description="λ of 1 − cos(g, r)")
    lambda_magnitude: NotNegative = Field(0.1, description="λ of ‖g‖")
    lambda_alignment: NotNegative = Field(0.05, description="λ of 1 − cos(g, ĝ_S)")
    lambda_source: NotNegative = Field(1.0, description="weight of the source mixture's own loss")
    hvp: Literal["finite_difference", "central_difference", "exact", "first_order"] = Field(
        "finite_difference", description="how H·v is computed"
    )
    fd_relative_change: Positive = Field(
        0.2, description="change of the gradient over the finite difference, as a share of ‖g‖"
    )
    fd_step: Positive | None = Field(
        None, description="ε of the finite difference, instead of one that follows from fd_relative_change"
    )
    max_hvp_ratio: Positive | None = Field(
        None, description="upper bound of ‖H·v‖ / ‖g‖, times interval; null = none"
    )
    interval: Count = Field(1, description="apply the terms every n-th step, times n")
    warmup_ratio: Share = Field(0.1, description="share of the steps over which every λ rises from 0")
    reference_decay: OpenShare = Field(0.9, description="decay of r, the running mean of unit gradients")
    gradient_floor: NotNegative = Field(0.1, description="δ as a share of the mean ‖g‖ so far")
    view_modules: CountOrZero = Field(
        0, description="steps between two measurements of norms and cosines per module; 0 = never"
    )

    @model_validator(mode="after")
    def _a_length_to_limit(self):
        if self.max_hvp_ratio is not None and (self.fd_step is not None or self.hvp == "first_order"):
            other = "hvp: first_order has no H·v" if self.fd_step is None else "fd_step is fixed"
            raise ValueError(
                f"max_hvp_ratio follows from how far H·v went before, but {other}; leave out one of them"
            )
        return self


class TrainConfig(Section):
    """The training loop."""

    method: Literal["gradients", "auto", "setfit", "zero_shot", "in_context"] = Field(
        "gradients",
        description="the loop of this package; auto: an average of some of its trainings, see 'strategy'; SetFit: "
        "contrastive pairs, then a linear head; or, of a causal model in sgg compare, no training: the prompt alone, "
        "or with the shots before it",
    )
    budget: Annotated[Whole, Field(ge=1, le=3)] = Field(
        3, description="method auto: most trainings that the model is averaged from"
    )
    schedule: Literal["joint", "sequential"] = Field(
        "joint",
        description="sources in every step, or half of the steps on sources and then the target alone",
    )
    combine: Literal["sum", "pcgrad", "cagrad", "upgrad", "mgda"] = Field(
        "sum", description="how target and source gradients make one update; all but sum need TorchJD"
    )
    head: Literal["zero", "label_names"] = Field(
        "zero",
        description="the target's head when its training begins: zero, or what the labels are called, as far as the "
        "shots bear it out",
    )
    share_labels: bool = Field(
        False,
        description="sources that have two or more of the target's labels train its head with the rows that carry "
        "these; false = a head for every set of labels",
    )
    max_steps: Count = Field(150, description="optimiser steps")
    batch_size: Count = Field(16, description="target rows a step, over all workers")
    source_batch_size: Count = Field(32, description="source rows a step, over all workers")
    micro_batch_size: Count | None = Field(
        None, description="rows a worker computes at once; null = all of its share"
    )
    learning_rate: Positive = Field(5e-5, description="of backbone or adapter")
    head_learning_rate: Positive = Field(1e-3, description="of the heads, which start at zero")
    weight_decay: NotNegative = Field(0.01, description="AdamW, on matrices only")
    warmup_ratio: Share = Field(0.1, description="share of the steps over which the learning rate rises")
    max_grad_norm: Positive = Field(1.0, description="clip the whole gradient to this norm")
    max_length: Annotated[Whole, Field(ge=8)] = Field(
        128,
        description="tokens kept of a text; of a causal model, of text, prompt and answer, of which the text is cut",
    )
    context_length: Annotated[Whole, Field(ge=8)] = Field(
        1024, description="method in_context: tokens of the shots, as many as fit, with text and prompt"
    )
    cuda_graphs: bool = Field(
        True,
        description="on a GPU: record the model's passes once for each shape of a batch and launch them as a whole; "
        "false = kernel by kernel, which saves memory",
    )
    eval_batch_size: Count = Field(64, description="rows a batch in evaluation")
    max_new_tokens: Count = Field(64, description="kind generation: tokens of an answer at most")
    save_steps: Count = Field(50, description="steps between two checkpoints")
    calibration_folds: CountOrZero | None = Field(
        None,
        description="parts of the shots that trainings leave out in turn, to calibrate the confidence and to keep the "
        "baseline where guidance is worse; 0 or 1 = none; null = 2, or 5 without test rows, which they then stand for",
    )
    logging_steps: Count = Field(5, description="steps between two transfers of metrics to the host")
    baseline: bool = Field(
        True, description="also train on the target alone, same seed and steps, to compare"
    )


class TuneConfig(Section):
    """A sweep: what is varied, how it is searched, and what is compared."""

    num_samples: Count = Field(20, description="trials; a grid runs each combination instead")
    search: Literal["optuna", "random", "grid"] = Field("optuna", description="how trials are chosen")
    scheduler: Literal["none", "asha"] = Field(
        "none", description="asha stops trials that do poorly on their first held-out parts"
    )
    metric: Literal["loss", "accuracy"] = Field(
        "loss",
        description="how trials are compared on held-out shots: by mean cross-entropy, or accuracy "
        "(kind generation: exact match)",
    )
    folds: Count | None = Field(
        None,
        description="parts that the shots are cut into, each held out once; 1 = one quarter is held out; "
        "null = 4 for under 100 held-out rows, else 1",
    )
    seeds: Count = Field(1, description="trainings of each part, with seeds from 'seed' on")
    max_concurrent_trials: Count | None = Field(None, description="trials at a time; null = as many as fit")
    space: dict[str, Distribution] = Field(
        default_factory=lambda: {
            f"guidance.{term}": Distribution.model_validate({"log_uniform": (1e-3, 1.0)})
            for term in ("lambda_direction", "lambda_magnitude", "lambda_alignment")
        },
        min_length=1,
        description="dotted key: {uniform | log_uniform | integer: [low, high]} or {choice: [...]}",
    )

    @model_validator(mode="after")
    def _grid_of_choices(self):
        open_ended = [key for key, values in self.space.items() if values.bounds is not None]
        if self.search == "grid" and open_ended:
            raise ValueError(f"search: grid needs a choice for every key; {open_ended[0]} has a range")
        if self.scheduler == "asha" and (self.folds or 4) * self.seeds < 2:
            raise ValueError("scheduler: asha needs trials of two trainings or more; raise folds or seeds")
        return self


class StrategyConfig(Section):
    """One way to fine-tune: what it changes of the file's own sections."""

    name: str = Field(
        pattern=NAME, max_length=LONGEST_NAME, description="in tables; default: the file's name"
    )
    description: str = Field("", description="one line of description")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of 'model' and their values")
    alignment: dict[str, Any] = Field(default_factory=dict, description="keys of 'alignment'")
    guidance: dict[str, Any] = Field(default_factory=dict, description="keys of 'guidance'")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of 'train'")
    chosen: str = Field("", description="how its learning rates and other values were found")


class CompareConfig(Section):
    """A grid of strategies, targets, shots and seeds, and what they are compared with."""

    strategies: list[StrategyConfig] = Field(
        min_length=1,
        description="strategies by name or the path of a .yaml file, or sections like such a file",
        json_schema_extra=lambda schema: schema.update(
            items={"anyOf": [{"type": "string"}, schema["items"]]}
        ),
    )
    vary: dict[str, list[Scalar]] = Field(
        default_factory=dict,
        description="dotted keys and values; every strategy is run with each combination of them",
    )
    baseline: str | None = Field(
        None, description="strategy that the others are compared with; null = the first"
    )
    shots: list[Count] = Field(default_factory=list, description="per class; empty = the target's own")
    seeds: Count = Field(5, description="seeds, counted from 'seed' on")
    targets: list[str] = Field(
        default_factory=list,
        description="names of tasks that are the target in turn, the others being sources; empty = the target",
    )
    exclude_together: list[list[str]] = Field(
        default_factory=list,
        description="groups of tasks made of the same texts: never source and target at once",
    )
    unseen: list[str] = Field(
        default_factory=list, description="tasks that are never trained on, for cross-task accuracy"
    )
    eval_split: Literal["test", "validation"] = Field(
        "test",
        description="rows that are predicted; validation = neither test rows nor shots, to choose settings",
    )
    max_concurrent_cells: Count | None = Field(None, description="cells at a time; null = as many as fit")


class RayConfig(Section):
    """Where the work runs."""

    address: str = Field("local", description="local, auto, or ray://host:port")
    num_workers: Count = Field(1, description="data-parallel training workers")
    sharding: Literal["fsdp"] | None = Field(
        None,
        description="fsdp = each training worker holds a part of the model (a language model that one device cannot "
        "hold), null = all of it",
    )
    cpus_per_worker: Positive = Field(1, description="CPUs of a training worker")
    gpus_per_worker: NotNegative = Field(0, description="GPUs of a training worker; fractions share one")
    task_workers: Count | None = Field(
        None, description="actors that hold tasks; null = one a task, as far as they fit, on CPUs one a core"
    )
    cpus_per_task_worker: Positive = Field(0.25, description="CPUs of a task worker")
    gpus_per_task_worker: NotNegative = Field(0, description="GPUs of a task worker; fractions share one")
    storage_path: str = Field(
        "runs",
        description="folder of the run folders; on several nodes a shared one, or a URI such as s3://bucket/runs",
    )
    max_failures: CountOrZero = Field(2, description="restarts of crashed training workers")
    scale_up_seconds: CountOrZero = Field(
        0,
        description="how long to wait for nodes that an autoscaler starts; 0 = do not wait",
    )

    @field_validator("gpus_per_worker")
    @classmethod
    def _no_two_workers_on_one_gpu(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("num_workers", 1) > 1 and 0 < value <= 0.5:
            raise ValueError(
                "several workers would share one GPU, which NCCL refuses; set it to 1, or num_workers to 1"
            )
        return value


class TrackingConfig(Section):
    """Where MLflow logs to."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI; on several nodes a server")
    experiment: str = Field("sgg", description="MLflow experiment")
    register_as: str | None = Field(
        None, description="name in MLflow's model registry under which `sgg train` registers the model"
    )
    traces: CountOrZero = Field(
        20,
        description="kind generation: first test rows whose answers MLflow gets as traces, with exact match and "
        "ROUGE-L of each; 0 = none",
    )
    tensorboard: bool = Field(
        False,
        description="curves of `sgg train` also as TensorBoard's event files, in `tensorboard` of the run folder",
    )
    system_metrics: bool = Field(
        False, description="CPU, memory, disk, network and GPUs of the driver's machine as metrics of the run"
    )


class Config(Section):
    """One run: a model, a target, its sources, and what to do with them."""

    name: str = Field(
        pattern=NAME,
        max_length=LONGEST_NAME,
        description="of the run and its folder; default: the file's name",
    )
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = Field(
        0, description="of splits, batches, dropout and sketches"
    )
    strategy: str | None = Field(
        None,
        description="auto, or another strategy of `sgg compare` by name or path, whose keys then stand in place of the "
        "file's own; none: the sections below as they are; null: auto, unless the file sets how to train: a key of "
        "'guidance', a learning rate, an adapter, ...",
    )
    model: ModelConfig
    target: TargetConfig
    sources: list[SourceConfig] = Field(default_factory=list, description="tasks to learn from")
    alignment: AlignmentConfig = Field(default_factory=AlignmentConfig)  # pyright: ignore[reportArgumentType]
    guidance: GuidanceConfig = Field(default_factory=GuidanceConfig)  # pyright: ignore[reportArgumentType]
    train: TrainConfig = Field(default_factory=TrainConfig)  # pyright: ignore[reportArgumentType]
    tune: TuneConfig | None = Field(None, description="of `sgg tune`; null = its defaults")
    compare: CompareConfig | None = Field(None, description="of `sgg compare`")
    ray: RayConfig = Field(default_factory=RayConfig)  # pyright: ignore[reportArgumentType]
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)  # pyright: ignore[reportArgumentType]

    @model_validator(mode="after")
    def _schedule_fits(self):
        if self.train.schedule == "sequential" and self.train.combine != "sum":
            raise ValueError("train.combine: needs target and sources in one step; use train.schedule: joint")
        if self.train.schedule == "sequential" and self.guidance.lambda_alignment > 0:
            raise ValueError(
                "guidance.lambda_alignment: needs the sources beside the target; set it to 0, or train.schedule "
                "to joint"
            )
        return self

    @model_validator(mode="after")
    def _method_fits(self):
        method = self.train.method
        if method in ("gradients", "auto"):
            return self
        terms = ("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source")
        guided = [term for term in terms if getattr(self.guidance, term) > 0]
        if guided:
            raise ValueError(
                f"guidance.{guided[0]}: train.method {method} has no guidance and no sources; set it to 0"
            )
        if method != "setfit":
            return self
        if self.model.adapter is not None or self.model.trainable != "all":
            raise ValueError(
                "model: train.method setfit trains every parameter; leave out adapter and trainable"
            )
        if self.ray.num_workers > 1:
            raise ValueError("ray.num_workers: train.method setfit trains in one process; use 1")
        if self.train.head != "zero":
            raise ValueError("train.head: train.method setfit fits a head of its own; leave it out")
        return self

    @model_validator(mode="after")
    def _target_fits(self):
        kind, train = self.target.kind, self.train
        if train.head == "label_names" and kind not in ("classification", "generation"):
            raise ValueError(
                f"train.head: label_names needs a target of kind classification, found {kind}; leave it out"
            )
        if self.model.contextual_calibration and kind == "multiple_choice":
            raise ValueError(
                "model.contextual_calibration: a target of kind multiple_choice has no label words; leave it out"
            )
        if train.method == "setfit" and kind != "classification":
            raise ValueError(
                f"train.method: setfit needs a target of kind classification, found {kind}; use gradients"
            )
        if self.tune is not None and self.tune.metric == "accuracy" and kind == "regression":
            raise ValueError("tune.metric: a target of kind regression has no accuracy; use loss")
        return self

    @model_validator(mode="after")
    def _names_differ(self):
        twice = same_names([self.target.name, *(source.name for source in self.sources)])
        if twice:
            raise ValueError("; ".join(twice))
        return self

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key, sources by name: what MLflow lists as parameters."""
        data = self.model_dump()
        data["sources"] = {source["name"]: source for source in data["sources"]}
        if data["compare"] is not None:
            strategies = data["compare"]["strategies"]
            data["compare"]["strategies"] = {strategy["name"]: strategy for strategy in strategies}
        return dict(_flatten(without_passwords(data), ""))


def same_names(names: Sequence[Any]) -> list[str]:
    """One line for each name that several tasks have."""
    names = [name for name in names if isinstance(name, str)]  # the schema says what others are
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return [
        f"sources: {names.count(name)} tasks are named '{name}'; give each its own name "
        "(the target's counts, by default 'target')"
        for name in twice
    ]


def _flatten(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
