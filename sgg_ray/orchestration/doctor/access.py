"""Who may give a Ray commands: whoever may, runs programs as its user. Found out by trying, not from settings."""

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import psutil
import ray
from ray.exceptions import RayError

from sgg_ray.orchestration.doctor.check import Check

SECONDS = 60  # for one attempt, most of which is the import
# What a stranger would do: ask without a token, in a process of its own, since Ray reads its tokens once a process.
# Only Ray's private client connects without starting anything (Ray 2.60).
STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
except Exception as error:
    sys.exit("refused" if type(error).__name__ == "AuthenticationError" else str(error)[:200])
print("let in")
"""


def check_access(address: str) -> Check:
    """Whether the Ray that is connected answers somebody without a token, and what listens on the network.

    Args:
        address: ``ray.address`` of the configuration.
    """
    asks = _asks_for_token(address)
    if address != "local":
        found = {
            True: "the cluster refuses whoever has no token",
            False: "the cluster takes commands from everyone who reaches it",
            None: "the cluster could not be asked without a token",
        }[asks]
        fix = "ray get-auth-token --generate, and start every node with RAY_AUTH_MODE=token"
        return Check("access", asks is True, found, fix)
    open_to = sorted({name for name, ip in _listening() if not ipaddress.ip_address(ip).is_loopback})
    token = {
        True: "asks for a token of its own",
        False: "asks for no token",
        None: "could not be asked without a token",
    }[asks]
    where = f"listens on the network ({', '.join(open_to)})" if open_to else "listens on loopback alone"
    return Check(
        "access",
        asks is True and not open_to,
        f"{token}, {where}",
        "unset RAY_AUTH_MODE and RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    )


def _asks_for_token(address: str) -> bool | None:
    place = ray.get_runtime_context().gcs_address
    if not address.startswith("ray://"):
        return refuses_strangers(place)
    try:  # Ray's client need not reach that port from here; the cluster's own nodes do
        return ray.get(ray.remote(num_cpus=0)(refuses_strangers).remote(place), timeout=2 * SECONDS)
    except (RayError, TimeoutError):
        return None


def refuses_strangers(gcs_address: str) -> bool | None:
    """Whether the Ray at host:port refuses who has no token; None if it cannot be reached."""
    own = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment["RAY_AUTH_MODE"] = "disabled"
    command = [sys.executable, "-c", STRANGER, gcs_address]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode == 0:
        return False
    return True if done.stderr.strip().endswith("refused") else None


def _listening() -> Iterator[tuple[str, str]]:
    """Name and address of what this process and its children listen on."""
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    yield process.name(), connection.laddr.ip.removeprefix("::ffff:")
