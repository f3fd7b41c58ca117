#!/bin/sh
# install.sh: put Heft on this host, or bring it up to date with the sources beside this script.
# Writes nothing among the sources. Again is quick: it is done only if something has changed.
set -eu
. "$(dirname -- "$0")/places.sh"
need_root
"$packaging/packages.sh" run

now=$(fingerprint)
if [ "$(cat "$known/fingerprint" 2>/dev/null)" = "$now" ]; then
    exit 0
fi

say "Python environment in $prefix"
if ! "$prefix/bin/python" -c 'import pip' 2>/dev/null; then
    /usr/bin/python3 -m venv "$prefix"
fi
mkdir -p "$known"
rm -f "$known/fingerprint"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -a "$sources/pyproject.toml" "$sources/README.md" "$copy"
mkdir "$copy/src"
cp -a "$sources/src/heft" "$copy/src"
# pip replaces what has another version: each state of the sources gets one of its own.
build=$(printf %.12s "$now")
sed -i "s/^version = \"\(.*\)\"/version = \"\1+$build\"/" "$copy/pyproject.toml"
PIP_CONSTRAINT=$packaging/constraints.txt "$prefix/bin/python" -m pip install \
    --quiet --disable-pip-version-check --no-input --root-user-action=ignore "$copy"
launcher >"$prefix/bin/heft.new"
chmod 755 "$prefix/bin/heft.new"
mv "$prefix/bin/heft.new" "$prefix/bin/heft"
for command in heft heftd; do
    ln -sfn "$prefix/bin/$command" "$commands/$command"
done

make -s -C "$sources/agent" OUT="$copy/programs" all foreign
install -D -t "$prefix/libexec" "$copy/programs"/heft-*

if [ -x "$(command -v systemd-sysusers)" ]; then
    mkdir -p "$sysusers"
    install -m 644 "$packaging/heft.sysusers" "$sysusers/heft.conf"
    systemd-sysusers "$sysusers/heft.conf"
elif ! getent group heft >/dev/null; then
    groupadd --system heft
fi
if under_systemd; then
    install -m 644 "$packaging/heft.service" "$packaging/heft.socket" "$units"
    systemctl daemon-reload
fi
echo "$now" >"$known/fingerprint"
