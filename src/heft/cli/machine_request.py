"""From the flags of `run` and `create` to the body that makes a machine.

The fields are the Docker Engine API's (`ContainerConfig`, `HostConfig`); what was not asked for is
left out, so that the daemon's and the image's own settings hold.
"""

from __future__ import annotations

from heft.cli.failures import REFUSED, Failure
from heft.cli.terminal import size
from heft.cli.values.environment import labels, mapping, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from heft.cli.flags import Given

_HOST_TEXTS = {
    "volume-driver": "VolumeDriver",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "cgroup-parent": "CgroupParent",
    "pid": "PidMode",
    "ipc": "IpcMode",
    "uts": "UTSMode",
    "userns": "UsernsMode",
    "cgroupns": "CgroupnsMode",
}
_HOST_VALUES = {
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "cpus": "NanoCpus",
    "cpu-shares": "CpuShares",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "pids-limit": "PidsLimit",
    "oom-score-adj": "OomScoreAdj",
    "blkio-weight": "BlkioWeight",
    "shm-size": "ShmSize",
    "init": "Init",
    "oom-kill-disable": "OomKillDisable",
}
_HOST_SWITCHES = {
    "rm": "AutoRemove",
    "privileged": "Privileged",
    "publish-all": "PublishAllPorts",
    "read-only": "ReadonlyRootfs",
}
_HOST_LISTS = {
    "cap-add": "CapAdd",
    "cap-drop": "CapDrop",
    "dns": "Dns",
    "dns-search": "DnsSearch",
    "dns-option": "DnsOptions",
    "add-host": "ExtraHosts",
    "group-add": "GroupAdd",
    "volumes-from": "VolumesFrom",
    "link": "Links",
    "device-cgroup-rule": "DeviceCgroupRules",
    "ulimit": "Ulimits",
    "mount": "Mounts",
    "blkio-weight-device": "BlkioWeightDevice",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-iops": "BlkioDeviceWriteIOps",
}
_HOST_MAPPINGS = {"sysctl": "Sysctls", "annotation": "Annotations", "storage-opt": "StorageOpt"}
SWAPPINESS_OF_THE_HOST = -1


class Request:
    """What makes a machine: the `body`, and the `parameters` of the query.

    `pull` is when its image is to be pulled, `quiet` whether nothing is to be said of that.
    """

    def __init__(
        self, body: dict[str, Any], parameters: dict[str, Any], *, pull: str, quiet: bool
    ) -> None:
        self.body = body
        self.parameters = parameters
        self.pull = pull
        self.quiet = quiet

    def streams(self) -> dict[str, bool]:
        """Give which of the machine's streams are to be attached."""
        return {
            stream: bool(self.body[f"Attach{stream.capitalize()}"])
            for stream in ("stdin", "stdout", "stderr")
        }

    @property
    def weight(self) -> str:
        """Give the weight that was asked for; empty: the daemon's default."""
        return str(self.body.get("HostConfig", {}).get("Runtime", ""))

    @property
    def tty(self) -> bool:
        """Say whether it has a terminal."""
        return bool(self.body["Tty"])


def build(flags: Given, arguments: list[str]) -> Request:
    """Give the request for an image and a command. Raises `Failure` in Docker's words."""
    image, *command = arguments
    if flags.text("pull") not in ("always", "missing", "never"):
        raise Failure(
            f'invalid pull option: \'{flags.text("pull")}\': must be one of "always", "missing"'
            ' or "never"',
            REFUSED,
        )
    host = _host(flags)
    config = _config(flags, image, command)
    _add_ports(flags, config, host)
    _add_mounts(flags, config, host)
    _add_network(flags, config, host)
    return Request(
        {**config, "HostConfig": host},
        {"name": flags.text("name"), "platform": flags.text("platform")},
        pull=flags.text("pull"),
        quiet=flags.on("quiet"),
    )


def _config(flags: Given, image: str, command: list[str]) -> dict[str, Any]:
    attach = flags.list("attach")
    stdin = "stdin" in attach or (not attach and flags.on("interactive"))
    config: dict[str, Any] = {
        "Image": image,
        "Hostname": flags.text("hostname"),
        "Domainname": flags.text("domainname"),
        "User": flags.text("user"),
        "WorkingDir": flags.text("workdir"),
        "StopSignal": flags.text("stop-signal"),
        "Env": variables(flags.list("env-file"), flags.list("env")),
        "Labels": _labels(flags),
        "AttachStdin": stdin,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
        "Tty": flags.on("tty"),
        "OpenStdin": flags.on("interactive"),
        "StdinOnce": flags.on("interactive") and stdin,
        "Healthcheck": _health(flags),
    }
    if command:
        config["Cmd"] = command
    if "entrypoint" in flags:
        # An empty one takes the image's away.
        config["Entrypoint"] = [flags.text("entrypoint")]
    if (seconds := flags.number("stop-timeout")) is not None:
        config["StopTimeout"] = seconds
    kept = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty")
    return {name: value for name, value in config.items() if value or name in kept}


def _labels(flags: Given) -> dict[str, str]:
    """Give the labels; `--boot` and its like are some, so that other clients have them too."""
    asked = {
        f"heft.{flag}": flags.text(flag) for flag in ("boot", "kit", "systemd") if flag in flags
    }
    return labels(flags.list("label-file"), flags.list("label")) | asked


