"""Predict labels for many rows, shared among the workers."""

from collections.abc import Callable

import numpy as np
import torch

from sgg_ray.models import TaskModel, TokenisedRows, batches_by_length
from sgg_ray.training.communicator import Communicator


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
    mine = np.arange(len(rows))[communicator.rank :: communicator.world_size]
    done = 0
    for indices in batches_by_length(rows, batch_size, mine):
        batch = model.collate([(rows, int(row)) for row in indices])
        result[torch.from_numpy(indices).to(model.device)] = model.predictions(batch).float()
        done += len(indices)
        on_progress(done, len(mine))
    communicator.all_reduce(result)
    return result.cpu().numpy()
