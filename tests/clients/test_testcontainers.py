"""testcontainers for Python: a test's own PostgreSQL, and a web server.

Ryuk, the container that cleans up after a test that was killed, is off: its image would have to be
pulled from a registry.
"""

import json
import os
import subprocess
import urllib.parse
import urllib.request

import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX
from tests.harness.postgresql import CHANGES, DATA, postgresql_tar

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def here(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Have testcontainers use the daemon, as its environment says."""
    for name in ("DOCKER_HOST", "DOCKER_CONFIG"):
        monkeypatch.setenv(name, daemon.environment[name])
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    return daemon


@pytest.fixture
def postgresql_image(daemon: Daemon) -> str:
    changes = urllib.parse.urlencode([("changes", change) for change in CHANGES])
    path = f"/images/create?fromSrc=-&repo=postgres&tag=15&{changes}"
    answer = daemon.request("POST", path, postgresql_tar())
    assert b"sha256:" in answer.body, answer.body
    return "postgres:15"


def query(postgres: PostgresContainer, text: str) -> str:
    """Ask as an application does: over TCP, at the address that testcontainers gives."""
    address = postgres.get_connection_url(host="127.0.0.1", driver=None)
    command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v"]
    command += ["ON_ERROR_STOP=1", f"--command={text}", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_postgresql(here: Daemon, postgresql_image: str) -> None:
    with PostgresContainer(
        postgresql_image, username="shop", password="it's secret", dbname="orders"
    ) as postgres:
        assert query(postgres, "select current_user, current_database()") == "shop|orders"
        query(
            postgres,
            "create table item (id serial primary key, price numeric not null);"
            " insert into item (price) select n * 0.5 from generate_series(1, 20000) n;"
            " create index on item (price)",
        )
        assert query(postgres, "select count(*), sum(price) from item") == "20000|100005000.0"
        code, output = postgres.exec(["sh", "-c", f"cat {DATA}/PG_VERSION"])
        assert (code, output) == (0, b"15\n")
        out, err = postgres.get_logs()
        assert b"ready to accept connections" in out + err
        shown = json.loads(
            here.request("GET", f"/containers/{postgres.get_wrapped_container().id}/json").body
        )
        assert [mount["Destination"] for mount in shown["Mounts"]] == [DATA]
    assert here.request("GET", "/containers/json?all=1").json == []
    assert here.request("GET", "/volumes").json["Volumes"] == []


def test_a_web_server(here: Daemon, tmp_path: os.PathLike[str]) -> None:
    page = "/srv/index.html"
    container = (
        DockerContainer(BUSYBOX)
        .with_command(f"sh -c 'mkdir /srv; echo $GREETING >{page}; exec httpd -f -p 8080 -h /srv'")
        .with_env("GREETING", "welcome")
        .with_exposed_ports(8080)
        .with_kwargs(init=True, mem_limit="128m")
        .waiting_for(HttpWaitStrategy(8080).for_status_code(200))
    )
    with container as server:
        address = f"http://127.0.0.1:{server.get_exposed_port(8080)}/"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.read() == b"welcome\n"
        assert server.exec(["cat", page]) == (0, b"welcome\n")
