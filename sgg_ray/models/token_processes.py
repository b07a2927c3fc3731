"""Token ids from several processes, at the rate that a GPU takes them.

Within one process a tokenizer uses all cores, but Python's lock leaves it to one of them to make lists of its ids and
to free what it has made: 10 µs a row where a small encoder's passes take 5.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sgg_ray.models.batch import TokenisedRows, tokenise
from sgg_ray.tasks import Rows, Task, Text

PIECE_ROWS = 512  # that a process is asked for at once
MOST = 16  # processes, which a GPU's passes of a small encoder keep busy
LOOK_SECONDS = 1.0  # after which a process notices that its parent is gone
_GPUS = Path("/proc/driver/nvidia/gpus")  # a folder for each of this machine

_tokenizer: Any = None  # of a process of the pool
_max_length = 0


class TokenProcesses:
    """Processes that turn texts into token ids. They end with the process that has made them, however it ends.

    They are forked, as those of PyTorch's ``DataLoader`` are: nothing is loaded again, and none of them touches a GPU.

    Args:
        tokenizer: of Transformers.
        max_length: tokens kept of a text, special tokens included.
        count: of processes.
    """

    def __init__(self, tokenizer: Any, max_length: int, count: int):
        self._pool = ProcessPoolExecutor(
            count,
            multiprocessing.get_context("fork"),
            initializer=_begin,
            initargs=(tokenizer, max_length, os.getpid()),
        )

    def tokenise(self, task: Task, rows: Rows) -> TokenisedRows:
        """Turn rows into token ids; what :func:`sgg_ray.models.batch.tokenise` gives."""
        pieces = [
            self._pool.submit(_ids, rows.texts[start : start + PIECE_ROWS])
            for start in range(0, len(rows), PIECE_ROWS)
        ]
        ids: list[np.ndarray] = []
        for piece in pieces:
            flat, stops = piece.result()
            ids += [flat[start:stop] for start, stop in zip([0, *stops], stops)]
        pairs = any(not isinstance(text, str) for text in rows.texts)
        return TokenisedRows(
            task.head, tuple(ids), rows.labels, pairs=pairs, values=rows.values, weights=rows.weights
        )

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def process_count() -> int:
    """How many of this machine's cores are there for each of its GPUs, ``MOST`` at most."""
    gpus = sum(1 for _ in _GPUS.iterdir()) if _GPUS.is_dir() else 1
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // max(1, gpus)))


def _begin(tokenizer: Any, max_length: int, parent: int) -> None:
    global _tokenizer, _max_length
    _tokenizer, _max_length = tokenizer, max_length
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # of these processes, each has one core
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that is killed closes no queue: its children, who hold both ends, would wait for ever."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _ids(texts: Sequence[Text]) -> tuple[np.ndarray, list[int]]:
    """Ids of all texts, one behind the other, and where each ends."""
    rows = Rows(texts, np.zeros(len(texts), dtype=np.int64))
    ids = tokenise(_tokenizer, rows, "", _max_length).ids
    return np.concatenate(ids), np.cumsum([len(own) for own in ids]).tolist()
