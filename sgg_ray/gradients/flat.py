"""All trainable parameters in one contiguous buffer, and their gradients in another.

Everything that guidance does to a gradient is then a few passes over a long vector, instead of a Python loop
over hundreds of small tensors, which costs more than the arithmetic itself on a GPU.
"""

from collections.abc import Iterable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sgg_ray.errors import ModelError


class FlatParameters:
    """Moves parameters into one buffer; the modules keep working on views of it.

    Trainable parameters in half precision are moved to float32: a finite difference of half-precision
    parameters is mostly rounding (cosine to the exact Hessian-vector product 0.49 at a relative step of
    1e-3), and small updates of them are lost. Run the forward pass under autocast to keep its speed.

    Args:
        named_parameters: in the order in which they shall lie in the buffer; a tied parameter counts once.

    Attributes:
        values: [P] all parameters; ``parameter.data`` are views of it.
        gradient: [P] all gradients; ``parameter.grad`` are views of it.
        names: of the parameters, in order.
        slices: by name, where a parameter lies.

    Raises:
        ModelError: there is nothing to train, or the parameters are on several devices.
    """

    sharded = False  # whether each worker holds a part of every vector, and not the whole

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]]):
        unique: dict[int, tuple[str, nn.Parameter]] = {}
        for name, parameter in named_parameters:
            unique.setdefault(id(parameter), (name, parameter))
        self.names = tuple(name for name, _ in unique.values())
        self.parameters = tuple(parameter for _, parameter in unique.values())
        dtype = _common_precision(self.names, self.parameters)
        sizes = [parameter.numel() for parameter in self.parameters]
        self.values = torch.empty(sum(sizes), dtype=dtype, device=self.parameters[0].device)
        self.gradient = torch.zeros_like(self.values)
        self.slices: dict[str, slice] = {}
        start = 0
        for name, size in zip(self.names, sizes):
            self.slices[name] = slice(start, start + size)
            start += size
        views = self.views(self.values)
        for parameter, view in zip(self.parameters, views):
            view.copy_(parameter.data)
        self._own_values = views
        self._own_gradients = self.views(self.gradient)
        _point(self.parameters, views)
        for parameter, gradient in zip(self.parameters, self._own_gradients):
            parameter.grad = gradient

    @property
    def size(self) -> int:
        """Number of trainable values P."""
        return self.values.numel()

    @property
    def total_size(self) -> int:
        """Number of trainable values, those in other workers' shards included."""
        return self.size

    def sum_shards(self, partial: Tensor) -> Tensor:
        """The whole of a sum over coordinates, of which ``partial`` is this worker's share: here it is the whole."""
        return partial

    def norm(self, vector: Tensor) -> Tensor:
        """Euclidean norm, a scalar on the device, of a vector whose coordinates lie as the parameters do."""
        norm = torch.linalg.vector_norm(vector)
        return self.sum_shards(norm.square()).sqrt() if self.sharded else norm

    def cosine(self, one: Tensor, other: Tensor) -> Tensor:
        """Cosine of two vectors whose coordinates lie as the parameters do, a scalar on the device."""
        if not self.sharded:
            return torch.cosine_similarity(one, other, dim=0)
        products = torch.stack([torch.dot(one, other), torch.dot(one, one), torch.dot(other, other)])
        dot, own, others = self.sum_shards(products)
        return dot / (own * others).sqrt().clamp(min=1e-8)

    @property
    def device(self) -> torch.device:
        """Device of the flat parameters and their gradient."""
        return self.values.device

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The stretches of a buffer [n <= P], shaped like the parameters that lie completely in its first n
        values."""
        pairs = zip(self.slices.values(), self.parameters)
        return [
            buffer[where].view(parameter.shape) for where, parameter in pairs if where.stop <= len(buffer)
        ]

    def zero_gradient(self) -> None:
        """Set all gradients to zero, in one write."""
        self.restore_views()
        self.gradient.zero_()

    def restore_views(self) -> None:
        """Make every ``parameter.grad`` a view of the buffer again.

        ``optimizer.zero_grad()`` sets them to None, and the next backward pass then allocates tensors of its
        own: what these hold is copied into the buffer; where there is None the buffer keeps its value.
        """
        for parameter, gradient in zip(self.parameters, self._own_gradients):
            if parameter.grad is not gradient:
                if parameter.grad is not None:
                    gradient.copy_(parameter.grad)
                parameter.grad = gradient

    def parameter(self, where: slice) -> nn.Parameter:
        """A stretch of the buffer as one parameter with its gradient, for an optimiser's parameter groups."""
        parameter = nn.Parameter(self.values[where], requires_grad=True)
        parameter.grad = self.gradient[where]
        return parameter

    @contextmanager
    def replaced(self, views: list[Tensor]):
        """Let the first ``len(views)`` modules' parameters compute with other values.

        Only pointers change, so that the values themselves need neither a backup nor a copy back, and are the
        same to the last bit afterwards, also when the passes in between raise.
        """
        # Autocast keeps the half-precision copies of parameters that it has made for as long as its outermost
        # context lives: without this, a caller's own context would go on computing with the old values.
        torch.clear_autocast_cache()
        _point(self.parameters, views)
        try:
            yield
        finally:
            _point(self.parameters, self._own_values[: len(views)])
            torch.clear_autocast_cache()


def _point(parameters: tuple[nn.Parameter, ...], views: list[Tensor]) -> None:
    for parameter, view in zip(parameters, views):
        parameter.data = view


def _common_precision(names: tuple[str, ...], parameters: tuple[nn.Parameter, ...]) -> torch.dtype:
    if not parameters:
        raise ModelError(
            "model: no trainable parameter was found; choose another adapter, or unfreeze some layers"
        )
    devices = {str(parameter.device): name for name, parameter in zip(names, parameters)}
    if len(devices) > 1:
        found = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise ModelError(
            f"model: trainable parameters must be on one device, found {found}; use model.to(device)"
        )
    dtypes = {parameter.dtype for parameter in parameters}
    return torch.float64 if dtypes == {torch.float64} else torch.float32