def _health(flags: Given) -> dict[str, Any] | None:
    times = {
        "health-interval": "Interval",
        "health-timeout": "Timeout",
        "health-start-period": "StartPeriod",
        "health-start-interval": "StartInterval",
    }
    asked = [name for name in (*times, "health-cmd", "health-retries") if flags.value(name)]
    if flags.on("no-healthcheck"):
        if asked:
            raise Failure("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not asked:
        return None
    health: dict[str, Any] = {}
    if command := flags.text("health-cmd"):
        health["Test"] = ["CMD-SHELL", command]
    for name, field in times.items():
        if value := flags.value(name):
            if value < 0:
                raise Failure(f"--{name} cannot be negative")
            health[field] = value
    if retries := flags.number("health-retries"):
        if retries < 0:
            raise Failure("--health-retries cannot be negative")
        health["Retries"] = retries
    return health


def _host(flags: Given) -> dict[str, Any]:
    host: dict[str, Any] = {}
    for name, field in _HOST_TEXTS.items():
        host[field] = flags.text(name)
    for name, field in _HOST_LISTS.items():
        host[field] = flags.list(name)
    for name, field in _HOST_MAPPINGS.items():
        host[field] = mapping(flags.list(name))
    for name, field in _HOST_SWITCHES.items():
        host[field] = flags.on(name)
    host["Runtime"] = _weight(flags)
    host["ContainerIDFile"] = flags.text("cidfile")
    host["LogConfig"] = _log(flags)
    host["RestartPolicy"] = restart_policy(flags)
    host = {field: value for field, value in host.items() if value} | _swappiness(flags)
    for name, field in _HOST_VALUES.items():
        if name in flags:
            host[field] = flags.value(name)
    if flags.on("tty") and all(size()):
        host["ConsoleSize"] = list(size())
    _add_rights(flags, host)
    if gpus := flags.text("gpus"):
        # What there is of them is the daemon's to say.
        count = {} if not gpus.isdecimal() else {"Count": int(gpus)}
        host["DeviceRequests"] = [{"Count": -1, **count, "Capabilities": [["gpu"]]}]
    return host


def _add_rights(flags: Given, host: dict[str, Any]) -> None:
    if devices := flags.list("device"):
        from heft.cli.values.limits import device

        host["Devices"] = [device(each) for each in devices]
    if options := flags.list("security-opt"):
        from heft.cli.values.security import apply

        apply(options, host)


def _swappiness(flags: Given) -> dict[str, int]:
    swappiness = flags.number("memory-swappiness")
    if swappiness is None or swappiness == SWAPPINESS_OF_THE_HOST:
        return {}
    if not 0 <= swappiness <= 100:
        raise Failure(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    return {"MemorySwappiness": swappiness}


def _weight(flags: Given) -> str:
    weight, runtime = flags.text("weight"), flags.text("runtime")
    if weight and runtime and weight != runtime:
        raise Failure(f"conflicting options: --weight {weight} and --runtime {runtime}")
    return weight or runtime


def _log(flags: Given) -> dict[str, Any]:
    driver, options = flags.text("log-driver"), mapping(flags.list("log-opt"))
    if driver == "none" and options:
        raise Failure(f"invalid logging opts for driver {driver}")
    return {"Type": driver, "Config": options} if driver or options else {}


def restart_policy(flags: Given) -> dict[str, Any]:
    """Read `--restart`; nothing where that is the default. Raises `Failure`."""
    name, colon, count = flags.text("restart").partition(":")
    if "rm" in flags and flags.on("rm") and name not in ("", "no"):
        raise Failure("conflicting options: cannot specify both --restart and --rm")
    if colon and not count.isdecimal():
        raise Failure("invalid restart policy format: maximum retry count must be an integer")
    if colon and not name:
        raise Failure("invalid restart policy format: no policy provided before colon")
    policy: dict[str, Any] = {"Name": name}
    if colon:
        policy["MaximumRetryCount"] = int(count)
    return {} if name in ("", "no") and not colon else policy


def _add_ports(flags: Given, config: dict[str, Any], host: dict[str, Any]) -> None:
    if not (flags.list("publish") or flags.list("expose")):
        return
    from heft.cli.values.ports import exposed, published

    bindings = published(flags.list("publish"))
    if bindings:
        host["PortBindings"] = bindings
    config["ExposedPorts"] = {
        port: dict[str, str]() for port in (*bindings, *exposed(flags.list("expose")))
    }


def _add_mounts(flags: Given, config: dict[str, Any], host: dict[str, Any]) -> None:
    if not (flags.list("volume") or flags.list("tmpfs")):
        return
    from heft.cli.values.mounts import binds, tmpfs

    bound, anonymous = binds(flags.list("volume"))
    if bound:
        host["Binds"] = bound
    if anonymous:
        config["Volumes"] = anonymous
    if flags.list("tmpfs"):
        host["Tmpfs"] = tmpfs(flags.list("tmpfs"))


def _add_network(flags: Given, config: dict[str, Any], host: dict[str, Any]) -> None:
    wanted = ("network", "network-alias", "ip", "ip6", "mac-address")
    if not any(name in flags for name in wanted):
        return
    from heft.cli.values.networks import endpoints

    mode, asked = endpoints(flags)
    if mode:
        host["NetworkMode"] = mode
    if asked:
        config["NetworkingConfig"] = {"EndpointsConfig": asked}
