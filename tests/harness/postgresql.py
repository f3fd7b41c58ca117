"""An image of PostgreSQL, made of the files of Debian's package on this host.

Its contract is that of Docker's official image as far as tests need it: user, password and database
by `POSTGRES_USER`, `POSTGRES_PASSWORD` and `POSTGRES_DB`, data in a volume, port 5432.
"""

import io
import re
import subprocess
import tarfile
from pathlib import Path

from tests.harness.images import busybox_tar

HOME = Path("/usr/lib/postgresql/15")
SHARE = Path("/usr/share/postgresql/15")
DATA = "/var/lib/postgresql/data"
CHANGES = (
    f"ENV PATH={HOME}/bin:/bin:/usr/bin",
    'ENTRYPOINT ["sh", "/entrypoint.sh"]',
    f"VOLUME {DATA}",
    "EXPOSE 5432",
    "STOPSIGNAL SIGINT",
)
ENTRYPOINT = f"""\
set -eu
if ! [ -e {DATA}/PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password
    chown user {DATA} /tmp/password
    chmod 700 {DATA}
    su user -c "initdb -D {DATA} -U $POSTGRES_USER --pwfile=/tmp/password --auth=scram-sha-256 \\
        --locale=C --encoding=UTF8 --no-sync"
    rm /tmp/password
    echo "create database \\"$POSTGRES_DB\\";" | su user -c "postgres --single -D {DATA} postgres"
    echo "host all all all scram-sha-256" >>{DATA}/pg_hba.conf
fi
exec su user -c "exec postgres -D {DATA} -h '*' -k /tmp"
"""


def postgresql_tar() -> bytes:
    """Give the root file system as a tar."""
    target = io.BytesIO(busybox_tar("postgresql"))
    with tarfile.open(fileobj=target, mode="a") as tar:
        programs = [HOME / "bin" / name for name in ("postgres", "initdb", "psql")]
        modules = [each for each in (HOME / "lib").glob("*.so") if "llvm" not in each.name]
        for path in (*programs, *modules, *_libraries(*programs), *_share()):
            tar.add(path.resolve(), str(path).lstrip("/"), recursive=False)
        entry = tarfile.TarInfo("entrypoint.sh")
        entry.size = len(ENTRYPOINT)
        tar.addfile(entry, io.BytesIO(ENTRYPOINT.encode()))
    return target.getvalue()


def _libraries(*programs: Path) -> list[Path]:
    """Give what ldd(1) says they need."""
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True)
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", listing.stdout)})


def _share() -> list[Path]:
    return [each for each in SHARE.rglob("*") if each.is_file() and "/man/" not in str(each)]
