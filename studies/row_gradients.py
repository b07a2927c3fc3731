"""Scores of rows from gradients of all parameters of a trained model: as LESS and as TRAK take them."""

import numpy as np
import torch

from sgg_ray.gradients import Summariser
from sgg_ray.models import TaskModel
from sgg_ray.tasks import Rows, Task

SKETCH = 4096
PROJECTED = 256  # values of a row's gradient in TRAK's regression: fewer than there are rows
UNCERTAIN = 0.02  # 1 − p of a row at least: below it rounding is all that is left of its margin's gradient


def scores_by_gradients(model: TaskModel, target: Task, source: Task, seed: int) -> dict[str, np.ndarray]:
    """Scores [n] of the source's rows for the target's shots.

    *Cosine of all parameters*: of the row's gradient with the mean of the shots', sketched, as LESS (arXiv 2402.04333)
    takes it, without its optimiser's preconditioner. *TRAK*: one model's margins φ = ∇log(p/(1−p)), projected, give
    φ_shot (ΦᵀΦ)⁻¹ φ_row (1 − p_row) (arXiv 2303.14186), summed over the shots by their own 1 − p.
    """
    model.eval()
    mine, right = row_gradients(model, source, source.train, seed)
    theirs, _ = row_gradients(model, target, target.train, seed)
    mean = theirs.mean(axis=0)
    cosine = mine @ mean / np.maximum(np.linalg.norm(mine, axis=1) * np.linalg.norm(mean), 1e-300)
    project = np.random.default_rng(seed).choice([-1.0, 1.0], (SKETCH, PROJECTED)) / PROJECTED**0.5
    phi = (mine @ project) / np.maximum(1 - right, UNCERTAIN)[:, None]
    inverse = np.linalg.pinv(phi.T @ phi, rcond=1e-6, hermitian=True)
    query = (theirs @ project).mean(axis=0)  # ∇loss of a shot is −(1 − p) φ
    return {"cosine of all parameters": cosine, "TRAK": (phi @ inverse @ query) * (1 - right)}


def row_gradients(model: TaskModel, task: Task, rows: Rows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sketched gradients of −log p of each row's label [n, SKETCH], and p [n]."""
    tokens = model.tokenise(task, rows)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    summariser = None
    sketches, right = [], []
    for row in range(len(rows)):
        loss = model.losses(model.collate([(tokens, row)])).sum()
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        flat = torch.cat([part.flatten() for part in found if part is not None]).float()
        summariser = summariser or Summariser(len(flat), SKETCH, seed)
        sketches.append(summariser.compress(flat.unsqueeze(0))[0].cpu().numpy().astype(np.float64))
        right.append(float(torch.exp(-loss.detach())))
    return np.stack(sketches), np.array(right)
