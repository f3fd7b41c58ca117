"""How long a start takes until the workload begins: a heavy machine's, and one by libvirt's virsh.

libvirtd is Debian's, with directories of its own in place of the host's, which it does not see; it
has no network. The domain has the same kernel, the same modules and the same image as the machine,
and not more devices than it needs.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import guests
from benchmarks.bench import Bench
from benchmarks.engines import IMAGE, Command, Daemon, hidden, plain
from benchmarks.guests import Files
from benchmarks.heavy import pause
from benchmarks.measure import Case, interleaved
from benchmarks.rows import Outcome, Row, ms
from benchmarks.shares import give_kit

ROUNDS = 10
TIMES = 5.0
"""How much quicker Heft must be."""
BEGUN = b"begun"
WORKLOAD = "/bin/sh -c 'echo begun; exec sleep 1000000'"
NAME = "bench"
_PLACES = (
    *("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt"),
    "/var/log/libvirt",
)
_MODULES = ("virtio_blk", "ext4", "crc32c_generic", "virtio_pci")
_SECONDS = 60.0
_SETTINGS = {
    "libvirtd.conf": 'auth_unix_rw = "none"\n',
    # It runs as who runs this, on files that are only there for that; control groups, and what
    # else it would do for safety, it is spared.
    "qemu.conf": 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
    "cgroup_controllers = []\nnamespaces = []\n"
    'stdio_handler = "file"\n',
}
_USER = {
    "passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}
"""It does not start where these are missing; a whole installation of it makes them."""
_DOMAIN = """
<domain type='{kind}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{files.kernel}</kernel>
    <initrd>{files.initramfs}</initrd>
    <cmdline>{parameters}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='{cpu}'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{files.disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='unix'><source mode='connect' path='{line}'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""


@dataclass
class Domain:
    """A defined domain, and the socket that its serial line leads to."""

    client: Command
    line: socket.socket
    starting: subprocess.Popen[bytes] | None = None
    connection: socket.socket | None = None

    def do(self, *words: str) -> None:
        """Run a command of virsh."""
        done = subprocess.run((*self.client, *words), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"virsh {' '.join(words)}: {done.stderr.strip()}")

    def start(self) -> None:
        """Start it, and return when its workload has said its first line."""
        self.starting = subprocess.Popen(
            (*self.client, "start", NAME), stdout=subprocess.DEVNULL, env=plain()
        )
        self.connection, _ = self.line.accept()
        self.connection.settimeout(_SECONDS)
        seen = b""
        while BEGUN not in seen:
            more = self.connection.recv(4096)
            if not more:
                raise RuntimeError(f"the domain ended: {seen.decode(errors='replace')}")
            seen += more

    def end(self) -> None:
        """Turn it off."""
        assert self.starting is not None
        assert self.connection is not None
        if self.starting.wait():
            raise RuntimeError("virsh start failed")
        self.do("destroy", NAME)
        self.connection.close()


@dataclass
class Machine:
    """What `heft run` starts."""

    bench: Bench
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when its workload has said its first line."""
        words = ("--rm", "--weight", "heavy", "--network", "none", IMAGE)
        command = self.bench.heft.run(*words, "sh", "-c", f"echo {BEGUN.decode()}")
        self.running = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=self.bench.heft.environment
        )
        assert self.running.stdout is not None
        if self.running.stdout.readline().strip() != BEGUN:
            raise RuntimeError(f"{' '.join(command)}: it did not begin")

    def end(self) -> None:
        """Wait until it has ended."""
        assert self.running is not None
        self.running.communicate()


def measure(bench: Bench) -> Outcome:
    """Measure both in turns."""
    give_kit(bench)
    machine = Machine(bench)
    machine.start()  # makes the template
    machine.end()
    place = bench.directory / "libvirt"
    files = guests.make(bench, place, _MODULES, "ro", "", WORKLOAD)
    with domain(bench, place, files) as other:
        cases = {
            "heft, heavy": Case(machine.start, machine.end, pause),
            "virsh start": Case(other.start, other.end, pause),
        }
        found = interleaved(cases, bench.few(ROUNDS))
    heft, virsh = found["heft, heavy"], found["virsh start"]
    row = Row(
        "`virsh start` of the same kernel and image ÷ `heft run --weight heavy --network none`,"
        " each until the workload's first line is there, as they come every few seconds",
        TIMES,
        "÷",
        virsh.median / heft.median,
        ms(heft),
        ms(virsh),
        at_least=True,
    )
    return Outcome((row,), {})


@contextmanager
def domain(bench: Bench, place: Path, files: Files) -> Iterator[Domain]:
    """Define a domain at a libvirtd of the benchmark's own, both of which go."""
    with ExitStack() as stack:
        for path in _PLACES:
            stack.enter_context(hidden(Path(path)))
        for name, text in _SETTINGS.items():
            (Path("/etc/libvirt") / name).write_text(text)
        for name, line in _USER.items():
            stack.enter_context(added(Path("/etc") / name, line, place / name))
        client = stack.enter_context(daemon(place))
        serial = stack.enter_context(socket.socket(socket.AF_UNIX))
        serial.bind(str(place / "line.sock"))
        serial.listen()
        serial.settimeout(_SECONDS)
        defined = Domain(client, serial)
        text = _DOMAIN.format(
            kind="kvm" if guests.accelerator(bench) == "kvm" else "qemu",
            cpu="host-passthrough" if guests.accelerator(bench) == "kvm" else "maximum",
            name=NAME,
            memory=guests.MEMORY_MIB,
            files=files,
            parameters=guests.parameters(),
            line=place / "line.sock",
        )
        (place / "domain.xml").write_text(text)
        defined.do("define", str(place / "domain.xml"))
        try:
            yield defined
        finally:
            subprocess.run((*client, "destroy", NAME), capture_output=True, check=False)


@contextmanager
def added(path: Path, line: str, changed: Path) -> Iterator[None]:
    """Let a file have one more line, for whoever is in this mount namespace."""
    changed.write_text(path.read_text() + line)
    subprocess.run(("mount", "--bind", str(changed), str(path)), check=True)
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", str(path)), check=False)


@contextmanager
def daemon(place: Path) -> Iterator[Command]:
    """Start a libvirtd; give the beginning of a command line of its client."""
    client = ("virsh", "--quiet", "--connect", "qemu:///system")
    command = ("libvirtd", "--pid-file", str(place / "libvirtd.pid"))
    running = Libvirtd(command, Path("/run/libvirt/libvirt-sock"), place / "log")
    try:
        running.start()
        yield client
    finally:
        running.stop()


class Libvirtd(Daemon):
    """It speaks a protocol of its own."""

    def answers(self) -> bool:
        said = ("virsh", "--quiet", "--connect", "qemu:///system", "version")
        return subprocess.run(said, capture_output=True, check=False).returncode == 0
