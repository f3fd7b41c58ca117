"""`make test-xen`: boot Debian's Xen and a dom0, and test Heft in it.

Everything is fetched and unpacked in `.build`; nothing is installed on this host. QEMU starts the
hypervisor by itself (multiboot), with the dom0's kernel and first file system as its modules; Xen's
serial console is this process's output.
"""

import gzip
import hashlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from heft.guest import cpio, modules
from tests.harness import agent, kit, whole_system

SECONDS = 3600
PACKAGES = (
    *("xen-system-amd64", "linux-image-amd64", "udev", "iproute2", "iputils-ping", "erofs-utils"),
    *("e2fsprogs", "kmod", "procps"),
)
ABSENT = ("gpu", "media", "infiniband", "net/ethernet", "net/wireless", "usb", "staging")
"""Of the kernel's drivers: no such devices are there."""
DISK_SIZE = 8 << 30
HARDWARE = (
    *("-accel", "tcg,thread=single", "-m", "4G", "-smp", "1", "-nodefaults", "-no-reboot"),
    *("-display", "none", "-serial", "stdio"),
)
XEN = "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M loglvl=warning guest_loglvl=warning"
LINUX = "console=hvc0 loglevel=4 net.ifnames=0"
DONE = "HEFT-XEN-STATUS "
"""The last line of a run begins so, with the status."""
EARLY = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do $b insmod "/modules/$module"; done </modules.list
"""
"""Begins the first file system of each domain."""
TO_DISK = """
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 /dev/vda /root
exec $b switch_root /root /dom0
"""
DOM0 = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
ln -sfn /proc/self/fd /dev/fd
for each in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${each%:*}" "/dev/${each#*:}"; done
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns
# As the first light machine of a boot does, for good: no test is to have left it behind.
mount --bind /run/netns /run/netns
mount --make-shared /run/netns
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname dom0
/lib/systemd/systemd-udevd --daemon
modprobe -a xen-blkback xen-netback xen-gntdev xen-evtchn loop
/etc/init.d/xen start
bash /trial
echo "{done}$?"
sync
echo o >/proc/sysrq-trigger
sleep 60
"""
TESTS = """
cd {sources}
HEFT_TEST_PACE=15 .venv/bin/pytest -m xen -v -p no:cacheprovider --durations=10 {tests}
"""
SHELL = """
set -eE
trap 'echo "failed: $BASH_COMMAND"; xl list; losetup' ERR
say() { echo "==> $(cut -d' ' -f1 /proc/uptime) s: $*"; }

say "the dom0 is up"
xl info | grep -E '^(xen_version|virt_caps|total_memory|free_memory)'
ip link add bridge0 type bridge
ip addr add 10.9.9.1/24 dev bridge0
ip link set bridge0 up
mkdir -p /base/bin /base/etc
cp /bin/busybox /base/bin
echo base >/base/etc/data
mkfs.erofs --quiet /base.erofs /base
truncate -s 64M /upper.ext4
mkfs.ext4 -q /upper.ext4
say "xl create"
xl create -F /guest.cfg &
monitor=$!
until [ -n "$(xl domid guest 2>/dev/null)" ]; do sleep 1; done
say "its domain is there"
for _ in $(seq 60); do ping -c 1 -W 1 10.9.9.2 >/dev/null && break; sleep 1; done
ping -c 1 10.9.9.2 | grep '1 received'
say "its card answers"
xl list
wait $monitor
say "it is over"
xl list
losetup
mount -o ro /upper.ext4 /mnt
grep . /mnt/upper/seen
"""
"""A paravirtual guest by Xen's tools alone (`ARGS=--shell`)."""
GUEST_CONFIGURATION = """name = "guest"
type = "pv"
kernel = "{kernel}"
ramdisk = "/guest.first"
extra = "quiet panic=-1 net.ifnames=0"
memory = 192
vcpus = 1
disk = ["format=raw,vdev=xvda,access=ro,target=/base.erofs",
        "format=raw,vdev=xvdb,access=rw,target=/upper.ext4"]
vif = ["mac=02:00:00:00:00:02,bridge=bridge0,vifname=guest0,script=vif-bridge"]
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
"""
DOM0_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
GUEST_MODULES = (*("xen_blkfront", "xen_netfront", "crc32c_generic", "erofs", "ext4", "overlay"),)
GUEST = """
until [ -b /dev/xvda ] && [ -b /dev/xvdb ] && [ -e /sys/class/net/eth0 ]; do $b sleep 0.1; done
$b mkdir /base /disk
$b mount -t erofs /dev/xvda /base
$b mount -t ext4 /dev/xvdb /disk
$b mkdir -p /disk/upper /disk/work
$b mount -t overlay -o lowerdir=/base,upperdir=/disk/upper,workdir=/disk/work overlay /root
{ $b cat /root/etc/data /sys/hypervisor/type /sys/hypervisor/guest_type /proc/uptime; } >/root/seen
$b ip addr add 10.9.9.2/24 dev eth0
$b ip link set eth0 up
$b sleep 20
$b umount /root /disk
$b poweroff -f
"""
"""A guest as Heft's are: EROFS under ext4, and a card; it tells on its disk what it has seen."""


