"""What the numbers were measured on."""

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path


def machine() -> dict[str, str]:
    """Give the host's facts by name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "kernel": platform.release(),
        "processor": f"{os.cpu_count()} of {_processor()}",
        "memory": f"{memory:.0f} GiB",
    }


def versions(heft: Path) -> dict[str, str]:
    """Give the programs' versions by name."""
    asked = {
        "Heft": (str(heft), "--version"),
        "docker (client)": ("docker", "--version"),
        "dockerd": ("dockerd", "--version"),
        "containerd": ("containerd", "--version"),
        "runc": ("runc", "--version"),
        "Podman": ("podman", "--version"),
        "crun": ("crun", "--version"),
        "conmon": ("conmon", "--version"),
        "QEMU": ("qemu-system-x86_64", "--version"),
        "libvirt": ("virsh", "--version"),
    }
    return {"Python": platform.python_version()} | {
        name: _version(command) for name, command in asked.items()
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+\.\d+[-+~.\w]*", said)
    return found[0] if found else "unknown"
