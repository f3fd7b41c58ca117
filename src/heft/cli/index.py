"""Which commands there are, and in which module each is; nothing of them is imported here.

A command's place is `module:NAME` below `heft.cli.commands`.
"""

from __future__ import annotations

GROUPS = {
    "image": "Manage images",
    "kit": "Manage the kernels of machines that have their own",
    "machine": "Manage machines",
    "network": "Look at networks",
    "system": "Look after the host's Heft",
    "volume": "Manage volumes",
}
GROUP_ALIASES = {"container": "machine"}
"""Docker's word; what is behind it is the same."""

COMMON = (
    "run",
    "exec",
    "ps",
    "images",
    "pull",
    "bootstrap",
    "weigh",
    "weights",
    "doctor",
    "version",
    "info",
)
"""What help shows first."""

COMMANDS = {
    "attach": (
        "attach:ATTACH",
        "Attach local standard input, output, and error streams to a running machine",
    ),
    "bootstrap": ("bootstrap:BOOTSTRAP", "Make an image from a template, such as a distribution"),
    "commit": ("contents:COMMIT", "Create a new image from a machine's changes"),
    "console": ("console:CONSOLE", "Connect to the console of a machine with its own kernel"),
    "cp": ("cp:CP", "Copy files/folders between a machine and the local filesystem"),
    "create": ("create:CREATE", "Create a new machine"),
    "diff": (
        "contents:DIFF",
        "Inspect changes to files or directories on a machine's filesystem",
    ),
    "doctor": ("doctor:DOCTOR", "Say what each weight needs, and what this host lacks"),
    "events": ("events:EVENTS", "Get real time events from the daemon"),
    "exec": ("execute:EXEC", "Execute a command in a running machine"),
    "export": ("contents:EXPORT", "Export a machine's filesystem as a tar archive"),
    "fsck": ("fsck:FSCK", "Check every blob, layer, base and reference of the image store"),
    "history": ("history:HISTORY", "Show the history of an image"),
    "images": ("images:IMAGES", "List images"),
    "import": ("archives:IMPORT", "Import the contents from a tarball to create an image"),
    "info": ("info:INFO", "Display system-wide information"),
    "inspect": ("inspect:INSPECT", "Return low-level information on machines, images and others"),
    "kill": ("lifecycle:KILL", "Kill one or more running machines"),
    "load": ("archives:LOAD", "Load an image from a tar archive or STDIN"),
    "login": ("registries:LOGIN", "Authenticate to a registry"),
    "logout": ("registries:LOGOUT", "Log out from a registry"),
    "logs": ("logs:LOGS", "Fetch the logs of a machine"),
    "pause": ("lifecycle:PAUSE", "Pause all processes within one or more machines"),
    "port": ("port:PORT", "List port mappings or a specific mapping for the machine"),
    "ps": ("ps:PS", "List machines"),
    "pull": ("registries:PULL", "Download an image from a registry"),
    "push": ("registries:PUSH", "Upload an image to a registry"),
    "rename": ("lifecycle:RENAME", "Rename a machine"),
    "restart": ("lifecycle:RESTART", "Restart one or more machines"),
    "rm": ("lifecycle:RM", "Remove one or more machines"),
    "rmi": ("images_change:RMI", "Remove one or more images"),
    "run": ("run:RUN", "Create and run a new machine from an image"),
    "save": (
        "archives:SAVE",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
    ),
    "search": ("registries:SEARCH", "Search an index of images, such as Docker Hub's"),
    "start": ("start:START", "Start one or more stopped machines"),
    "stats": ("stats:STATS", "Display a live stream of the machines' resource usage"),
    "stop": ("lifecycle:STOP", "Stop one or more running machines"),
    "tag": ("images_change:TAG", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("top:TOP", "Display the running processes of a machine"),
    "unpause": ("lifecycle:UNPAUSE", "Unpause all processes within one or more machines"),
    "update": ("update:UPDATE", "Update configuration of one or more machines"),
    "version": ("version:VERSION", "Show the Heft version information"),
    "wait": (
        "lifecycle:WAIT",
        "Block until one or more machines stop, then print their exit codes",
    ),
    "weigh": ("weigh:WEIGH", "Measure an image at every weight, and say which suits it here"),
    "weights": ("weights:WEIGHTS", "List the weights, and which of them work here"),
    "image cp": (
        "image_cp:IMAGE_CP",
        "Copy an image between the store, archives, directories and other hosts",
    ),
    "image export-disk": ("disks:EXPORT_DISK", "Write the file of a disk image"),
    "image import-disk": (
        "disks:IMPORT_DISK",
        "Make an image of the file of a disk (raw, qcow2 or VMDK)",
    ),
    "image inspect": (
        "inspect:INSPECT_IMAGE",
        "Display detailed information on one or more images",
    ),
    "image prune": ("images_change:PRUNE", "Remove unused images"),
    "kit inspect": ("inspect:INSPECT_KIT", "Display detailed information on one or more kits"),
    "kit ls": ("kits:LIST", "List kits"),
    "kit pull": (
        "kits:PULL",
        "Make a kit of the distribution's packages, or of a kernel of your own",
    ),
    "kit rm": ("kits:RM", "Remove one or more kits"),
    "kit warm": ("kits:WARM", "Make what machines with a kit start from, ahead"),
    "machine inspect": (
        "inspect:INSPECT_MACHINE",
        "Display detailed information on one or more machines",
    ),
    "machine prune": ("prune:PRUNE_MACHINES", "Remove all stopped machines"),
    "network inspect": (
        "inspect:INSPECT_NETWORK",
        "Display detailed information on one or more networks",
    ),
    "network ls": ("networks:LIST", "List networks"),
    "system df": ("usage:DF", "Show disk usage"),
    "system prune": ("prune:PRUNE_SYSTEM", "Remove unused data"),
    "volume create": ("volumes:CREATE", "Create a volume"),
    "volume inspect": (
        "inspect:INSPECT_VOLUME",
        "Display detailed information on one or more volumes",
    ),
    "volume ls": ("volumes:LIST", "List volumes"),
    "volume prune": ("prune:PRUNE_VOLUMES", "Remove unused local volumes"),
    "volume rm": (
        "volumes:RM",
        "Remove one or more volumes; one that a machine uses cannot be removed",
    ),
}

ALIASES = {
    **{
        f"machine {name}": name
        for name in (
            "attach commit console cp create diff exec export kill logs pause port rename restart"
            " rm run start stats stop top unpause update wait"
        ).split()
    },
    **{f"image {name}": name for name in "history import load pull push save tag".split()},
    **{f"system {name}": name for name in "events info".split()},
    "machine ls": "ps",
    "machine list": "ps",
    "machine ps": "ps",
    "machine remove": "rm",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "network list": "network ls",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}
"""Second names; the first of a group that means a command is the one that help lists."""


def path_of(words: tuple[str, ...]) -> str:
    """Give the path that words mean, with a group's alias as the group."""
    first, *rest = words or ("",)
    return " ".join((GROUP_ALIASES.get(first, first) if rest else first, *rest))


def resolve(path: str) -> str:
    """Give the path under which a command stands in `COMMANDS`; empty if there is none."""
    path = ALIASES.get(path, path)
    return path if path in COMMANDS else ""


def names_of(path: str) -> list[str]:
    """Give all paths that mean the same command, itself last."""
    return [*(alias for alias, target in ALIASES.items() if target == path), path]


def members(group: str) -> dict[str, str]:
    """Give the commands of a group and what they do, without second names for one of them."""
    found: dict[str, str] = {}
    known: set[str] = set()
    for path in (*ALIASES, *COMMANDS):
        first, _, name = path.partition(" ")
        target = ALIASES.get(path, path)
        if first == group and name and target not in known:
            known.add(target)
            found[name] = COMMANDS[target][1]
    return dict(sorted(found.items()))