def say(text: str) -> None:
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


def system() -> Path:
    """Give the tar of the dom0's packages, made if it is not there."""
    key = hashlib.sha256(" ".join([whole_system.suite(), *PACKAGES]).encode()).hexdigest()[:16]
    path = agent.BUILDS / f"xen-{key}.tar"
    if path.exists():
        return path
    say("the packages of a dom0")
    agent.BUILDS.mkdir(exist_ok=True)
    excluded = [f"path-exclude=/usr/share/{name}/*" for name in whole_system.LEFT_OUT]
    excluded += [f"path-exclude=/lib/modules/*/kernel/drivers/{name}/*" for name in ABSENT]
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"),
        *("--aptopt=APT::Install-Recommends false", f"--include={','.join(PACKAGES)}"),
        *(f"--dpkgopt={each}" for each in excluded),
        *(whole_system.suite(), path.with_suffix(".new")),
    ]
    subprocess.run(command, check=True)
    return path.with_suffix(".new").rename(path)


def first(tree: Path, wanted: tuple[str, ...], script: str) -> bytes:
    """Give the first file system of a domain: a shell, and the modules that it loads."""
    paths = {modules.canonical(path.name): path for path in tree.rglob("*.ko")}

    def find(name: str) -> modules.Module | None:
        return modules.read(name, paths[name].read_bytes()) if name in paths else None

    builtin = modules.builtin_names((tree / "modules.builtin").read_text())
    needed = modules.in_order(wanted, find, builtin)
    return cpio.archive(
        [
            *(cpio.directory(name) for name in ("bin", "dev", "modules", "proc", "root", "sys")),
            cpio.file("bin/busybox", Path("/bin/busybox").read_bytes(), 0o755),
            cpio.file("init", (EARLY + script).encode(), 0o755),
            *(cpio.file(f"modules/{each.name}.ko", each.content) for each in needed),
            cpio.file("modules.list", "".join(f"{each.name}.ko\n" for each in needed).encode()),
        ]
    )


def disk(place: Path, trial: str) -> tuple[Path, Path, Path, Path]:
    """Make the dom0's disk; give it, the hypervisor, the kernel and the first file system."""
    root = place / "root"
    root.mkdir()
    # What Heft needs is unpacked over it, as it was for other machines: of the same Debian, too.
    for each in (system(), whole_system.path()):
        subprocess.run(["tar", "-xf", each, "-C", root], check=True)
    own = place / "own.tar"
    with tarfile.open(own, "w") as tar:
        whole_system.add_sources(tar, kit.xen())
    subprocess.run(["tar", "-xf", own, "-C", root], check=True)
    own.unlink()
    tree = next((root / "lib/modules").iterdir())
    kernel = next((root / "boot").glob("vmlinuz-*"))
    hypervisor = next((root / "boot").glob("xen-*-amd64.gz"))
    (root / "dom0").write_text(DOM0.replace("{done}", DONE))
    (root / "dom0").chmod(0o755)
    (root / "trial").write_text(trial)
    (root / "guest.cfg").write_text(GUEST_CONFIGURATION.format(kernel=f"/boot/{kernel.name}"))
    (root / "guest.first").write_bytes(first(tree, GUEST_MODULES, GUEST))
    shutil.copy("/bin/busybox", root / "bin/busybox")
    shutil.copy(kernel, place / "vmlinuz")
    (place / "first").write_bytes(first(tree, DOM0_MODULES, TO_DISK))
    (place / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
    image = place / "disk"
    with image.open("wb") as file:
        file.truncate(DISK_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", root, image], check=True)
    shutil.rmtree(root)
    return image, place / "xen", place / "vmlinuz", place / "first"


def boot(image: Path, hypervisor: Path, kernel: Path, first: Path) -> int:
    """Boot it, with what it says here; give the status that it tells, 1 if it tells none."""
    command = [
        *("qemu-system-x86_64", *HARDWARE, "-kernel", hypervisor, "-append", XEN),
        *("-initrd", f"{kernel} {LINUX},{first}"),
        *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe"),
    ]
    status = 1
    with subprocess.Popen(
        ["timeout", str(SECONDS), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as qemu:
        assert qemu.stdout is not None
        for line in qemu.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith(DONE):
                status = int(line.removeprefix(DONE))
    return status


def main(words: list[str]) -> int:
    """Do it; give the status of what was tried: tests in the dom0, or `--shell`, without Heft."""
    tests = shlex.join(words or ["tests/xen"])
    trial = TESTS.format(sources=whole_system.SOURCES, tests=tests)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="heft-xen-") as directory:
        say("the disk of the dom0")
        made = disk(Path(directory), SHELL if words == ["--shell"] else trial)
        say("booting Xen")
        return boot(*made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
