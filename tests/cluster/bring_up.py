"""`ray up`, `ray submit` and `ray down` of a cluster on this machine. Prints what came of each as JSON.

    unshare --pid --mount --net --fork --mount-proc python tests/cluster/bring_up.py FOLDER CLUSTER.yaml CONFIG.yaml

It needs namespaces of its own, and root: `ray stop` ends all Ray processes that it sees, and the launcher's ports are
fixed. In them this is the first process, with which everything else ends, and which buries orphans. FOLDER becomes the
home of the user whom `ray up` logs in as; it has to be empty.
"""

import fcntl
import json
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "pipelines" / "train.py"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
# As Linux's if.h and sockios.h have them.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PASSED_ON = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "RAY_USAGE_STATS_ENABLED", "MLFLOW_DISABLE_TELEMETRY")


def open_loopback() -> None:
    """A new network namespace has a loopback interface that is down."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def furnish(home: Path) -> Path:
    """Give root the home ``home`` with this Python in it, and Ray its own folder; returns the key to log in with."""
    passwd = home / "passwd"
    passwd.write_text(f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
    subprocess.run(["mount", "--bind", passwd, "/etc/passwd"], check=True)
    for folder in ("/run", "/tmp/ray"):
        Path(folder).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    (home / "sgg_venv").symlink_to(sys.prefix)  # where the launcher's file would make one
    exports = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    exports["PYTHONPATH"] = str(home / "sgg_ray")  # the copy that file_mounts made, not what is installed
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    (home / ".bashrc").write_text("".join(lines))
    key = home / "key"
    for name in ("key", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    return key


def serve_ssh(home: Path) -> None:
    """Start sshd on 127.0.0.1:22 and wait until it listens."""
    Path("/run/sshd").mkdir(mode=0o755)
    options = {
        "ListenAddress": "127.0.0.1",
        "HostKey": home / "host",
        "AuthorizedKeysFile": home / "key.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "PidFile": "none",
    }
    config = home / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", config, "-E", home / "sshd.log"])
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", 22), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit((home / "sshd.log").read_text()) from None
            time.sleep(0.1)


def launch(home: Path, *arguments: str | Path) -> tuple[int, str]:
    """Run one of Ray's commands; returns its exit code and what it printed."""
    done = subprocess.run(
        [*RAY, *arguments],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def ray_processes() -> list[str]:
    """Servers of Ray that run in this namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "raylet" in command or "gcs_server" in command:
            found.append(command[:100])
    return found


def main(home: Path, cluster: Path, config: Path) -> dict[str, object]:
    open_loopback()
    content = cluster.read_text().replace("PRIVATE_KEY", str(furnish(home)))
    cluster.write_text(content)
    serve_ssh(home)
    found: dict[str, object] = {}
    found["token"] = launch(home, "get-auth-token", "--generate")[0]
    found["up"] = launch(home, "up", "-y", "--no-config-cache", cluster)
    found["running"] = ray_processes()
    found["submit"] = launch(home, "submit", cluster, PIPELINE, "--", config)
    found["bad"] = launch(home, "submit", cluster, PIPELINE, "--", f"{config}.missing")
    found["down"] = launch(home, "down", "-y", cluster)
    found["left"] = ray_processes()
    return found


def bury_all_but(child: int) -> int:
    """Wait for orphans, as a first process has to (`ray stop` waits for zombies too), until ``child`` has ended."""
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    if child := os.fork():
        sys.exit(bury_all_but(child))
    print(json.dumps(main(*map(Path, sys.argv[1:]))))
