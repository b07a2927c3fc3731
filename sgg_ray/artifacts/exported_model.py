"""A text classifier adapted with sgg_ray, for Transformers alone. This file travels with the weights."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class GuidedClassifierConfig(PretrainedConfig):
    """Configuration of the encoder, and how its token states become one vector: mean, cls, or its own pooler."""

    model_type = "sgg-classifier"

    def __init__(self, backbone: dict | None = None, pooling: str = "mean", **options):
        self.backbone = backbone or {}
        self.pooling = pooling
        super().__init__(**options)


class AveragedClassifierConfig(GuidedClassifierConfig):
    """Configuration of several encoders of one kind, with the share of each in the average."""

    model_type = "sgg-average"

    def __init__(self, shares: list[float] | None = None, **options):
        self.shares = shares or []
        super().__init__(**options)


class GuidedClassifier(PreTrainedModel):
    """An encoder whose pooled states, scaled to length √H, go into one linear layer."""

    config_class = GuidedClassifierConfig
    base_model_prefix = "backbone"

    def __init__(self, config: GuidedClassifierConfig):
        super().__init__(config)
        self.backbone = AutoModel.from_config(AutoConfig.for_model(**config.backbone))
        if config.pooling != "own":
            self.backbone.pooler = None
        self.classifier = nn.Linear(self.backbone.config.hidden_size, len(config.id2label or {}))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_,
    ) -> SequenceClassifierOutput:
        """Logits [B, C] for token ids [B, T], with numbers of segments or without; the loss for labels [B]."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        output = self.backbone(**inputs)
        if self.config.pooling == "own":
            pooled = output.pooler_output
        elif self.config.pooling == "cls":
            pooled = output.last_hidden_state[:, 0]
        else:
            mask = attention_mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
            pooled = (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1)
        features = F.normalize(pooled, dim=-1) * pooled.shape[-1] ** 0.5
        logits = self.classifier(features)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]


class AveragedClassifier(PreTrainedModel):
    """Several classifiers that predict the weighted mean of their probabilities."""

    config_class = AveragedClassifierConfig
    base_model_prefix = "members"

    def __init__(self, config: AveragedClassifierConfig):
        super().__init__(config)
        self.members = nn.ModuleList(GuidedClassifier(config) for _ in config.shares)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **_,
    ) -> SequenceClassifierOutput:
        """For token ids [B, T] what gives the members' mean through softmax, sigmoid, or as it is: [B, C]."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        kind = self.config.problem_type
        found = [member(**inputs).logits for member in self.members]
        if kind == "multi_label_classification":
            found = [logits.sigmoid() for logits in found]
        elif kind != "regression":
            found = [logits.softmax(-1) for logits in found]
        mean = torch.stack([share * each for share, each in zip(self.config.shares, found)]).sum(0)
        if kind == "multi_label_classification":
            mean = mean.logit(torch.finfo(mean.dtype).eps)
        elif kind != "regression":
            mean = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        return SequenceClassifierOutput(logits=mean)  # pyright: ignore[reportArgumentType]
