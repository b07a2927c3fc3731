"""Many plain fine-tunings of one BERT encoder at once: the members' parameters are stacked and trained in step.

A training of 60 small steps keeps a large GPU busy for a fraction of its time. Here every matrix product and every
optimiser step works on all members together. What is trained is what ``sgg_ray.training`` trains without guidance: the
same batches, heads, loss, learning rates, clipping and weight decay; only the dropout masks are others. With dropout at
zero the probabilities of both agreed to 6e-8 on a small encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sgg_ray.config import TrainConfig
from sgg_ray.models import TokenisedRows
from sgg_ray.training.parameter_layout import learning_rate_factor
from sgg_ray.training.sampling import source_batch, target_batch


@dataclass(frozen=True)
class Member:
    """One training: tokenised target, tokenised sources by name with their weights, number of labels by head."""

    target: TokenisedRows
    sources: Mapping[str, TokenisedRows]
    weights: Mapping[str, float]
    widths: Mapping[str, int]  # labels by head, the target's first
    seed: int


class Ensemble:
    """Stacked copies of an encoder with mean pooling, and of zero-initialised heads.

    Args:
        state: the encoder's parameters, as ``BertModel.state_dict()`` names them.
        config: of the encoder, from Transformers.
        members: what each copy is trained on.
        device: for everything.
    """

    def __init__(self, state: Mapping[str, Tensor], config, members: Sequence[Member], device: torch.device):
        self.config, self.members, self.device = config, list(members), device
        count = len(self.members)
        self.offsets = []  # of each member's heads among its outputs
        for member in self.members:
            ends = np.cumsum([0, *member.widths.values()])
            self.offsets.append({head: (int(a), int(b)) for head, a, b in zip(member.widths, ends, ends[1:])})
        self.outputs = max(end for offsets in self.offsets for _, end in offsets.values())
        self.parameters: dict[str, Tensor] = {}
        for name, value in state.items():
            if value.is_floating_point() and not name.startswith("pooler"):
                stacked = value.to(device).float().unsqueeze(0).repeat(count, *[1] * value.ndim)
                self.parameters[name] = stacked.requires_grad_()
        self.parameters["head.weight"] = torch.zeros(
            count, self.outputs, config.hidden_size, device=device, requires_grad=True
        )
        self.parameters["head.bias"] = torch.zeros(count, self.outputs, device=device, requires_grad=True)
        self.training = False

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean-pooled states scaled to length √H: [M, B, H] from [M, B, T]. In bfloat16 autocast on a GPU."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            states = self._states(ids, mask).float()
        weights = mask.unsqueeze(3).float()
        pooled = (states * weights).sum(2) / weights.sum(2).clamp(min=1)
        return F.normalize(pooled, dim=-1) * self.config.hidden_size**0.5

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Last hidden states [M, B, T, H]."""
        m, b, t = ids.shape
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        p = self.parameters
        words = p["embeddings.word_embeddings.weight"]
        shifted = ids + torch.arange(m, device=self.device)[:, None, None] * words.shape[1]
        x = F.embedding(shifted, words.view(-1, width))
        x = x + p["embeddings.position_embeddings.weight"][:, None, :t]
        x = x + p["embeddings.token_type_embeddings.weight"][:, None, :1]
        x = self._dropout(self._norm(x, "embeddings.LayerNorm"), self.config.hidden_dropout_prob)
        seen = mask.bool().view(m * b, 1, 1, t)
        for number in range(self.config.num_hidden_layers):
            layer = f"encoder.layer.{number}"
            q, k, v = (
                self._linear(x, f"{layer}.attention.self.{name}").view(m * b, t, heads, -1).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            dropped = self.config.attention_probs_dropout_prob if self.training else 0.0
            states = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropped)
            states = states.transpose(1, 2).reshape(m, b, t, width)
            states = self._linear(states, f"{layer}.attention.output.dense")
            x = self._norm(
                x + self._dropout(states, self.config.hidden_dropout_prob),
                f"{layer}.attention.output.LayerNorm",
            )
            states = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))
            states = self._linear(states, f"{layer}.output.dense")
            x = self._norm(
                x + self._dropout(states, self.config.hidden_dropout_prob), f"{layer}.output.LayerNorm"
            )
        return x

    def logits(self, features: Tensor) -> Tensor:
        """All outputs of all heads [M, B, K]."""
        p = self.parameters
        return torch.baddbmm(p["head.bias"].unsqueeze(1), features, p["head.weight"].transpose(1, 2))

    def train(self, settings: TrainConfig) -> None:
        """``settings.steps`` steps of joint training."""
        self.training = True
        torch.manual_seed(self.members[0].seed)
        matrices = [name for name in self.parameters if self.parameters[name].ndim > 2]
        vectors = [name for name in self.parameters if self.parameters[name].ndim <= 2]
        groups = []
        for names, decay in ((matrices, settings.weight_decay), (vectors, 0.0)):
            for is_head in (False, True):
                rate = settings.head_learning_rate if is_head else settings.learning_rate
                chosen = [self.parameters[name] for name in names if name.startswith("head.") == is_head]
                groups.append({"params": chosen, "lr": rate, "rate": rate, "weight_decay": decay})
        optimiser = torch.optim.AdamW(groups, fused=True)
        for step in range(settings.max_steps):
            ids, mask, labels, allowed, weights = self._batch(step, settings)
            scores = self.logits(self.features(ids, mask)).masked_fill(~allowed, float("-inf"))
            losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
            optimiser.zero_grad(set_to_none=True)
            (losses.view_as(weights) * weights).sum().backward()
            self._clip(settings.max_grad_norm)
            factor = learning_rate_factor(step, settings.max_steps, settings.warmup_ratio)
            for group in optimiser.param_groups:
                group["lr"] = factor * group["rate"]
            optimiser.step()
        self.training = False

    @torch.no_grad()
    def encode(self, rows: Sequence[TokenisedRows], batch_size: int) -> list[np.ndarray]:
        """Features [n, H] of one set of rows for each member."""
        order = [np.argsort([len(ids) for ids in each.ids], kind="stable") for each in rows]
        longest = max(len(each) for each in rows)
        found = [np.zeros((len(each), self.config.hidden_size), dtype=np.float32) for each in rows]
        for start in range(0, longest, batch_size):
            chosen = [places[start : start + batch_size] for places in order]
            size = max(len(places) for places in chosen)
            examples = [
                [(each, int(row)) for row in np.resize(places, size)] if len(places) else [(each, 0)] * size
                for each, places in zip(rows, chosen)
            ]
            ids, mask = self._pad(examples)
            features = self.features(ids, mask).cpu().numpy()
            for member, places in enumerate(chosen):
                found[member][places] = features[member, : len(places)]
        return found

    @torch.no_grad()
    def probabilities(self, member: int, features: np.ndarray, head: str) -> np.ndarray:
        """Softmax over a head's labels [n, C] from features [n, H]."""
        first, last = self.offsets[member][head]
        weight = self.parameters["head.weight"][member, first:last]
        bias = self.parameters["head.bias"][member, first:last]
        return (torch.from_numpy(features).to(self.device) @ weight.T + bias).softmax(-1).cpu().numpy()

    def _batch(self, step: int, settings: TrainConfig):
        """Token ids, mask, labels, allowed outputs and weights of the losses for all members."""
        examples, weights = [], []
        for member in self.members:
            own = target_batch(len(member.target), settings.batch_size, step, member.seed)
            pairs = [(member.target, int(row)) for row in own]
            sizes = {name: len(rows) for name, rows in member.sources.items()}
            drawn = source_batch(sizes, dict(member.weights), settings.source_batch_size, step, member.seed)
            examples.append(pairs + [(member.sources[name], row) for name, row in drawn])
            # The product divides a source batch by its size also where it is short of rows.
            weights.append([1 / len(own)] * len(own) + [1 / settings.source_batch_size] * len(drawn))
        size = max(map(len, examples))
        labels = np.zeros((len(examples), size), dtype=np.int64)
        allowed = np.zeros((len(examples), size, self.outputs), dtype=bool)
        scale = np.zeros((len(examples), size), dtype=np.float32)
        for number, pairs in enumerate(examples):
            scale[number, : len(pairs)] = weights[number]
            allowed[number, len(pairs) :] = True
            for place, (rows, row) in enumerate(pairs):
                first, last = self.offsets[number][rows.head]
                labels[number, place] = first + rows.labels[row]
                allowed[number, place, first:last] = True
        padded = [pairs + [pairs[0]] * (size - len(pairs)) for pairs in examples]
        ids, mask = self._pad(padded)
        return ids, mask, self._put(labels), self._put(allowed), self._put(scale)

    def _pad(self, examples: Sequence[Sequence[tuple[TokenisedRows, int]]]) -> tuple[Tensor, Tensor]:
        longest = max(len(rows.ids[row]) for pairs in examples for rows, row in pairs)
        longest = -(-longest // 8) * 8
        ids = np.zeros((len(examples), len(examples[0]), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for number, pairs in enumerate(examples):
            for place, (rows, row) in enumerate(pairs):
                tokens = rows.ids[row]
                ids[number, place, : len(tokens)] = tokens
                mask[number, place, : len(tokens)] = 1
        return self._put(ids), self._put(mask)

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return torch.baddbmm(bias.unsqueeze(1), flat, weight.transpose(1, 2)).view(
            *x.shape[:-1], weight.shape[1]
        )

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        normed = F.layer_norm(x, x.shape[-1:], eps=self.config.layer_norm_eps)
        return torch.addcmul(bias[:, None, None], normed, weight[:, None, None])

    def _dropout(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share, self.training)

    @torch.no_grad()
    def _clip(self, most: float) -> None:
        """Scale each member's whole gradient to a norm of at most ``most``."""
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norms = sum(gradient.flatten(1).square().sum(1) for gradient in gradients) ** 0.5
        factors = (most / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
