"""The backbone's training passes as CUDA graphs: recorded once for each shape of a batch, then launched as a whole.

A small model's pass consists of hundreds of kernels of a few microseconds each, and the processor takes longer to
launch them than the GPU to run them. Only the backbone is recorded; heads, losses and everything after them run as
ever, so that batches may mix tasks as they like.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_GRAPHS = 64  # shapes of batches, twice: at the parameters and where a finite difference has moved them
FIELD = "last_hidden_state"


@contextmanager
def graphed(trunk: nn.Module | None, wanted: bool = True) -> Iterator[None]:
    """Record and replay the training passes of ``trunk`` for as long as the context is open.

    A pass is recorded when its shape comes for the second time. Results are those of the recorded kernels: the same
    dropout masks from the same random state, and gradients that are added to ``parameter.grad``. Whatever cannot be
    recorded runs kernel by kernel: passes in evaluation mode or without gradients, with other inputs than token ids
    and their mask, with other outputs than the last hidden states, on a CPU.

    Within the context, gradients come from ``backward()``, not from ``torch.autograd.grad``; each forward pass has its
    backward pass before the next forward pass; and no gradient is None.

    Args:
        trunk: a Transformers model without head; None: nothing is recorded.
        wanted: False: nothing is recorded.
    """
    if trunk is None or not wanted or not next(trunk.parameters()).is_cuda:
        yield
        return
    replaced = vars(trunk).get("forward")
    trunk.forward = Recorder(trunk)
    # Passes take turns on two streams on purpose; PyTorch (from 2.10 on) warns where a caller keeps its last loss.
    warn = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", lambda wanted: None)
    warn(False)
    try:
        yield
    finally:
        warn(True)
        del trunk.forward  # the class's own shows again
        if replaced is not None:
            trunk.forward = replaced


class Recorder:
    """Stands in for the forward method of a model.

    Attributes:
        broken: recording has failed once; everything runs kernel by kernel from then on.
        graphs: what was recorded.
    """

    def __init__(self, trunk: nn.Module):
        self.trunk, self.own = trunk, trunk.forward
        self.trainable = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
        self.device = next(trunk.parameters()).device
        self.anchor = torch.zeros((), device=self.device, requires_grad=True)
        self.stream = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.generator = torch.cuda.default_generators[self.stream.device_index]
        self.output: type | None = None  # what the model returns, where that can be rebuilt
        self.seen: set[Any] = set()
        self.graphs: dict[Any, Recorded] = {}
        self.last: Recorded | None = None  # whose forward pass was replayed last, its backward pass not yet
        self.broken = False

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """The model's forward method."""
        key = None if args else self._key(inputs)
        if key is None:
            return self.own(*args, **inputs)
        if key not in self.graphs:
            new, full = key not in self.seen, len(self.graphs) >= MOST_GRAPHS
            self.seen.add(key)
            if new or full or self.output is None or not self._has_room():
                return self._launch(inputs)
            self._record(key, inputs)
            if self.broken:
                return self.own(**inputs)
        hidden = _Replay.apply(self.anchor, self, self.graphs[key], _tensors(inputs))
        return self.output(**{FIELD: hidden})  # pyright: ignore[reportOptionalCall]

    def _key(self, inputs: dict[str, Any]) -> Any:
        """What has to be the same for a graph to stand for a pass; None where none can."""
        if self.broken or not self.trunk.training or not torch.is_grad_enabled() or not self.trainable:
            return None
        tensors = _tensors(inputs)
        if not tensors or not tensors.keys() <= {"input_ids", "attention_mask"}:
            return None
        rest = [(name, value) for name, value in inputs.items() if name not in tensors and value is not None]
        if any(not isinstance(value, (bool, int, float, str)) for _, value in rest):
            return None
        ends = self.trainable[0], self.trainable[-1]
        if any(parameter.grad is None for parameter in ends):
            return None
        return (
            tuple((name, value.shape, value.dtype) for name, value in tensors.items()),
            tuple(sorted(rest)),
            torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
            # A finite difference points the parameters to other values, see FlatParameters.replaced.
            *(place for one in ends for place in (one.data_ptr(), one.grad.data_ptr())),  # pyright: ignore[reportOptionalMemberAccess]
        )

    def _launch(self, inputs: dict[str, Any]) -> Any:
        """Kernel by kernel, and remember the type of the output if it holds nothing but hidden states.

        On the stream that records: the nodes that add to gradients belong to the stream that they were made on, and
        live on where a caller still holds on to its last loss.
        """
        with self.aside():
            found = self.own(**inputs)
        fields = (
            {name for name, value in found.items() if value is not None} if isinstance(found, dict) else ()
        )
        self.output = type(found) if set(fields) == {FIELD} and found[FIELD].requires_grad else None
        return found

    @contextmanager
    def aside(self) -> Iterator[None]:
        """On the stream that records, after what the caller's stream has to do, and before what it will have to.

        The model's device may not be the current one.
        """
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def _has_room(self) -> bool:
        """Whether a pass's activations fit twice more: graphs keep memory for those of one, and shapes that are
        launched kernel by kernel need their own. While a graph is recorded, nothing that the allocator holds back can
        be freed."""
        once = torch.cuda.max_memory_allocated(self.device) - torch.cuda.memory_allocated(self.device)
        needed = 2 * once
        if torch.cuda.mem_get_info(self.device)[0] < needed:
            torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0] >= needed

    def _record(self, key: Any, inputs: dict[str, Any]) -> None:
        """Record the forward and the backward pass. Nothing is computed."""
        state = self.generator.clone_state()
        torch.clear_autocast_cache()
        try:
            self.graphs[key] = Recorded(self, inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # A recording that was broken off leaves the generator waiting for its end.
            self.generator.graphsafe_set_state(state.graphsafe_get_state())
            self.broken = True
            warnings.warn(
                f"no CUDA graphs of this model ({str(error).strip().splitlines()[0]}): its kernels are launched one by "
                "one, with the same results but more time; train.cuda_graphs: false keeps it from being tried",
                RuntimeWarning,
                stacklevel=2,
            )
        finally:
            torch.clear_autocast_cache()


class Recorded:
    """A forward and a backward pass over batches of one shape, with parameters and gradients in places that stay."""

    def __init__(self, recorder: Recorder, inputs: dict[str, Any]):
        self.inputs = {name: value.clone() for name, value in _tensors(inputs).items()}
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with recorder.aside():
            with _recording(self.forward, recorder.pool):
                found = recorder.own(**{**inputs, **self.inputs})
                hidden = found[FIELD]
            self.gradient = torch.zeros_like(hidden)
            with _recording(self.backward, recorder.pool):
                torch.autograd.backward(hidden, self.gradient)
        self.hidden = hidden.detach()


def _tensors(inputs: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}


@contextmanager
def _recording(graph: torch.cuda.CUDAGraph, pool: Any) -> Iterator[None]:
    # torch.cuda.graph also collects garbage and empties the allocator's cache, which costs more than the recording.
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")  # other threads may go on copying
    try:
        yield
    finally:
        graph.capture_end()


class _Replay(torch.autograd.Function):
    """A recorded pass as one node of the autograd graph."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, recorder: Recorder, recorded: Recorded, inputs: dict[str, Tensor]
    ) -> Tensor:
        for name, value in inputs.items():
            recorded.inputs[name].copy_(value)
        recorded.forward.replay()
        recorder.last = recorded
        ctx.recorder, ctx.recorded = recorder, recorded
        return recorded.hidden.view_as(recorded.hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        if ctx.recorder.last is not ctx.recorded:
            # All graphs share one pool of memory: another forward pass has overwritten this one's activations.
            raise RuntimeError("a recorded forward pass needs its backward pass before the next forward pass")
        ctx.recorder.last = None
        ctx.recorded.gradient.copy_(gradients[0])
        ctx.recorded.backward.replay()
        return (None,) * 4
