"""A driver that is stopped lets its training keep a checkpoint first."""

import time
from collections.abc import Callable

from sgg_ray.evaluation import GUIDED
from sgg_ray.orchestration.runtime.executor import Inbox
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_state import StoredCheckpoint

KEEP_SECONDS = 20.0  # for the checkpoint; Kubernetes and spot machines give half a minute for everything
POLL_SECONDS = 0.2


def keep_checkpoint(
    session: Session,
    inbox: Inbox,
    last: Callable[[], StoredCheckpoint | None],
    is_running: Callable[[], bool],
) -> None:
    """Have the training keep a checkpoint before it ends, and wait for it, for ``KEEP_SECONDS`` at most.

    Nothing is waited for before the first step. After the last one it is the finished training's own checkpoint.

    Args:
        session: of the run.
        inbox: where the training asks.
        last: the last checkpoint that can be resumed from; None if there is none, or while it cannot be read.
        is_running: whether the training is still there.
    """
    if not any(run.split("/")[0] == GUIDED for run in session.shown):  # guided/NAME: a member of an average
        return
    before = last()
    session.listener.note(f"stopping: waiting up to {KEEP_SECONDS:g} s for a checkpoint")
    inbox.want_checkpoint()
    deadline = time.monotonic() + KEEP_SECONDS
    while last() in (None, before) and is_running() and time.monotonic() < deadline:
        session.pass_on(inbox)
        time.sleep(POLL_SECONDS)
