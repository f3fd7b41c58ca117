#!/bin/sh
# uninstall.sh [--purge]: take Heft off this host; with --purge its images, machines and volumes too.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
"$packaging/stop.sh"
say "removing $prefix and the commands"
for command in heft heftd; do
    if [ "$(readlink "$commands/$command")" = "$prefix/bin/$command" ]; then
        rm -f "$commands/$command"
    fi
done
rm -f "$units/heft.service" "$units/heft.socket" "$sysusers/heft.conf" "$log"
if under_systemd; then
    systemctl daemon-reload
fi
if getent group heft >/dev/null; then
    groupdel heft
fi
packages=$(sort -u "$known/packages" 2>/dev/null | tr '\n' ' ')
rm -rf "$prefix" "$sources/.venv"
if grep -q " $run/" /proc/self/mountinfo; then
    echo "something is still mounted under $run: it stays" >&2
else
    rm -rf "$run"
fi
if [ "${1:-}" = --purge ]; then
    say "removing $data"
    rm -rf --one-file-system "$data"
elif [ -d "$data" ]; then
    echo "images, machines and volumes stay in $data; PURGE=1 removes them"
fi
if [ -n "$packages" ]; then
    echo "installed for Heft, and left: $packages"
    echo "to remove them: apt-get purge --autoremove $packages"
fi
