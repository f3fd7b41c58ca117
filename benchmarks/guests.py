"""A guest put together by hand: Heft's kernel and modules, the image on a disk, and nothing else.

It is what those who have no Heft would start, made as quick as it can be: a kernel that need not
unpack itself, the modules of its devices and no others, no init system.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from heft.guest import cpio, modules
from heft.weights.heavy import qemu
from tests.harness import agent, kit

DISK_SIZE = 10 << 30
"""Bytes, as a heavy machine's own disk has."""
MEMORY_MIB = 256
_BUSYBOX = Path("/bin/busybox")
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
for module in {modules}; do $b insmod /modules/$module.ko; done
until [ -b /dev/vda ]; do $b usleep 1000; done
$b mount -t ext4 -o {mode} /dev/vda /root
$b mount -t devtmpfs devtmpfs /root/dev
{further}
exec $b switch_root /root {workload}
"""


def parameters() -> str:
    """Give the kernel's command line: that of heavy machines, which starts quickest."""
    said = subprocess.run((str(agent.built() / "heft-tsc"),), capture_output=True, check=False)
    return qemu.kernel_parameters(int(said.stdout) if said.returncode == 0 else 0)


@dataclass(frozen=True)
class Files:
    """What a guest is started with."""

    kernel: Path
    initramfs: Path
    disk: Path


def accelerator(bench: Bench) -> str:
    """Give the accelerator that Heft's machines have, `kvm` or `tcg`."""
    return "kvm" if ", kvm (" in bench.heft.do("weights") else "tcg"


def make(
    bench: Bench, directory: Path, wanted: tuple[str, ...], mode: str, further: str, workload: str
) -> Files:
    """Make the files of a guest that runs a shell's command line in the image.

    It has the `wanted` modules, mounts its disk as `mode` says, and does what is `further` to be
    done before its workload.
    """
    directory.mkdir()
    made = Files(kit.KITS / "debian/vmlinux", directory / "initramfs", _disk(directory, bench.tar))
    kept = kit.KITS / "debian/modules"
    ordered = modules.in_order(
        wanted,
        lambda name: modules.read(name, (kept / f"{name}.ko").read_bytes()),
        modules.builtin_names((kept / "modules.builtin").read_text()),
    )
    names = " ".join(module.name for module in ordered)
    init = _INIT.format(modules=names, mode=mode, further=further, workload=workload)
    entries = [
        *(cpio.directory(name) for name in ("bin", "dev", "modules", "root")),
        cpio.character_device("dev/console", 5, 1),
        cpio.file("bin/busybox", _BUSYBOX.read_bytes(), 0o755),
        cpio.file("init", init.encode(), 0o755),
        *(cpio.file(f"modules/{module.name}.ko", module.content) for module in ordered),
    ]
    made.initramfs.write_bytes(cpio.archive(entries))
    return made


def _disk(directory: Path, tar: Path) -> Path:
    """Make a disk with the image in an ext4 that is complete: none has to be written out later."""
    tree, disk = directory / "tree", directory / "disk.ext4"
    tree.mkdir()
    subprocess.run(("tar", "-xpf", str(tar), "-C", str(tree)), check=True)
    with disk.open("wb") as sparse:
        sparse.truncate(DISK_SIZE)
    whole = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(
        ("mkfs.ext4", "-q", "-m", "0", "-E", whole, "-d", str(tree), str(disk)), check=True
    )
    subprocess.run(("rm", "-rf", "--one-file-system", str(tree)), check=True)
    return disk
