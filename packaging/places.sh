# Where Heft is on a host. Sourced by the scripts beside it; it only sets names.
# Each place that the environment can name (HEFT_…) can be another for a second installation.
# shellcheck shell=sh disable=SC2034

# Heft's own Python environment, and what is known of the installation.
prefix=${HEFT_PREFIX:-/opt/heft}
known=${HEFT_KNOWN:-$prefix/share/heft}
commands=/usr/local/bin
units=/etc/systemd/system
sysusers=/etc/sysusers.d
data=${HEFT_DATA:-/var/lib/heft}
run=${HEFT_RUN:-/run/heft}
socket=$run/heft.sock
pid_file=$run/heftd.pid
log=${HEFT_LOG:-/var/log/heftd.log}
# HEFTD_OPTIONS: more options for heftd, here as for heft.service.
settings=/etc/default/heft

packaging=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sources=$(dirname -- "$packaging")

say() {
    printf '==> %s\n' "$*"
}

need_root() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "$(basename -- "$0"): this needs root: use sudo" >&2
        exit 1
    fi
}

# Whether systemd manages this host's services (and is to manage this one).
under_systemd() {
    [ -d /run/systemd/system ] && [ -z "${HEFT_BACKGROUND:-}" ]
}

# heftd OPTION...: become the installed daemon, on these places; through $launcher if it is set.
heftd() {
    if [ -r "$settings" ]; then
        # shellcheck source=/dev/null
        . "$settings"
    fi
    # shellcheck disable=SC2086  # words of a command line
    exec ${launcher:-} "$prefix/bin/heftd" --data "$data" --run "$run" ${HEFTD_OPTIONS:-} "$@"
}

# The program of the command `heft`. pip's would read `re` and `site` first, which takes longer than
# many a command; this one finds the packages by itself, and minds no variable of Python's.
launcher() {
    packages=$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cat <<PYTHON
#!$prefix/bin/python -IS
import sys

sys.path.append("$packages")
from heft.cli.main import main

main()
PYTHON
}

# Whose guests' agent can be made here besides (`make foreign`): the C libraries there are for it.
foreign() {
    ls -d /usr/*-linux-gnu/lib/libc.a 2>/dev/null || true
}

# One hash over everything that an installation is made of: sources, pins, Python.
fingerprint() (
    cd -- "$sources" || exit
    {
        /usr/bin/python3 --version
        foreign
        find src/heft -name __pycache__ -prune -o -type f -print | LC_ALL=C sort | tr '\n' '\0' |
            xargs -0 sha256sum
        find agent -type f -print | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum
        sha256sum pyproject.toml packaging/constraints.txt packaging/install.sh packaging/places.sh
    } | sha256sum | cut -d' ' -f1
)

# Whether the daemon answers on its socket.
answers() {
    "$prefix/bin/python" -I -S - "$socket" <<'PYTHON' 2>/dev/null
import socket, sys
with socket.socket(socket.AF_UNIX) as channel:
    channel.settimeout(2)
    channel.connect(sys.argv[1])
    channel.sendall(b"GET /_ping HTTP/1.1\r\nHost: heft\r\nConnection: close\r\n\r\n")
    sys.exit(b" 200 " not in channel.recv(64))
PYTHON
}

# The daemon's process id: that of the pid file if it is (still) a heftd, else the one that serves
# this installation's places without such a file (which was lost, or is not yet written).
running_pid() {
    if pid=$(cat "$pid_file" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -q '/heftd$'; then
        echo "$pid"
    else
        pgrep -o -f "^[^ ]+ $prefix/bin/heftd --data $data --run $run " 2>/dev/null
    fi
}

# ended PID: tell a daemon to end, and wait for it; one that does not within a minute is killed,
# which it bears at any instant.
ended() {
    kill "$1" 2>/dev/null || return 0
    if ! timeout 60 tail --pid="$1" -f /dev/null; then
        say "heftd (process $1) does not end: killing it"
        kill -KILL "$1" 2>/dev/null || true
        tail --pid="$1" -f /dev/null
    fi
}
