"""A linear layer with weights in 8 bits and activations as they are. Only imported where bitsandbytes is installed."""

from typing import Any

import torch
from bitsandbytes.nn.modules import Linear8bitLt
from torch import Tensor, nn


class WeightOnlyLinear(Linear8bitLt):
    """bitsandbytes' layer of frozen 8-bit weights, without its product (LLM.int8, Dettmers et al. 2022).

    That rounds activations to 8 bits as well. The loss is then a staircase in an adapter's parameters, and over a short
    distance a finite difference of its gradients measures the steps instead of the curvature: cosine to H·v 0.48
    instead of 0.94 where it changes the gradient by a twentieth (random Llama, width 128).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Activations [..., out] of activations [..., in], in the precision of autocast if it is on."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        weight: Any = self.weight
        scales = weight.SCB.to(x.device)  # moving a module moves its parameters, not what hangs on them
        return _DequantisedProduct.apply(x.to(dtype), weight.data, scales, bias)


class _DequantisedProduct(torch.autograd.Function):
    """y = x Wᵀ + b with W = diag(scales / 127) · integers; backward makes W once more instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, integers: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(integers, scales)
        return nn.functional.linear(x, _dequantised(integers, scales, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        integers, scales = ctx.saved_tensors
        return gradients[0] @ _dequantised(integers, scales, gradients[0].dtype), None, None, None


def _dequantised(integers: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights [out, in] of integers [out, in] and the largest magnitude of each row [out]."""
    return integers.to(dtype) * (scales / 127).to(dtype).unsqueeze(1)
