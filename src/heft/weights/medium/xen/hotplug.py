"""What Xen runs on this host for each disk and card of a domain, instead of its own scripts.

Xen's `block` and `vif-bridge` (/etc/xen/scripts) look at all mounts of the host and all disks of
all domains first, one domain at a time, and are most of the time that a start takes. A machine's
disks are nobody else's, and its bridge is there, so ours has only to tell the kernel of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heft.failures import translated
from heft.host import whole_files

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """#!/bin/sh
# Heft's (heft.weights.medium.xen.hotplug): run by libxl for each disk and card of its domains.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
own=$XENBUS_PATH
failed() {
    xenstore-write "$own/hotplug-error" "$1" "$own/hotplug-status" error
    exit 1
}
case $own:$1 in
*/vbd/*:add)
    disk=$(xenstore-read "$own/params") && number=$(stat -L -c %t:%T "$disk") ||
        failed "no disk $disk"
    xenstore-write "$own/physical-device" "$number" "$own/physical-device-path" "$disk" \\
        "$own/hotplug-status" connected ;;
*/vif/*:online)
    found=$(xenstore-read "$own/vifname" "$own/bridge") || failed "no bridge is named"
    name=${found%%
*} bridge=${found#*
}
    read -r mtu <"/sys/class/net/$bridge/mtu" || failed "there is no bridge $bridge"
    # The largest address of all, which the bridge does not take for its own.
    why=$(ip -batch - 2>&1 <<END
link set dev $vif down
link set dev $vif name $name
link set dev $name address fe:ff:ff:ff:ff:ff mtu $mtu master $bridge
link set dev $name up
END
    ) || failed "$why"
    xenstore-write "$own/hotplug-status" connected ;;
esac
"""
"""Arguments and environment are those of Xen's own (docs/misc/block-scripts.txt of Xen)."""
_MODE = 0o700


def place(path: Path) -> None:
    """See to it that the script is at `path`, as of this version. Raises `HostError`."""
    with translated(f"make {path}"):
        if path.exists() and path.read_text() == SCRIPT:
            return
        whole_files.put(path, SCRIPT.encode(), _MODE)
