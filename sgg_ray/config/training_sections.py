"""The sections ``alignment``, ``guidance`` and ``train``: how scores are made and used, and how a model is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sgg_ray.config.section import Section
from sgg_ray.config.values import Count, CountOrZero, NotNegative, OpenShare, Positive, Share, Whole


class SummaryConfig(Section):
    """Size of the gradient summaries that task workers send."""

    kind: Literal["sketch", "exact"] = Field("sketch", description="exact sends all P values")
    size: Annotated[Whole, Field(ge=64, multiple_of=32)] = Field(
        65536, description="values in a sketch, a multiple of 32"
    )


class WarmupConfig(Section):
    """The short training of row_scores: less, at whose checkpoints language models' rows are compared; as in LESS."""

    checkpoints: Annotated[Whole, Field(ge=1, le=16)] = Field(
        4, description="epochs, with a checkpoint after each"
    )
    share: OpenShare = Field(0.05, description="share of every source's rows that it trains on")
    learning_rate: Positive = Field(2e-5, description="its highest learning rate")
    preconditioner: Literal["adam", "none"] = Field(
        "adam",
        description="adam = a row of a source is the update that Adam would make of it, as in LESS; none = its "
        "gradient alone",
    )


class AlignmentConfig(Section):
    """How sources are scored and weighted."""

    summary: SummaryConfig = Field(default_factory=SummaryConfig)  # pyright: ignore[reportArgumentType]
    weighting: Literal["uniform", "relu", "evidence", "none", "exp3", "ucb1"] = Field(
        "relu",
        description="how scores become shares of the mixture; evidence = relu, and the mixture is as strong as the sum "
        "of the utilities, down to no source at all; none = no mixture; exp3, ucb1 = no scores: a bandit chooses the "
        "sources of each step by how their gradients agreed with the target's so far (FLAD)",
    )
    refresh_interval: CountOrZero = Field(0, description="steps between two scorings; 0 = score once")
    rows: Annotated[Whole, Field(ge=2)] = Field(256, description="rows of a source that are scored")
    row_weighting: Literal["none", "keep", "soft", "top"] = Field(
        "none",
        description="rows within a source; keep = without those whose labels are likely wrong, soft = drawn "
        "by the probability that the label is right, top = the share 'row_share' with the highest 'row_scores' of what "
        "keep keeps; none = all rows alike",
    )
    row_share: OpenShare = Field(0.5, description="row_weighting top: share of a source's rows")
    row_scores: Literal[
        "influence", "cosine", "less", "neighbours", "round_robin", "loss", "confident", "random"
    ] = Field(
        "influence",
        description="what rows are chosen by; influence = sgg_ray's own, cosine = of gradients; less = LESS, of "
        "language models: at the checkpoints of 'row_warmup'; neighbours = of texts; round_robin = the shots take "
        "turns; loss = small loss first; confident = confident learning, by cleanlab; all but influence and confident "
        "are for row_weighting top",
    )
    row_warmup: WarmupConfig = Field(default_factory=WarmupConfig)  # pyright: ignore[reportArgumentType]
    confidence: OpenShare = Field(0.95, description="level of the intervals")
    label_name_prior: bool = Field(
        True,
        description="encoders: use the names of the target's labels as a prior, weighted by how well they fit sources",
    )

    @model_validator(mode="after")
    def _a_ranking_that_says_which_labels_are_wrong(self):
        if self.row_weighting in ("keep", "soft") and self.row_scores not in ("influence", "confident"):
            raise ValueError(
                f"row_scores: {self.row_scores} does not say which labels are wrong, as row_weighting: "
                f"{self.row_weighting} asks; use row_weighting: top, or row_scores: influence or confident"
            )
        return self


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
        "contrastive pairs, then a linear head; or, of a language model in sgg compare, no training: the prompt alone, "
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
    loss: Literal["cross_entropy", "t_few"] = Field(
        "cross_entropy",
        description="language models: of the right label word among all, or T-Few's sum of its likelihood, the others' "
        "unlikelihood, and the cross-entropy of length-normalised scores",
    )
    max_steps: Count = Field(150, description="optimiser steps")
    early_stopping: Positive | None = Field(
        None,
        description="end a training before max_steps when the loss of the target and, where sources are mixed in, "
        "theirs was below this in 20 steps in a row; null = never",
    )
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
        description="tokens kept of a text; of a language model, of text, prompt and answer, of which the text is cut",
    )
    context_examples: CountOrZero = Field(
        0,
        description="language models, kind classification: labelled rows before each text, in training (others of its "
        "task) and in prediction (the shots), every text cut to 'max_length'; 0 = none",
    )
    context_length: Annotated[Whole, Field(ge=8)] = Field(
        1024,
        description="method in_context, and context_examples: tokens of the shown rows, as many as fit, with text and "
        "prompt",
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


def longest_input(train: TrainConfig) -> int:
    """Tokens that a model has to take: of one text with its prompt, or with the rows that are shown before it."""
    return train.context_length if train.context_examples else train.max_length
