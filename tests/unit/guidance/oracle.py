"""Toy models in float64, and the guided objective written out and differentiated twice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sgg_ray.gradients import FlatParameters
from sgg_ray.guidance import Guidance

ROWS, TOKENS, WORDS, CLASSES = 6, 5, 23, 3


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 4)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 8), nn.Tanh())
        self.score = nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.score(self.body(self.embedding(tokens).mean(1)))


class Logits(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits


def build_model(
    kind: str, lora: bool = False, dropout: float = 0.1, checkpointing: bool = False
) -> nn.Module:
    torch.manual_seed(0)
    if kind == "mlp":
        return Perceptron().double().train()
    # here, so that the workers of test_workers, which need the perceptron alone, start quickly
    from peft import LoraConfig, get_peft_model
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForSequenceClassification,
    )

    shape = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {
        "intermediate_size": 16,
        "max_position_embeddings": 16,
        "num_labels": CLASSES,
        "pad_token_id": 0,
    }
    if kind == "bert":
        rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        model = BertForSequenceClassification(BertConfig(**shape, **rates))
        targets = ["query", "value"]
    else:
        model = LlamaForSequenceClassification(
            LlamaConfig(**shape, num_key_value_heads=1, attention_dropout=dropout)
        )
        targets = ["q_proj", "v_proj", "down_proj"]
        _norms_in_float64(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if lora:
        head = "classifier" if kind == "bert" else "score"
        model = get_peft_model(
            model, LoraConfig(r=2, target_modules=targets, lora_dropout=dropout, modules_to_save=[head])
        )
    model = model.double().train()
    with torch.no_grad():  # away from the special starting points: LoRA's B = 0, biases = 0
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Logits(model)


def _norms_in_float64(model: nn.Module) -> None:
    """Llama computes its norms in float32 whatever the model's type: too coarse for an oracle."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "LlamaRMSNorm":
                setattr(module, name, nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon))


@dataclass
class Case:
    """A model on a flat buffer, the losses of its micro-batches, and the vectors r and s."""

    model: nn.Module
    flat: FlatParameters
    private: slice
    shared: slice
    reference: Tensor
    source: Tensor
    micro_batch: int = ROWS

    def losses(self, rows: range = range(ROWS), step: int = 0) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(5 + step)
        tokens = torch.randint(1, WORDS, (ROWS, TOKENS), generator=generator)
        labels = torch.randint(CLASSES, (ROWS,), generator=generator)
        for start in range(rows.start, rows.stop, self.micro_batch):
            torch.manual_seed(99 + start + 1000 * step)  # the same dropout masks every time
            stop = min(start + self.micro_batch, rows.stop)
            logits = self.model(tokens[start:stop])
            yield nn.functional.cross_entropy(logits, labels[start:stop], reduction="sum") / ROWS

    def backward(self, step: int = 0) -> Tensor:
        self.flat.zero_gradient()
        for loss in self.losses(step=step):
            loss.backward()
        return self.flat.gradient.clone()

    def guidance(self, **settings) -> Guidance:
        """Guidance as it is where the running mean of unit gradients has come to ``reference``."""
        guidance = Guidance(self.flat, private=self.private, shared=self.shared, **settings)
        if guidance.reference is not None:
            guidance.reference.copy_(self.reference[: guidance.size])
        return guidance

    def guide(
        self, reduce: Callable[[Tensor], None] = lambda tensor: None, **settings
    ) -> tuple[Tensor, dict]:
        """Guided gradient of one step whose reference is ``reference``, and the metrics."""
        guidance = self.guidance(**settings)
        self.backward()
        metrics = guidance.apply(0, self.losses, self.source, reduce)
        return self.flat.gradient.clone(), metrics


def build_case(kind: str = "mlp", lora: bool = False, micro_batch: int = ROWS, **options) -> Case:
    model = build_model(kind, lora, **options)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    named.sort(
        key=lambda item: "score" not in item[0] and "classifier" not in item[0]
    )  # the private head first
    flat = FlatParameters(named)
    head = sum(parameter.numel() for name, parameter in named if "score" in name or "classifier" in name)
    generator = torch.Generator().manual_seed(7)
    reference, source = torch.randn(2, flat.size, generator=generator, dtype=flat.values.dtype)
    source[:head] = 0
    case = Case(model, flat, slice(0, head), slice(head, flat.size), reference, source, micro_batch)
    gradient = case.backward()
    # vectors that have something to do with the gradient, so that cosines are not all near 0
    case.reference = gradient + reference * gradient.norm() / reference.norm()
    case.source[head:] = -gradient[head:] + 2 * source[head:] * gradient.norm() / source.norm()
    return case


def written_objective(
    case: Case,
    lambda_direction: float = 0.0,
    lambda_magnitude: float = 0.0,
    lambda_alignment: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(gradient of loss and regularisers [P], value of the regularisers), by differentiating the formula
    itself."""
    parameters = list(case.flat.parameters)
    with sdpa_kernel(SDPBackend.MATH):
        total = torch.stack(list(case.losses())).sum()
        parts = torch.autograd.grad(total, parameters, create_graph=True)
    g = torch.cat([part.flatten() for part in parts])
    cosine = torch.nn.functional.cosine_similarity
    regularisers = (
        lambda_direction * (1 - cosine(g, case.reference, dim=0))
        + lambda_magnitude * g.norm()
        + lambda_alignment * (1 - cosine(g[case.shared], case.source[case.shared], dim=0))
    )
    parts = torch.autograd.grad(total + regularisers, parameters)
    return torch.cat([part.flatten() for part in parts]), regularisers.detach()
