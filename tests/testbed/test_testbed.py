import subprocess
from pathlib import Path

import pytest

from tests.testbed.sshd import ssh_server
from tests.testbed.tmux import Terminal

PROGRAM = ["sh", "-c", 'stty size; printf "name? "; read name; echo "hello $name in $PLACE"; exit 3']


def test_a_terminal_types_reads_and_tells_the_status() -> None:
    with Terminal(PROGRAM, 60, 20, {"PLACE": "a tmux"}) as terminal:
        terminal.wait_for("20 60", r"name\?")
        assert terminal.exit_status() is None
        terminal.send("you there", "Enter")
        terminal.wait_for("hello you there in a tmux")
        assert terminal.wait_for_exit() == 3


def test_a_program_that_is_killed_tells_the_signal() -> None:
    with Terminal(["sh", "-c", "kill -9 $$"], 60, 20) as terminal:
        assert terminal.wait_for_exit() == -9


def test_a_status_that_comes_late_is_waited_for() -> None:
    """The terminal is closed a while before the program ends."""
    with Terminal(["sh", "-c", "trap '' HUP; exec <&- >&- 2>&-; sleep 0.3; exit 5"], 60, 20) as terminal:
        assert terminal.wait_for_exit() == 5


def test_a_terminal_changes_size() -> None:
    with Terminal(
        ["sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"], 60, 20
    ) as terminal:
        terminal.wait_for("up")
        terminal.resize(100, 30)
        terminal.wait_for("30 100")


def test_what_never_comes_fails_with_the_screen() -> None:
    with Terminal(["sh", "-c", "echo something else; read _"], 60, 20) as terminal:
        terminal.wait_for("something")
        with pytest.raises(pytest.fail.Exception, match=r"(?s)waited 0 s for .*nothing.*something else"):
            terminal.wait_for("nothing", seconds=0.1)


def test_ssh_gives_a_terminal_on_loopback(tmp_path: Path) -> None:
    with ssh_server(tmp_path) as server:
        done = subprocess.run(server.command("echo $((6 * 7))"), capture_output=True, text=True, check=True)
        assert done.stdout == "42\n"
        with Terminal(server.command("tty; stty size; read _", terminal=True), 77, 33) as terminal:
            terminal.wait_for("/dev/pts/", "33 77")
