"""Notice that Ray itself has died, and end what waits for it: one line in place of a hang or of Ray's own abort."""

import _thread
import atexit
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import worker as ray_worker

from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.runtime.ray_guard import TOGETHER, guarded

POLL_SECONDS = 0.5
ANSWER_SECONDS = 2.0  # for a socket
RESTART_SECONDS = 30.0  # that a cluster's GCS may be away: Ray 2.60 itself gives up after 60
GRACE_SECONDS = 15.0  # for the driver to put in order what it has begun
GCS, RAYLET = "GCS", "raylet"
LOGS = {GCS: "gcs_server.out", RAYLET: "raylet.out"}
GO_ON = "what was finished is kept, give the same command again to go on"

Alive = Callable[[], bool]


class RayWatch:
    """Looks every half second whether the processes are there without which Ray 2.60 can do nothing.

    Its calls then block, some of them without end, and after a minute its core worker ends the driver. So the driver
    is interrupted: Ray's calls give way to KeyboardInterrupt and SystemExit, to no other exception. Where that does not
    help in time, the process ends.

    Args:
        parts: by name, whether each process is alive.
        patience: seconds that each may be away before it is taken for dead; 0 for those that are not told of.
        on_exit: what is to be done before this process ends.
        on_look: what is to be done whenever it looks.
    """

    def __init__(
        self,
        parts: Mapping[str, Alive],
        patience: Mapping[str, float],
        on_exit: Callable[[], None],
        on_look: Callable[[], None] = lambda: None,
    ):
        self.parts, self.patience, self.on_exit, self.on_look = parts, patience, on_exit, on_look
        self.lost: str | None = None  # the name of what has died
        self._seen = dict.fromkeys(parts, time.monotonic())
        self._ended = threading.Event()
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._look_on, name="ray-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """The driver has ended what it does."""
        self._ended.set()
        self._thread.join(ANSWER_SECONDS + POLL_SECONDS)

    def look(self) -> bool:
        """Whether one of the processes is dead. What has died stays dead.

        Needs no lock where the watching thread and the driver ask at once: both see the same processes, and either
        name is true if two have died.
        """
        for name, alive in self.parts.items():
            if alive():
                self._seen[name] = time.monotonic()
            elif self.lost is None and time.monotonic() - self._seen[name] >= self.patience.get(name, 0.0):
                self.lost = name
        return self.lost is not None

    def _look_on(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self.on_look()
            if self.look():
                break
        else:
            return
        if self.in_main_thread:  # no other thread can be interrupted in a call that blocks
            _thread.interrupt_main()
        if not self._ended.wait(GRACE_SECONDS):
            self.on_exit()
            os._exit(ClusterError.exit_code)  # the guard says why


@contextmanager
def watched(own: bool) -> Iterator[RayWatch]:
    """Turn the death of Ray in the block into a ClusterError, whatever exception it comes out as.

    Args:
        own: this process has started Ray.

    Raises:
        ClusterError: Ray has died.
    """
    node: Any = ray_worker._global_node
    parts, processes = _own_parts(node) if own else _parts_of_others(node)
    lines = _lines(node.get_logs_dir_path() if node is not None else None)
    watch = RayWatch(
        parts,
        {} if own else {GCS: RESTART_SECONDS},
        on_exit=lambda: leave_dead(own),
        on_look=lambda: _begun.update(_below(node) if own else ()),
    )
    global _watch
    with guarded(processes, lines), _without_ray_notices(), _interruptible(watch):
        watch.start()
        _watch = watch
        try:
            yield watch
        except (Exception, KeyboardInterrupt) as error:
            if watch.look():
                raise ClusterError(lines[watch.lost or TOGETHER]) from error
            raise
        finally:
            _watch = None
            watch.stop()


_watch: RayWatch | None = None  # of the connection that is open


def ray_has_died() -> bool:
    """Whether a driver that is interrupted is so because Ray has died. Behind an open session of others: False."""
    return _watch is not None and _watch.look()


@contextmanager
def _interruptible(watch: RayWatch) -> Iterator[None]:
    """Let the watch interrupt a driver that ignores SIGINT too, as one in the background of a script does.

    Nobody else's SIGINT interrupts it.
    """
    if not watch.in_main_thread or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return

    def interrupt(*_: object) -> None:
        if watch.lost is not None:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _lines(logs: str | None) -> dict[str, str]:
    """One line for each way to die: what died, that nothing is lost, what to do."""
    lines = {
        name: f"Ray's {name} process has died (killed, or out of memory); {GO_ON}"
        + (f"; its log is {Path(logs, log)}" if logs else "")
        for name, log in LOGS.items()
    }
    return lines | {TOGETHER: f"this command and Ray ended together (killed, or out of memory); {GO_ON}"}


def _own_parts(node: Any) -> tuple[dict[str, Alive], dict[str, int]]:
    """What to look at of a Ray that this process has started, and the ids of its processes."""
    kinds = {GCS: "gcs_server", RAYLET: "raylet"}
    processes = {name: node.all_processes[kind][0].process for name, kind in kinds.items()}

    def alive(name: str) -> Alive:
        return lambda: processes[name].poll() is None

    return {name: alive(name) for name in processes}, {name: one.pid for name, one in processes.items()}


def _parts_of_others(node: Any) -> tuple[dict[str, Alive], dict[str, int]]:
    """What to look at of a cluster that was joined, and the ids of its processes here.

    These are its GCS, on any machine, and this machine's raylet; behind ``ray://`` there is nothing to look at.
    """
    if node is None:
        return {}, {}
    host, _, port = node.gcs_address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    parts: dict[str, Alive] = {
        GCS: lambda: _answers(family, (host.strip("[]"), int(port))),
        RAYLET: lambda: _answers(socket.AF_UNIX, node.raylet_socket_name),
    }
    raylet = _listener(node.raylet_socket_name)
    return parts, {RAYLET: raylet} if raylet else {}


def _answers(family: int, address: Any) -> bool:
    """Whether a process listens there. Ray's processes take a connection that says nothing for none."""
    with closing(socket.socket(family)) as client:
        client.settimeout(ANSWER_SECONDS)
        try:
            client.connect(address)
        except OSError:
            return False
    return True


