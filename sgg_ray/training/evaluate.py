"""Predict labels for many rows, shared among the workers."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from sgg_ray.models import TaskModel, TokenisedRows, batches_by_length, is_sharded
from sgg_ray.training.communicator import Communicator


def in_step(
    model: TaskModel, rows: TokenisedRows, batch_size: int, communicator: Communicator
) -> Iterator[tuple[np.ndarray, bool]]:
    """Batches of this worker's rows, as indices, and whether what they give counts.

    Each pass of a sharded model needs all workers: one with fewer batches computes row 0 again, for nothing.
    """
    rank, workers = communicator.rank, communicator.world_size
    batches = list(batches_by_length(rows, batch_size, np.arange(len(rows))[rank::workers]))
    yield from ((batch, True) for batch in batches)
    if is_sharded(model):
        most = -(-len(range(0, len(rows), workers)) // batch_size)
        yield from [(np.zeros(1, dtype=np.int64), False)] * (most - len(batches))


@torch.no_grad()
def predict(
    model: TaskModel,
    rows: TokenisedRows,
    batch_size: int,
    communicator: Communicator,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Probabilities [len(rows), C] in the order of the rows, the same array on every worker; of kind regression [., 1].

    Args:
        rows: all with one head.
        batch_size: rows a worker computes at once.
        on_progress: takes (rows done, rows in all) of this worker after each batch.
    """
    model.eval()
    result = torch.zeros(len(rows), len(model.labels[rows.head]), device=model.device)
    mine = len(range(communicator.rank, len(rows), communicator.world_size))
    done = 0
    for indices, counts in in_step(model, rows, batch_size, communicator):
        found = model.predictions(model.collate([(rows, int(row)) for row in indices]))
        if counts:
            result[torch.from_numpy(indices).to(model.device)] = found.float()
            done += len(indices)
            on_progress(done, mine)
    communicator.all_reduce(result)
    return result.cpu().numpy()
