"""The daemon itself: is it there, what is it, what does it know of its host."""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from aiohttp import web

import heft
from heft.api import times
from heft.api.call import COMMON_HEADERS
from heft.api.versions import NEWEST, OLDEST, version_text
from heft.errors import NotFound
from heft.images.platforms import oci_architecture
from heft.model.machine import State

if TYPE_CHECKING:
    from heft.api.call import Call
    from heft.api.routes import Routes
    from heft.engine.info import Info

PING_HEADERS = {
    **COMMON_HEADERS,
    "Builder-Version": "1",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Content-Type": "text/plain; charset=utf-8",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}
BUILD_PRUNE_KNOWN = frozenset(
    "description id inuse parent private shared type unused-for until".split()
)
DRIVERS = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "null"],
    "Authorization": None,
    "Log": ["json-file", "journald", "local", "none", "syslog"],
}


def add_routes(routes: Routes) -> None:
    """Take the paths that concern the daemon."""
    routes.add("GET", "/_ping", ping)
    routes.add("HEAD", "/_ping", ping)
    routes.add("GET", "/version", version)
    routes.add("GET", "/info", info)
    routes.add("GET", "/plugins", plugins)
    routes.add("GET", "/plugins/{name}/json", plugin)
    routes.add("POST", "/build/prune", prune_build_cache)


async def ping(call: Call) -> web.StreamResponse:
    """Say that the daemon is there."""
    body = b"" if call.request.method == "HEAD" else b"OK"
    return web.Response(body=body, headers=PING_HEADERS)


async def version(call: Call) -> web.StreamResponse:
    """Say which Heft this is, and what it speaks."""
    known = call.engine.info()
    details = {
        "ApiVersion": version_text(NEWEST),
        "Arch": oci_architecture(known.architecture),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": known.kernel,
        "MinAPIVersion": version_text(OLDEST),
        "Os": "linux",
    }
    component = {"Name": "Engine", "Version": heft.__version__, "Details": details}
    return call.json(
        {
            "Platform": {"Name": "Heft"},
            "Components": [component],
            "Version": heft.__version__,
            "ApiVersion": version_text(NEWEST),
            "MinAPIVersion": version_text(OLDEST),
            "GitCommit": "",
            "GoVersion": f"none: Python {_python()}",
            "Os": "linux",
            "Arch": oci_architecture(known.architecture),
            "KernelVersion": known.kernel,
        }
    )


@cache
def _python() -> str:
    return platform.python_version()


async def info(call: Call) -> web.StreamResponse:
    """Say what the daemon knows of itself and of its host."""
    return call.json(view(call.engine.info(), time.time_ns()))


def view(known: Info, now: int) -> dict[str, Any]:
    """Give the answer of `GET /info`."""
    states = known.machines
    running = states.get(State.RUNNING, 0) + states.get(State.RESTARTING, 0)
    paused = states.get(State.PAUSED, 0)
    total = sum(states.values())
    return {
        "ID": known.id,
        "Containers": total,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": total - running - paused,
        "Images": known.images,
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs"]],
        "Plugins": DRIVERS,
        **_abilities(),
        "SystemTime": times.text(now),
        "LoggingDriver": "json-file",
        "CgroupDriver": known.cgroup_driver,
        "CgroupVersion": known.cgroup_version,
        "KernelVersion": known.kernel,
        "OperatingSystem": known.operating_system,
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": known.architecture,
        "IndexServerAddress": "",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": [],
            "IndexConfigs": {},
            "Mirrors": [],
        },
        "NCPU": known.cpus,
        "MemTotal": known.memory,
        "GenericResources": None,
        "DockerRootDir": known.root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": known.name,
        "Labels": _weights(known),
        "ExperimentalBuild": False,
        "ServerVersion": heft.__version__,
        "Runtimes": {name: {"path": name} for name, found in known.weights.items() if found.ok},
        "DefaultRuntime": known.default_weight,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "catatonit",
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": [
            "name=seccomp,profile=builtin",
            *(["name=userns"] if known.remaps_users else []),
        ],
        "CDISpecDirs": None,
        "Warnings": _warnings(known),
    }


def _abilities() -> dict[str, Any]:
    """Give what clients ask before they use a limit or a network."""
    there = (
        "MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit OomKillDisable"
        " IPv4Forwarding"
    )
    return {
        **dict.fromkeys(there.split(), True),
        "BridgeNfIptables": False,
        "BridgeNfIp6tables": False,
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
    }


def _weights(known: Info) -> list[str]:
    return [
        f"heft.weight.{name}={'available' if found.ok else found.why}"
        for name, found in known.weights.items()
    ]


def _warnings(known: Info) -> list[str]:
    return [
        f"WARNING: weight {name} is unavailable: {found.why}"
        for name, found in known.weights.items()
        if not found.ok
    ]


async def plugins(call: Call) -> web.StreamResponse:
    """List plugins: there are none."""
    return call.json([])


async def plugin(call: Call) -> web.StreamResponse:
    """Look at a plugin: there are none. Clients look here for a name that nothing else has."""
    raise NotFound(f"plugin {call.name} not found")


async def prune_build_cache(call: Call) -> web.StreamResponse:
    """Clear what builds left: there is nothing."""
    call.filters(BUILD_PRUNE_KNOWN)
    return call.json({"CachesDeleted": None, "SpaceReclaimed": 0})