def _listener(path: str) -> int | None:
    """The id of the process that listens on a local socket, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with closing(socket.socket(socket.AF_UNIX)) as client, suppress(OSError):
        client.connect(path)
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", found)[0] or None  # 0: it is outside of this container
    return None


_left = False  # whether threads of a dead Ray's core worker are in this process
# What a Ray of this process has started. Children of a raylet that has died are nobody's, and its agents stay for ever
# if they find no GCS either, which they tell of the death (Ray 2.60, process_watcher.py).
_begun: set[psutil.Process] = set()


def _end_at_once() -> None:
    """End this process before Python takes apart what threads of the core worker use: Ray 2.60 crashes then."""
    if _left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ClusterError.exit_code)


atexit.register(_end_at_once)  # as the last of all that are registered from now on


def leave_dead(own: bool) -> None:
    """Leave a Ray that has died without asking it: its own shutdown waits for a GCS without end.

    Args:
        own: this process has started it, so what is left of it is ended.
    """
    global _left
    _left = True
    atexit.unregister(ray.shutdown)
    node: Any = ray_worker._global_node
    if not own or node is None:
        return
    _begun.update(_below(node))
    node.kill_all_processes(check_alive=False)
    for process in _begun:
        with suppress(psutil.Error):
            process.kill()


def _below(node: Any) -> list[psutil.Process]:
    """The processes that those of a node have started, as far as these are still alive."""
    found: list[psutil.Process] = []
    started = {} if node is None else dict(node.all_processes)
    for info in [info for infos in started.values() for info in infos]:
        with suppress(psutil.Error, OSError):
            found += psutil.Process(info.process.pid).children(recursive=True)
    return found


@contextmanager
def _without_ray_notices() -> Iterator[None]:
    """Ray 2.60 prints the last lines of a dead raylet's log among the command's output, whatever it is told of logs."""
    before = ray_worker.print_to_stdstream
    ray_worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = before
