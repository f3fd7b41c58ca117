"""The flags of `run` and `create`: what is asked of a machine.

What they mean is in `heft.cli.machine_request`. Readers that few commands need are imported when
their flag is given.
"""

from __future__ import annotations

import sys

from heft.cli.flags import Flag, integer, number, switch, word, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def lazily(module: str, name: str) -> Callable[[str], Any]:
    """Give the reader `name` of `heft.cli.values.MODULE`, which is imported when it is used."""

    def read(given: str) -> Any:
        place = f"heft.cli.values.{module}"
        __import__(place)
        return getattr(sys.modules[place], name)(given)

    return read


def _sized(name: str, about: str, short: str = "", reader: str = "size") -> Flag:
    return Flag(name, about, short=short, kind="bytes", read=lazily("sizes", reader))


def _timed(name: str, about: str) -> Flag:
    return Flag(
        name,
        f"{about} (ms|s|m|h)",
        kind="duration",
        read=lazily("sizes", "duration"),
        shown="0s",
    )


_IDENTITY = (
    word("name", "Assign a name to the machine"),
    word("hostname", "Machine host name", "h"),
    word("domainname", "Machine NIS domain name"),
    words("label", "Set meta data on a machine", "l", read=lazily("environment", "label")),
    words("label-file", "Read in a line delimited file of labels"),
    words("annotation", "Add an annotation to the machine", kind="map"),
    word("platform", "Set platform if the daemon is multi-platform capable"),
    word("weight", "How heavy the machine is: light, medium or heavy"),
    word("runtime", "Docker's name for --weight"),
    word("kit", "The guest kit that a kernel of its own is of (`heft kit ls`)"),
    word("boot", 'How a kernel of its own comes up ("template", "cold")', default="template"),
    word("systemd", 'Boot a whole system ("auto", "always", "false")', default="auto"),
    word("pull", 'Pull image before running ("always", "missing", "never")', default="missing"),
    switch("quiet", "Suppress the pull output", "q"),
    word("cidfile", "Write the machine's ID to the file"),
)
_PROCESS = (
    words("env", "Set environment variables", "e", read=lazily("environment", "variable")),
    words("env-file", "Read in a file of environment variables"),
    word("workdir", "Working directory inside the machine", "w"),
    word("user", "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
    words("group-add", "Add additional groups to join"),
    word("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    switch("interactive", "Keep STDIN open even if not attached", "i"),
    switch("tty", "Allocate a pseudo-TTY", "t"),
    words("attach", "Attach to STDIN, STDOUT or STDERR", "a", read=lazily("hosts", "stream")),
    switch("init", "Run an init inside the machine that forwards signals and reaps processes"),
    word("stop-signal", "Signal to stop the machine"),
    number("stop-timeout", "Timeout (in seconds) to stop a machine"),
    word("restart", "Restart policy to apply when a machine exits", default="no"),
    switch("rm", "Automatically remove the machine and its anonymous volumes when it exits"),
    word("health-cmd", "Command to run to check health"),
    _timed("health-interval", "Time between running the check"),
    _timed("health-timeout", "Maximum time to allow one check to run"),
    _timed("health-start-period", "Start period before counting retries towards unstable"),
    _timed("health-start-interval", "Time between running the check during the start period"),
    number("health-retries", "Consecutive failures needed to report unhealthy"),
    switch("no-healthcheck", "Disable any HEALTHCHECK that the image has"),
)
_FILES = (
    words("volume", "Bind mount a volume", "v"),
    words("mount", "Attach a filesystem mount", kind="mount", read=lazily("mounts", "mount")),
    words("tmpfs", "Mount a tmpfs directory"),
    words("volumes-from", "Mount volumes from the specified machine(s)"),
    word("volume-driver", "Optional volume driver for the machine"),
    switch("read-only", "Mount the machine's root filesystem as read only"),
    _sized("shm-size", "Size of /dev/shm"),
    words("storage-opt", "Storage driver options for the machine"),
    words("device", "Add a host device to the machine"),
    word("gpus", "GPU devices to add to the machine ('all' to pass all GPUs)"),
    words("device-cgroup-rule", "Add a rule to the cgroup allowed devices list"),
    word("log-driver", "Logging driver for the machine"),
    words("log-opt", "Log driver options"),
)
_NETWORK = (
    Flag("network", "Connect a machine to a network", kind="network", many=True, aliases=("net",)),
    words("network-alias", "Add network-scoped alias for the machine", aliases=("net-alias",)),
    words("publish", "Publish a machine's port(s) to the host", "p"),
    switch("publish-all", "Publish all exposed ports to random ports", "P"),
    words("expose", "Expose a port or a range of ports"),
    words(
        "add-host",
        "Add a custom host-to-IP mapping (host:ip)",
        read=lazily("hosts", "extra_host"),
    ),
    words("dns", "Set custom DNS servers", read=lazily("hosts", "address")),
    words("dns-search", "Set custom DNS search domains"),
    words("dns-option", "Set DNS options", aliases=("dns-opt",)),
    word("ip", "IPv4 address (e.g., 172.30.100.104)"),
    word("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    word("mac-address", "MAC address (e.g., 92:d0:c6:0a:29:33)"),
    words("link", "Add link to another machine"),
)
_LIMITS = (
    _sized("memory", "Memory limit", "m"),
    _sized("memory-reservation", "Memory soft limit"),
    _sized("memory-swap", "Memory plus swap: '-1' to enable unlimited swap", reader="swap"),
    number("memory-swappiness", "Tune memory swappiness (0 to 100)", default=-1),
    Flag("cpus", "Number of CPUs", kind="decimal", read=lazily("sizes", "cpus")),
    number("cpu-shares", "CPU shares (relative weight)", "c"),
    number("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    number("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    word("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    word("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    number("pids-limit", "Tune pids limit (set -1 for unlimited)"),
    words("ulimit", "Ulimit options", kind="ulimit", read=lazily("limits", "ulimit")),
    number("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    switch("oom-kill-disable", "Disable OOM Killer"),
    Flag(
        "blkio-weight",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable",
        kind="uint16",
        read=integer,
    ),
    words("blkio-weight-device", "Block IO weight", read=lazily("limits", "weight_device")),
    *(
        words(
            f"device-{way}-{unit}",
            f"Limit {way} rate ({meaning}) of a device",
            read=lazily("limits", reader),
        )
        for way in ("read", "write")
        for unit, meaning, reader in (
            ("bps", "bytes per second", "throttle_bytes"),
            ("iops", "IO per second", "throttle_operations"),
        )
    ),
    word("cgroup-parent", "Optional parent cgroup for the machine"),
)
_RIGHTS = (
    words("cap-add", "Add Linux capabilities"),
    words("cap-drop", "Drop Linux capabilities"),
    switch("privileged", "Give extended privileges to this machine"),
    words("security-opt", "Security Options"),
    words("sysctl", "Sysctl options", kind="map", read=lazily("hosts", "sysctl")),
    word("pid", "PID namespace to use"),
    word("ipc", "IPC mode to use"),
    word("uts", "UTS namespace to use"),
    word("userns", "User namespace to use"),
    word("cgroupns", "Cgroup namespace to use (host|private)"),
)

MACHINE_FLAGS = (*_IDENTITY, *_PROCESS, *_FILES, *_NETWORK, *_LIMITS, *_RIGHTS)
