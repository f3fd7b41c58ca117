"""Which kernel parameters a machine may set, with a kernel of its own and without."""

from typing import Any

import pytest

from heft.engine import sysctls
from heft.errors import InvalidArgument
from heft.model.config import HostConfig


def check(name: str, *, own_kernel: bool, value: str = "1", **host: Any) -> None:
    sysctls.check(HostConfig(sysctls={name: value}, **host), own_kernel=own_kernel)


@pytest.mark.parametrize(
    "name", ["net.ipv4.ip_forward", "kernel.sem", "kernel.shmmax", "fs.mqueue.x"]
)
def test_a_namespace_s_own_are_let_through(name: str) -> None:
    check(name, own_kernel=False)
    check(name, own_kernel=True)


@pytest.mark.parametrize(
    "name", ["vm.swappiness", "kernel.panic", "kernel.semantics", "fs.file-max"]
)
def test_others_are_a_kernel_s(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f'"{name}" is not in a separate kernel namespace'):
        check(name, own_kernel=False)
    check(name, own_kernel=True)


def test_the_host_s_namespaces_are_not_the_machine_s() -> None:
    with pytest.raises(InvalidArgument, match="not in a separate"):
        check("net.ipv4.ip_forward", own_kernel=False, network_mode="host")
    with pytest.raises(InvalidArgument, match="not in a separate"):
        check("kernel.sem", own_kernel=False, ipc_mode="host")


@pytest.mark.parametrize(
    "name", ["", "vm", "vm.", "vm..x", "../etc.passwd", "vm.a b", "vm./x", "net.ä"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="is no name of one"):
        check(name, own_kernel=True)


@pytest.mark.parametrize("value", ["a\0b", "x" * 4096])
@pytest.mark.parametrize("own_kernel", [True, False])
def test_what_no_kernel_reads_is_refused(value: str, own_kernel: bool) -> None:
    with pytest.raises(InvalidArgument, match="holds NUL or is too long"):
        check("net.core.somaxconn", own_kernel=own_kernel, value=value)
