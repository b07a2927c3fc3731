"""The section ``model``."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from sgg_ray.config.section import Section


class AdapterConfig(Section):
    """A PEFT adapter: the method's name and, beside it, any option of that method's PEFT configuration."""

    model_config = ConfigDict(extra="allow", frozen=True)
    peft_type: str = Field(description="PEFT method: lora, ia3, prefix_tuning, prompt_tuning, ...")


class ModelConfig(Section):
    """Which model is adapted, and how."""

    path: str = Field(
        description="hub id, folder, .gguf file, or package://module/path; an encoder, or a language model"
    )
    adapter: AdapterConfig | None = Field(None, description="PEFT adapter; null trains the backbone itself")
    trainable: Literal["all", "heads", "biases"] = Field(
        "all", description="without an adapter: what is trained of the backbone, besides the heads"
    )
    pooling: Literal["mean", "cls", "own"] = Field("mean", description="how token states become one vector")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 = autocast, parameters stay fp32"
    )
    quantization: Literal["nf4", "int8"] | None = Field(
        None,
        description="causal models with an adapter: frozen weights in 4 bits (nf4) or 8 (int8); null = as precision "
        "says",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    license: str | None = Field(
        None, description="licence of the model, for the model card; null = as in its own card"
    )
    chat: bool | None = Field(
        None,
        description="language models: put prompts into the tokenizer's chat template; null = if it has one",
    )
    length_normalised: bool = Field(
        False,
        description="language models: a label word or a choice counts by its tokens' mean log-probability, not the sum",
    )
    contextual_calibration: bool = Field(
        False, description="language models: subtract the scores that label words have without a text"
    )

    @model_validator(mode="after")
    def _adapter_or_part(self):
        if self.adapter is not None and self.trainable != "all":
            raise ValueError("an adapter decides itself what is trained; leave out adapter or trainable")
        return self
