"""An ssh server on the loopback address, with keys and settings of its own in one folder."""

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.testbed.tmux import SECONDS, need

_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
_CLIENT = """
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile {folder}/known_hosts
  LogLevel ERROR
  BatchMode yes
"""


@dataclass(frozen=True)
class Server:
    """A running ssh server."""

    settings: Path
    """The client's settings: `ssh -F settings name`."""
    name: str = "loopback"

    def command(self, remote: str, *, terminal: bool = False) -> list[str]:
        """The command line that runs `remote` there, in a terminal of its own if asked."""
        return ["ssh", *(["-t"] if terminal else []), "-F", str(self.settings), self.name, remote]


@contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """Start a server that keeps everything in `folder`; skips the test where there is no sshd."""
    sshd = need("sshd", "openssh-server")
    need("ssh", "openssh-client")
    folder.chmod(0o700)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd started by root insists on it
    for name in ("host_key", "key"):
        generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(generate, check=True)
    (folder / "authorized_keys").write_bytes((folder / "key.pub").read_bytes())
    port = _free_port()
    values = {"port": port, "folder": folder, "user": getpass.getuser(), "name": Server.name}
    (folder / "sshd_config").write_text(_SERVER.format(**values))
    (folder / "ssh_config").write_text(_CLIENT.format(**values))
    log = folder / "sshd.log"
    daemon = subprocess.Popen([sshd, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)])
    try:
        _wait_for_port(port, daemon, log)
        yield Server(folder / "ssh_config")
    finally:
        daemon.terminate()
        daemon.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for_port(port: int, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if daemon.poll() is not None or monotonic() > deadline:
                pytest.fail(f"sshd does not listen on port {port}: {log.read_text()}", pytrace=False)
            sleep(0.02)
