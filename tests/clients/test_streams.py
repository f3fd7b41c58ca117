"""Terminals, attaching, detaching: the docker command as a user at a terminal has it."""

import signal
import subprocess
import time

import pytest

from tests.harness.client import Client
from tests.harness.images import BUSYBOX
from tests.harness.pace import eventually, patience
from tests.harness.terminal import Terminal

DETACH = "\x10\x11"
"""Ctrl-P, Ctrl-Q."""


def docker(client: Client, *arguments: str, rows: int = 24, cols: int = 80) -> Terminal:
    return Terminal([*client.program, *arguments], client.environment, rows=rows, cols=cols)


def test_input_and_its_end(client: Client) -> None:
    text = "line\n" * 20000
    done = client("run", "-i", "--rm", BUSYBOX, "cat", input=text)
    assert done.stdout == text


def test_who_is_still_sent_to_when_it_ends_has_its_code(client: Client) -> None:
    endless = "y\n" * (8 << 20)
    client("run", "-d", "--name", "box", BUSYBOX, "sleep", "1000")
    run, execute = ("run", "-i", "--rm", BUSYBOX), ("exec", "-i", "box")
    for words in (run, execute):
        done = client(*words, "sh", "-c", "head -n 1; exit 3", input=endless, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("y\n", "", 3)
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source:
        command = [*client.program, *execute, "sh", "-c", "touch /up; exec cat"]
        with subprocess.Popen(
            command, env=client.environment, stdin=source.stdout, stdout=subprocess.DEVNULL
        ) as process:
            is_up = ("exec", "box", "test", "-e", "/up")
            eventually(lambda: client(*is_up, check=False).returncode == 0)
            client("kill", "box")
            assert process.wait(patience(20)) == 137
        source.kill()


def test_who_does_not_read_holds_up_no_end(client: Client) -> None:
    script = "trap 'exit 7' TERM; echo up; sleep 1000 & wait"
    client("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script)
    command = [*client.program, "exec", "box", "yes"]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(2) == b"y\n"
        time.sleep(1)  # until all that is between the two is full
        client("stop", "-t", "30", "box", timeout=patience(15))
        assert client("inspect", "-f", "{{.State.ExitCode}}", "box").stdout == "7\n"
        process.kill()


def test_who_does_not_read_holds_up_no_kill(client: Client) -> None:
    client("run", "-d", "--name", "box", BUSYBOX, "yes")
    command = [*client.program, "attach", "box"]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(2) == b"y\n"
        time.sleep(1)  # until all that is between the two is full
        client("kill", "box")
        assert client("inspect", "-f", "{{.State.ExitCode}}", "box").stdout == "137\n"
        process.kill()


def test_a_megabyte_each_way_of_bytes(client: Client) -> None:
    data = bytes(range(256)) * 4096
    command = [*client.program, "run", "-i", "--rm", BUSYBOX, "cat"]
    done = subprocess.run(
        command, input=data, env=client.environment, capture_output=True, timeout=60, check=True
    )
    assert done.stdout == data


def test_a_shell_on_a_terminal(client: Client) -> None:
    with docker(client, "run", "-it", "--rm", BUSYBOX, "sh", rows=33, cols=101) as terminal:
        terminal.until("# ")
        terminal.write("stty size; tty\n")
        assert "33 101" in terminal.until("/dev/")
        terminal.resize(40, 90)
        terminal.write("sleep 0.3; stty size; echo do''ne\n")
        assert "40 90" in terminal.until("done")
        terminal.write("exit 12\n")
        assert terminal.ended() == 12


def test_detach_and_attach_again(client: Client) -> None:
    with docker(client, "run", "-it", "--name", "box", BUSYBOX, "sh") as terminal:
        terminal.until("# ")
        terminal.write("A=kept\n")
        terminal.until("# ")
        terminal.write(DETACH)
        terminal.ended()
    assert client("inspect", "box", "-f", "{{.State.Running}}").stdout == "true\n"
    with docker(client, "attach", "box") as terminal:
        terminal.write("echo is $A\n")
        terminal.until("is kept")
        terminal.write("exit 3\n")
        assert terminal.ended() == 3


def test_detach_keys_of_ones_own(client: Client) -> None:
    flags = ("--detach-keys", "ctrl-a,x")
    with docker(client, "run", "-it", "--name", "box", *flags, BUSYBOX, "sh") as terminal:
        terminal.until("# ")
        terminal.write("\x01x")
        terminal.ended()
    assert client("inspect", "box", "-f", "{{.State.Running}}").stdout == "true\n"


def test_an_exec_on_a_terminal(client: Client) -> None:
    client("run", "-d", "--name", "box", BUSYBOX, "sleep", "1000")
    with docker(client, "exec", "-it", "box", "sh", rows=20, cols=70) as terminal:
        terminal.until("# ")
        terminal.write("stty size\n")
        terminal.until("20 70")
        terminal.write("exit 4\n")
        assert terminal.ended() == 4
    with docker(client, "exec", "-it", "box", "sh") as terminal:
        terminal.until("# ")
        terminal.write(DETACH)
        terminal.ended()


def test_attach_shows_what_is_said_from_now_on(client: Client) -> None:
    script = "while read line; do echo got $line; done; exit 6"
    client("run", "-di", "--name", "box", BUSYBOX, "sh", "-c", script)
    for word in (b"first", b"second"):
        command = [*client.program, "attach", "box"]
        with subprocess.Popen(
            command, env=client.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"got " + word + b"\n"
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_clients_signals_reach_the_workload(client: Client, number: signal.Signals) -> None:
    script = "trap 'echo told; exit 8' TERM INT; echo ready; while true; do sleep 0.1; done"
    command = [*client.program, "run", "--rm", BUSYBOX, "sh", "-c", script]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"told\n"
        assert process.wait(10) == 8


def test_a_client_that_is_killed_leaves_the_machine(client: Client) -> None:
    command = [
        *client.program,
        "run",
        "--name",
        "box",
        BUSYBOX,
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    time.sleep(0.2)
    assert client("inspect", "box", "-f", "{{.State.Running}}").stdout == "true\n"


def test_start_attached(client: Client) -> None:
    client("create", "-i", "--name", "box", BUSYBOX, "sh", "-c", "cat; exit 2")
    done = client("start", "-ai", "box", input="in\n", check=False)
    assert (done.stdout, done.returncode) == ("in\n", 2)


def test_copying_to_a_pipe_that_is_closed(client: Client) -> None:
    client("run", "-d", "--name", "box", BUSYBOX, "sleep", "1000")
    command = [*client.program, "cp", "box:/bin", "-"]
    with subprocess.Popen(command, env=client.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1000)
        process.stdout.close()
        assert process.wait(10) != 0
    assert client("exec", "box", "echo", "there").stdout == "there\n"
