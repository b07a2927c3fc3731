"""Features of many rows at the rate of an encoder's forward passes.

While a device computes some stretches of rows, threads have the next ones tokenised and copy them over, and what was
computed before is fetched and written. Beside a CPU a tokenizer in the same process is quick enough; a GPU is fed by
several processes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.batch import Batch, TokenisedRows
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.tasks import Rows, Task

BATCH_ROWS = 32  # of a batch on a CPU
BATCH_TOKENS = 65_536  # of a batch on a GPU, which fewer would leave idle between its kernels
GROUP_ROWS = 2048  # of stretches that a GPU computes in one go
AHEAD = 2  # groups that are prepared, and computed, before they are asked for
GPU_AHEAD = 6  # groups that are prepared for a GPU: the processes that tokenise never wait


@dataclass(frozen=True)
class _Prepared:
    """Stretches on the device, one after the other: their lengths, batches, and which of their rows [b] each holds."""

    lengths: list[int]
    batches: list[tuple[np.ndarray, Batch]]
    copied: Any  # event on the stream that copied them; None on a CPU


@dataclass(frozen=True)
class _Computed:
    """Features [n, H] on their way to the host, and what must live until they are there."""

    features: Tensor
    arrived: Any
    prepared: _Prepared


def feature_stretches(
    model: EncoderClassifier,
    task: Task,
    bounds: Sequence[tuple[int, int]],
    tokenise: Callable[[Task, Rows], TokenisedRows] | None = None,
) -> Iterator[np.ndarray]:
    """Features [stop − start, H] float32 of each stretch of the task's training rows, in their order.

    Args:
        model: on its device, in evaluation mode.
        bounds: start and stop of each stretch.
        tokenise: in place of the model's; called by several threads.
    """
    tokens_of = tokenise or model.tokenise
    copies = torch.cuda.Stream(model.device) if model.device.type == "cuda" else None

    def prepare(group: Sequence[tuple[int, int]]) -> _Prepared:
        rows = np.concatenate([np.arange(start, stop) for start, stop in group])
        part = replace(task, train=task.train.take(rows))
        tokens = tokens_of(part, part.train)
        with torch.cuda.stream(copies) if copies else nullcontext():
            batches = [
                (batch, model.collate([(tokens, int(row)) for row in batch]))
                for batch in batches_of(tokens, on_gpu=copies is not None)
            ]
            copied = copies.record_event() if copies else None
        return _Prepared([stop - start for start, stop in group], batches, copied)

    waiting = deque(_groups(bounds, GROUP_ROWS if copies else 1))
    prepared: deque[Future[_Prepared]] = deque()
    computed: deque[_Computed] = deque()
    ahead = GPU_AHEAD if tokenise else AHEAD
    with ThreadPoolExecutor(ahead - 1 if tokenise else 1) as threads:
        while waiting or prepared or computed:
            while waiting and len(prepared) < ahead:
                prepared.append(threads.submit(prepare, waiting.popleft()))
            if prepared:
                computed.append(_compute(model, prepared.popleft().result()))
            if len(computed) == AHEAD or not prepared:
                yield from _fetched(computed.popleft())


def _groups(bounds: Sequence[tuple[int, int]], rows: int) -> Iterator[list[tuple[int, int]]]:
    """Stretches that follow each other, so many that they have that many rows together."""
    group: list[tuple[int, int]] = []
    for one in bounds:
        group.append(one)
        if sum(stop - start for start, stop in group) >= rows:
            yield group
            group = []
    if group:
        yield group


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


def _fetched(computed: _Computed) -> Iterator[np.ndarray]:
    if computed.arrived is not None:
        computed.arrived.synchronize()
    found = np.empty(computed.features.shape, dtype=np.float32)
    found[np.concatenate([rows for rows, _ in computed.prepared.batches])] = computed.features.numpy()
    yield from np.split(found, np.cumsum(computed.prepared.lengths)[:-1])


def batches_of(tokens: TokenisedRows, on_gpu: bool) -> Iterator[np.ndarray]:
    """Rows of similar length, so that little is padded; the longest first, so that no later batch needs more memory."""
    lengths = np.array([tokens.length(row) for row in range(len(tokens))])
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(BATCH_ROWS, BATCH_TOKENS // int(lengths[order[start]])) if on_gpu else BATCH_ROWS
        yield order[start : start + size]
        start += size
