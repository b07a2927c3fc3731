"""Features of many rows at the rate of an encoder's forward passes.

While a device computes one stretch of rows, a thread tokenises the next and copies it over, and what was computed
before is fetched and written. Tokenizers, copies and files let go of Python's lock, so one process is enough.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.batch import Batch, TokenisedRows
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.tasks import Task

BATCH_ROWS = 32  # of a batch on a CPU
BATCH_TOKENS = 32_768  # of a batch on a GPU, which fewer would leave idle between its kernels
AHEAD = 2  # stretches that are prepared, and computed, before they are asked for


@dataclass(frozen=True)
class _Prepared:
    """A stretch on the device: batches, and which of its rows [b] are in each."""

    batches: list[tuple[np.ndarray, Batch]]
    copied: Any  # event on the stream that copied them; None on a CPU


@dataclass(frozen=True)
class _Computed:
    """Features [n, H] on their way to the host, and what must live until they are there."""

    features: Tensor
    arrived: Any
    prepared: _Prepared


def feature_stretches(
    model: EncoderClassifier, task: Task, bounds: Sequence[tuple[int, int]]
) -> Iterator[np.ndarray]:
    """Features [stop − start, H] float32 of each stretch of the task's training rows, in their order.

    Args:
        model: on its device, in evaluation mode.
        bounds: start and stop of each stretch.
    """
    copies = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None

    def prepare(start: int, stop: int) -> _Prepared:
        stretch = replace(task, train=task.train.take(range(start, stop)))
        tokens = model.tokenise(stretch, stretch.train)
        with torch.cuda.stream(copies) if copies else nullcontext():
            batches = [
                (batch, model.collate([(tokens, int(row)) for row in batch]))
                for batch in batches_of(tokens, on_gpu=copies is not None)
            ]
            return _Prepared(batches, copies.record_event() if copies else None)

    waiting = deque(bounds)
    prepared: deque[Future[_Prepared]] = deque()
    computed: deque[_Computed] = deque()
    with ThreadPoolExecutor(1) as thread:
        while waiting or prepared or computed:
            while waiting and len(prepared) < AHEAD:
                prepared.append(thread.submit(prepare, *waiting.popleft()))
            if prepared:
                computed.append(_compute(model, prepared.popleft().result()))
            if len(computed) == AHEAD or not prepared:
                yield _fetched(computed.popleft())


@torch.no_grad()
def _compute(model: EncoderClassifier, prepared: _Prepared) -> _Computed:
    if prepared.copied is not None:
        torch.cuda.current_stream(model.device).wait_event(prepared.copied)
    found = torch.cat([model.features(batch) for _, batch in prepared.batches])
    if prepared.copied is None:
        return _Computed(found, None, prepared)
    host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
    host.copy_(found, non_blocking=True)
    return _Computed(host, torch.cuda.current_stream(model.device).record_event(), prepared)


def _fetched(computed: _Computed) -> np.ndarray:
    if computed.arrived is not None:
        computed.arrived.synchronize()
    found = np.empty(computed.features.shape, dtype=np.float32)
    found[np.concatenate([rows for rows, _ in computed.prepared.batches])] = computed.features.numpy()
    return found


def batches_of(tokens: TokenisedRows, on_gpu: bool) -> Iterator[np.ndarray]:
    """Rows of similar length, so that little is padded; the longest first, so that no later batch needs more memory."""
    lengths = np.array([tokens.length(row) for row in range(len(tokens))])
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(BATCH_ROWS, BATCH_TOKENS // int(lengths[order[start]])) if on_gpu else BATCH_ROWS
        yield order[start : start + size]
        start += size
