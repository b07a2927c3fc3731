"""The passes of a Llama decoder with LoRA at q and v in far fewer kernels than Transformers and PEFT launch.

Small models keep a GPU busy with kernels of a few microseconds: casts, norms in parts, an adapter's bookkeeping. Here
norms are one kernel, q, k and v are one product as are gate and up, and all adapters are cast at once. The arithmetic
is the same but for rounding. Sequences are padded on the right, so that the causal mask hides the padding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

LORA = "default"


def lean(trunk: nn.Module) -> None:
    """Replace the forward method of a decoder, if it is a Llama with LoRA of one rank at q and v alone."""
    layers = getattr(trunk, "layers", ())
    if type(trunk).__name__ == "LlamaModel" and all(adapted(layer.self_attn) for layer in layers):
        trunk.forward = LeanDecoder(trunk)


def adapted(attention: Any) -> bool:
    """Whether q and v have plain LoRA, and k and o nothing."""
    with_lora = [
        hasattr(getattr(attention, name), "lora_A") for name in ("q_proj", "k_proj", "v_proj", "o_proj")
    ]
    return with_lora == [True, False, True, False]


class LeanDecoder:
    """Takes the place of ``LlamaModel.forward``."""

    def __init__(self, trunk: Any):
        self.trunk, self.config = trunk, trunk.config
        self.scaling = trunk.layers[0].self_attn.q_proj.scaling[LORA]
        with torch.no_grad():
            self.qkv = [self.joined(layer.self_attn, "q_proj", "k_proj", "v_proj") for layer in trunk.layers]
            self.gate_up = [self.joined(layer.mlp, "gate_proj", "up_proj") for layer in trunk.layers]

    @staticmethod
    def joined(module: Any, *names: str) -> Tensor:
        parts = [getattr(module, name) for name in names]
        return torch.cat([getattr(part, "base_layer", part).weight for part in parts]).detach()

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None, **rest: Any) -> Any:
        """Hidden states behind the last norm."""
        with torch.autocast(input_ids.device.type, enabled=False):
            hidden = self.trunk.embed_tokens(input_ids)
            places = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
            turns = [part.unsqueeze(2) for part in self.trunk.rotary_emb(hidden, places)]
            for number, adapters in enumerate(self.adapters(hidden.dtype)):
                hidden = self.layer(number, hidden, adapters, turns)
            hidden = self.norm(self.trunk.norm, hidden)
        return BaseModelOutputWithPast(last_hidden_state=hidden)

    def adapters(self, dtype: torch.dtype) -> list[list[Tensor]]:
        """A and B of q, and of v, layer by layer, in the precision of the pass."""
        whole = [
            part[LORA].weight
            for layer in self.trunk.layers
            for name in ("q_proj", "v_proj")
            for part in (getattr(layer.self_attn, name).lora_A, getattr(layer.self_attn, name).lora_B)
        ]
        flat = torch.cat([weight.flatten() for weight in whole]).to(dtype)
        pieces = flat.split([weight.numel() for weight in whole])
        shaped = [piece.view(weight.shape) for piece, weight in zip(pieces, whole)]
        return [shaped[start : start + 4] for start in range(0, len(shaped), 4)]

    @staticmethod
    def norm(module: Any, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden, (hidden.shape[-1],), module.weight, module.variance_epsilon)

    def layer(self, number: int, hidden: Tensor, adapters: list[Tensor], turns: list[Tensor]) -> Tensor:
        """One layer: attention and feed-forward part."""
        layer = self.trunk.layers[number]
        attended = self.attention(number, self.norm(layer.input_layernorm, hidden), adapters, turns)
        hidden = hidden + F.linear(attended, layer.self_attn.o_proj.weight)
        gate, up = F.linear(self.norm(layer.post_attention_layernorm, hidden), self.gate_up[number]).chunk(
            2, -1
        )
        return hidden + F.linear(F.silu(gate) * up, layer.mlp.down_proj.weight)

    def attention(self, number: int, x: Tensor, adapters: list[Tensor], turns: list[Tensor]) -> Tensor:
        """Causal attention [B, T, q]."""
        config = self.config
        rows, length, width = x.shape
        size, queries, keys = config.head_dim, config.num_attention_heads, config.num_key_value_heads
        flat = x.reshape(-1, width)
        q, k, v = F.linear(flat, self.qkv[number]).split([queries * size, keys * size, keys * size], -1)
        a_q, b_q, a_v, b_v = adapters
        low = F.linear(flat, torch.cat([a_q, a_v]))
        rank = a_q.shape[0]
        q = torch.addmm(q, low[:, :rank], b_q.t(), alpha=self.scaling)
        v = torch.addmm(v, low[:, rank:], b_v.t(), alpha=self.scaling)
        both = torch.cat([q, k], -1).view(rows, length, queries + keys, size)
        cos, sin = turns
        first, second = both.chunk(2, -1)
        both = torch.addcmul(both * cos, torch.cat([-second, first], -1), sin)
        q, k = both.transpose(1, 2).split([queries, keys], 1)
        v = v.view(rows, length, keys, size).transpose(1, 2)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return found.transpose(1, 2).reshape(rows, length, queries * size)
