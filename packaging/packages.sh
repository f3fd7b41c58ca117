#!/bin/sh
# packages.sh [--optional] LIST...: install the Debian packages of these lists that are missing on
# this host. What is optional and cannot be had is named in one line, and done without.
# No service of theirs is started, now or at the next boot. Quick when nothing is missing.
set -eu
. "$(dirname -- "$0")/places.sh"

# there PACKAGE WANTED: whether what is wanted of a package is there already.
there() {
    case $2 in
    -) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    /*) [ -e "$2" ] ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$2" >/dev/null ;;
    esac
}

optional=
if [ "$1" = --optional ]; then
    optional=yes
    shift
fi
missing=
for list in "$@"; do
    while read -r package wanted _; do
        case $package in '' | '#'*) continue ;; esac
        case " $missing " in *" $package "*) continue ;; esac
        there "$package" "$wanted" || missing="$missing $package"
    done <"$packaging/packages.$list"
done
if [ -z "$missing" ]; then
    exit 0
fi

need_root
say "Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive

# invoke-rc.d(8) asks this program before it starts a service.
guard=/usr/sbin/policy-rc.d
guarding=
if [ ! -e "$guard" ]; then
    guarding=yes
    trap 'rm -f "$guard"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
fi

install() {
    # shellcheck disable=SC2086  # one word a package
    apt-get install -q -y -o DPkg::Lock::Timeout=600 --no-install-recommends $missing
}
# For the lists apt does not wait where another apt has them.
update() {
    tries=0
    until apt-get update -q >"$output" 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ] || ! grep -q 'Could not get lock' "$output"; then
            return 1
        fi
        sleep 2
    done
}
give_up() {
    if [ -n "$optional" ]; then
        say "they cannot be had here: $(grep -m 1 '^E: ' "$output" || tail -n 1 "$output")"
        exit 0
    fi
    cat "$output" >&2
    exit 1
}
output=$(mktemp)
trap 'rm -f "$output"; [ -z "$guarding" ] || rm -f "$guard"' EXIT
if ! install >"$output" 2>&1; then
    # The lists of what there is are missing or out of date.
    update || give_up
    install >"$output" 2>&1 || give_up
fi

mkdir -p "$known"
for package in $missing; do
    echo "$package" >>"$known/packages"
    # What Debian enables for the next boot was not asked for: only the programs are used.
    case $package in
    docker.io) services="docker.service docker.socket containerd.service" ;;
    docker-registry) services="docker-registry.service" ;;
    openssh-server) services="ssh.service" ;;
    rsyslog) services="rsyslog.service syslog.socket" ;;
    *) services= ;;
    esac
    if [ -n "$services" ] && under_systemd; then
        # shellcheck disable=SC2086  # one word a service
        systemctl disable -q $services || true
    fi
done
