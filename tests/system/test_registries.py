"""Pull and push against a real registry, with a proxy between that makes trouble."""

import asyncio
import base64
import contextlib
import dataclasses
import gzip
import hashlib
import json
import os
import random
import subprocess
import time
import traceback
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote

import pytest

from heft.errors import (
    Forbidden,
    HeftError,
    HostError,
    InvalidArgument,
    NotFound,
    NotSupported,
    Unauthorized,
    Unavailable,
)
from heft.host.processes import run
from heft.images.archive import INDEX_TYPES, MANIFEST_TYPES
from heft.images.configs import CONFIG_TYPE, LAYER_TYPE
from heft.images.registry import attempts, client, downloads
from heft.images.registry.credentials import NOBODY, Credentials
from heft.images.remote import Pulled
from tests.harness import registries
from tests.harness.client import Client
from tests.harness.daemon import Daemon
from tests.harness.images import BUSYBOX, busybox_tar
from tests.harness.layers import Bench, directory, entry, pack
from tests.harness.registries import (
    PASSWORD,
    USER,
    Handler,
    Proxy,
    Served,
    Trouble,
    corrupt,
    cut,
    lead_to,
    refuse,
    say,
)

pytestmark = pytest.mark.usefixtures("clean_host")

BIG = random.Random(1).randbytes(3 << 20)
LAYERS = (
    [directory("d"), entry("d/big", BIG)],
    [entry("d/second", b"2"), entry("x", BIG[: 1 << 20])],
    [entry("d/third", b"3")],
)
ANN = Credentials(USER, PASSWORD)
PORT = 5001


def quiet(*_: object) -> None:
    """Take no interest in progress."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with registries.registry(tmp_path_factory.mktemp("registry") / "r", PORT) as served:
        yield served


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.01)


@pytest.fixture
def proxy(plain: Served) -> Iterator[Proxy]:
    with registries.proxy(plain.host) as found:
        yield found


class Store(Bench):
    """A store of the test's own."""

    async def pull(self, name: str, who: Credentials = NOBODY, platform: str = "") -> Pulled:
        return await self.images.remote.pull(name, platform, who, quiet)

    async def push(self, name: str, who: Credentials = NOBODY) -> str:
        return (await self.images.remote.push(name, who, quiet)).digest

    @property
    def partial(self) -> list[str]:
        return os.listdir(self.place / "images/partial")

    def nothing_kept(self) -> bool:
        """Say whether there is no image, and nothing of one."""
        kinds = (self.place / "images" / kind for kind in ("blobs/sha256", "layers", "tmp"))
        return not self.images.list() and not any(os.listdir(kind) for kind in kinds)


async def _store(place: Path) -> Store:
    place.mkdir()
    store = Store(place)
    store.trash.start()
    await store.images.start()
    return store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await _store(tmp_path / "one")
    yield made
    await made.images.remote.close()
    await made.trash.close()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Store]:
    made = await _store(tmp_path / "other")
    yield made
    await made.images.remote.close()
    await made.trash.close()


@pytest.fixture
async def pushed(store: Store, proxy: Proxy) -> str:
    """Give the name of an image of three layers that is in the registry."""
    name = f"{proxy.host}/team/tool:1"
    await store.image(*LAYERS, name=name)
    await store.push(name)
    proxy.asked.clear()
    return name


def blob_requests(proxy: Proxy) -> int:
    return len(proxy.lines("^GET .*/blobs/"))


# What goes right


async def test_what_is_pushed_is_pulled(
    store: Store, other: Store, proxy: Proxy, pushed: str
) -> None:
    pulled = await other.pull(pushed)
    assert pulled.newer
    mine = store.images.resolve(pushed)
    assert pulled.image.id == mine.id
    assert pulled.image.diff_ids == mine.diff_ids
    layers = other.images.layer_paths(pulled.image.diff_ids)
    assert (layers[0] / "d/big").read_bytes() == BIG
    assert (layers[2] / "d/third").read_bytes() == b"3"
    assert blob_requests(proxy) == 4
    again = await other.pull(pushed)
    assert not again.newer
    assert again.digest == pulled.digest
    assert blob_requests(proxy) == 5, "the configuration alone"
    assert other.partial == []
    by_digest = f"{pushed.removesuffix(':1')}@{pulled.digest}"
    assert (await other.pull(by_digest)).image.id == mine.id
    assert other.images.digests(mine.id) == (by_digest,)
    # The same blobs go back, so nothing is sent.
    proxy.asked.clear()
    assert await other.push(pushed) == pulled.digest
    assert proxy.lines("^(POST|PATCH)") == []


async def test_a_blob_is_mounted_from_another_repository(
    store: Store, proxy: Proxy, pushed: str
) -> None:
    store.images.tag(pushed, name := f"{proxy.host}/team/again:2")
    await store.push(name)
    assert len(proxy.lines("^POST .*mount=sha256.*from=team/tool")) == 3
    assert len(proxy.lines("^PATCH")) == 1, "the configuration"
    # Who may push to one repository need not be let into the other.
    proxy.asked.clear()
    proxy.troubles.append(Trouble("^POST .*mount=", refuse(403), times=99))
    store.images.tag(pushed, name := f"{proxy.host}/stranger/again:2")
    await store.push(name)
    assert len(proxy.lines("^PATCH")) == 4


async def test_skopeo_reads_and_writes(
    store: Store, other: Store, plain: Served, proxy: Proxy, pushed: str, tmp_path: Path
) -> None:
    def skopeo(*arguments: str) -> str:
        command = ["skopeo", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    source = pushed.replace(proxy.host, plain.host)
    shown = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{source}"))
    assert len(shown["Layers"]) == 3
    skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{source}", f"oci:{tmp_path}/oci:t")
    mine = store.images.resolve(pushed)
    for number, options in enumerate(
        (["--format", "v2s2"], ["--format", "oci", "--dest-compress-format", "zstd"])
    ):
        target = f"{plain.host}/skopeo{number}:1"
        skopeo("copy", "-q", "--dest-tls-verify=false", *options, f"oci:{tmp_path}/oci:t",
               f"docker://{target}")  # fmt: skip
        pulled = await other.pull(target)
        assert pulled.image.diff_ids == mine.diff_ids
        other.images.tag(target, f"{plain.host}/elsewhere{number}:1")
        assert await other.push(f"{plain.host}/elsewhere{number}:1") == pulled.digest
        other.images.remove(pulled.image.id, force=True)
        assert other.nothing_kept()


# Trouble on the way


async def test_a_broken_connection_is_gone_on_with(other: Store, proxy: Proxy, pushed: str) -> None:
    proxy.troubles.append(Trouble("GET .*/blobs/", cut(1 << 20), times=3))
    pulled = await other.pull(pushed)
    (layer, *_) = other.images.layer_paths(pulled.image.diff_ids)
    assert (layer / "d/big").read_bytes() == BIG
    assert any("Range" in each.headers for each in proxy.lines("GET .*/blobs/"))


async def test_corrupt_bytes_are_fetched_again(other: Store, proxy: Proxy, pushed: str) -> None:
    layers = "|".join(layer.digest for layer in (await _manifest_layers(proxy, pushed)))
    proxy.troubles.append(Trouble(f"GET .*/blobs/({layers})", corrupt, times=2))
    pulled = await other.pull(pushed)
    (layer, *_) = other.images.layer_paths(pulled.image.diff_ids)
    assert (layer / "d/big").read_bytes() == BIG


@dataclasses.dataclass
class _Found:
    digest: str


async def _manifest_layers(proxy: Proxy, name: str) -> list[_Found]:
    repository, tag = name.removeprefix(f"{proxy.host}/").split(":")
    asked = urllib.request.Request(
        f"http://{proxy.upstream}/v2/{repository}/manifests/{tag}",
        headers={"Accept": MANIFEST_TYPES[0]},
    )
    with await asyncio.to_thread(urllib.request.urlopen, asked) as answer:
        return [_Found(each["digest"]) for each in json.load(answer)["layers"]]


async def test_bytes_that_stay_corrupt_are_refused(other: Store, proxy: Proxy, pushed: str) -> None:
    first = (await _manifest_layers(proxy, pushed))[0].digest
    proxy.troubles.append(Trouble(f"GET .*/blobs/{first}", corrupt, times=99))
    with pytest.raises(InvalidArgument, match="verification failed"):
        await other.pull(pushed)
    assert other.nothing_kept()
    proxy.troubles.clear()
    proxy.asked.clear()
    await other.pull(pushed)
    assert other.partial == []


async def test_what_arrived_of_a_pull_that_failed_is_not_fetched_again(
    other: Store, proxy: Proxy, pushed: str
) -> None:
    first, *_ = await _manifest_layers(proxy, pushed)
    proxy.troubles.append(Trouble(f"GET .*/blobs/{first.digest}", cut(2_000_000)))
    proxy.troubles.append(Trouble(f"GET .*/blobs/{first.digest}", cut(0), times=50))
    with pytest.raises(HostError, match="cannot fetch sha256"):
        await other.pull(pushed)
    assert other.nothing_kept()
    # What had arrived but was not read yet when the connection broke is lost.
    (part,) = (other.place / "images/partial").glob(first.digest.removeprefix("sha256:") + ".*")
    assert 1 << 20 <= (kept := part.stat().st_size) <= 2_000_000
    proxy.troubles.clear()
    proxy.asked.clear()
    await other.pull(pushed)
    (again,) = proxy.lines(f"GET .*/blobs/{first.digest}")
    assert again.headers["Range"] == f"bytes={kept}-"
    assert other.partial == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_registry_is_asked_again(
    other: Store, proxy: Proxy, pushed: str, status: int
) -> None:
    proxy.troubles.append(Trouble("GET .*/manifests/", refuse(status, Retry_After="0"), times=2))
    proxy.troubles.append(Trouble("GET .*/blobs/", refuse(status), times=2))
    assert (await other.pull(pushed)).newer


async def test_a_registry_that_wants_to_be_left_alone(
    other: Store, proxy: Proxy, pushed: str
) -> None:
    proxy.troubles.append(Trouble("/manifests/", refuse(429, Retry_After="3600"), times=9))
    with pytest.raises(Unavailable, match="come again in 3600 seconds"):
        await other.pull(pushed)
    proxy.troubles[:] = [Trouble("/manifests/", refuse(500), times=99)]
    with pytest.raises(HostError, match="HTTP status 500"):
        await other.pull(pushed)
    assert other.nothing_kept()


async def test_redirects_take_no_password_along(
    other: Store, tmp_path: Path, plain: Served, pushed: str, proxy: Proxy
) -> None:
    def refuse_strangers(handler, status, headers, body) -> None:  # type: ignore[no-untyped-def]
        if handler.headers.get("Authorization"):
            return handler.give(status, headers, body)
        return handler.give(401, {"WWW-Authenticate": 'Basic realm="r"'}, b"{}")

    with registries.proxy(plain.host, address="127.0.0.2") as away:
        proxy.troubles.append(Trouble("GET .*/blobs/", lead_to(away.host), times=99))
        proxy.troubles.append(Trouble("GET .*/manifests/", refuse_strangers, times=99))
        with pytest.raises(NotFound, match="pull access denied"):
            await other.pull(pushed)
        assert (await other.pull(pushed, ANN)).newer
        assert blob_requests(away) == 4
        assert not any("Authorization" in each.headers for each in away.asked)
        assert any("Authorization" in each.headers for each in proxy.lines("/blobs/"))


async def test_an_upload_that_breaks_is_gone_on_with(store: Store, proxy: Proxy) -> None:
    name = f"{proxy.host}/broken/push:1"
    await store.image(*LAYERS, name=name)
    proxy.troubles.append(Trouble("^PATCH", cut(0), times=2))
    proxy.troubles.append(Trouble("^PATCH", refuse(503)))
    assert await store.push(name)
    assert proxy.lines("^GET .*/uploads/")


async def test_a_large_blob_goes_in_chunks(
    store: Store, other: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CHUNK", 1 << 20)
    name = f"{proxy.host}/chunks/push:1"
    image = await store.image(*LAYERS, name=name)
    proxy.troubles.append(Trouble("^PATCH", refuse(503)))
    await store.push(name)
    sent = [each.headers["Content-Range"] for each in proxy.lines("^PATCH")]
    assert sent.count("0-1048575") >= 2
    assert "1048576-2097151" in sent
    assert (await other.pull(name)).image.diff_ids == image.diff_ids


PUSH_POINTS = ("push.blob", "push.manifest")


@pytest.mark.parametrize("point", PUSH_POINTS)
async def test_killed_while_pushing(proxy: Proxy, tmp_path: Path, point: str) -> None:
    daemon = Daemon(tmp_path / "daemon").start(HEFT_FAULT=point)
    name = f"{proxy.host}/killed/{point}"
    daemon.request("POST", f"/images/create?fromSrc=-&repo={name}", pack(*LAYERS[0]))

    def push() -> int:
        try:
            header = {"X-Registry-Auth": "e30="}
            return daemon.request("POST", f"/images/{name}/push?tag=latest", **header).status
        except (OSError, HTTPException):
            return 0

    await asyncio.to_thread(push)
    daemon.wait_dead()
    daemon.start()
    store = daemon.data / "images"
    assert not any(os.listdir(store / kind) for kind in ("tmp", "partial"))
    (image,) = daemon.request("GET", "/images/json").json
    assert not image["RepoDigests"]
    assert await asyncio.to_thread(push) == 200
    (image,) = daemon.request("GET", "/images/json").json
    assert len(image["RepoDigests"]) == 1
    proxy.asked.clear()
    assert await asyncio.to_thread(push) == 200
    assert not proxy.lines("^(POST|PATCH)")
    daemon.clean_up()


async def test_an_upload_that_does_not_arrive_is_given_up(store: Store, proxy: Proxy) -> None:
    name = f"{proxy.host}/lost/push:1"
    await store.image(*LAYERS, name=name)

    def lose(handler: Handler, *_: object) -> None:
        handler.give(202, {"Location": handler.path, "Range": "0-0"}, b"")

    proxy.troubles.append(Trouble("^PATCH", lose, times=999))
    with pytest.raises(HostError, match="does not arrive"):
        await store.push(name)
    proxy.troubles[:] = [Trouble("^POST", refuse(202, Location="file:///etc"), times=99)]
    with pytest.raises(HostError, match="leads on to an invalid address"):
        await store.push(name)


async def test_a_download_that_is_given_up_writes_to_no_closed_file(
    other: Store, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, written = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def write_slowly(file: int, data: bytes) -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.1)
        written.append((os.readlink(f"/proc/self/fd/{file}"), len(data)))

    monkeypatch.setattr(downloads, "write_all", write_slowly)
    pulling = asyncio.create_task(other.pull(pushed))
    await begun.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    assert written
    assert all("/partial/" in path for path, _ in written)


# Who asks


@pytest.mark.parametrize(
    ("realm", "token"),
    [
        ("http://[::1", b""),
        ("http://HOST/token", b'{"token": "\xff"}'),
        ("http://HOST/token", b'{"x": ' + b"[" * 100_000),
        ("http://HOST/token", b'{"token": "a\\r\\nX: y"}'),
    ],
)
async def test_a_token_that_is_none(
    other: Store, proxy: Proxy, pushed: str, realm: str, token: bytes
) -> None:
    wanted = f'Bearer realm="{realm.replace("HOST", proxy.host)}"'
    proxy.troubles.append(Trouble("/manifests/", refuse(401, WWW_Authenticate=wanted), times=9))
    proxy.troubles.append(Trouble("GET /token", say(token), times=9))
    with pytest.raises(HostError, match=r"invalid realm|no token|no header"):
        await other.pull(pushed)


async def test_users_and_passwords(store: Store, other: Store, tmp_path: Path) -> None:
    with registries.registry(tmp_path / "r", PORT + 1, users=True) as served:
        name = f"{served.host}/private:1"
        await store.image(*LAYERS, name=name)
        with pytest.raises(Unauthorized):
            await store.push(name)
        await store.push(name, ANN)
        with pytest.raises(NotFound, match=r"pull access denied for .*/private"):
            await other.pull(name)
        with pytest.raises(NotFound, match="pull access denied"):
            await other.pull(name, Credentials(USER, "wrong"))
        assert (await other.pull(name, ANN)).newer
        assert await other.images.remote.sign_in(served.host, ANN) == ""
        with pytest.raises(Unauthorized, match="incorrect username or password"):
            await other.images.remote.sign_in(served.host, Credentials(USER, "wrong"))


async def test_tokens_that_expire_midway(other: Store, proxy: Proxy, pushed: str) -> None:
    given: list[str] = []

    def token(handler, *_) -> None:  # type: ignore[no-untyped-def]
        assert "scope=repository:team/tool:pull" in unquote(handler.path)
        given.append(f"t{len(given)}")
        handler.give(200, {}, json.dumps({"token": given[-1], "expires_in": 300}).encode())

    def guarded(handler, status, headers, body) -> None:  # type: ignore[no-untyped-def]
        # The first token is good for the manifest alone.
        known = given and handler.headers.get("Authorization") == f"Bearer {given[-1]}"
        if known and (len(given) > 1 or "/manifests/" in handler.path):
            return handler.give(status, headers, body)
        realm = f'Bearer realm="http://{proxy.host}/token",service="s",scope="x"'
        return handler.give(401, {"WWW-Authenticate": realm}, b"{}")

    proxy.troubles.append(Trouble("GET /token", token, times=999))
    proxy.troubles.append(Trouble("GET /v2/team", guarded, times=999))
    assert (await other.pull(pushed)).newer
    assert len(given) > 1


async def test_who_is_refused_a_token_is_told_why(other: Store, proxy: Proxy, pushed: str) -> None:
    realm = f'Bearer realm="http://{proxy.host}/token"'
    proxy.troubles.append(Trouble("/token", refuse(401), times=99))
    proxy.troubles.append(Trouble("/v2/", refuse(401, WWW_Authenticate=realm), times=99))
    for who, said in (
        (NOBODY, "log in first"),
        (ANN, "incorrect username or password"),
        (Credentials(identity_token="old"), "log in again"),
    ):
        with pytest.raises(HeftError, match=f"unauthorized: .*{said}"):
            await other.pull(pushed, who)


async def test_what_a_registry_says_is_shown_plainly(other: Store) -> None:
    said = json.dumps({"errors": [{"code": "X", "message": "no\x1b[31m" + "y" * 5000}]}).encode()
    with registries.proxy("") as proxy:
        _serve(
            proxy,
            {
                "/manifests/1": lambda handler, *_: handler.give(404, {}, said),
                "/manifests/2": say(b"", **{"Content-Length": "ten"}),
            },
        )
        with pytest.raises(HeftError, match=r"x: no \[31my{900,1000}$"):
            await other.pull(f"{proxy.host}/odd:1")
        with pytest.raises(HeftError, match=r"an answer that is no HTTP: [^\n]*Content-Length:$"):
            await other.pull(f"{proxy.host}/odd:2")


async def test_tls_and_an_authority_of_ones_own(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key", tmp_path / "crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=r", "-addext", "subjectAltName=DNS:registry.test"]
    await run(*command, "-keyout", str(key), "-out", str(certificate))
    with registries.registry(tmp_path / "r", PORT + 2, tls=(certificate, key)) as served:
        # Loopback counts as insecure: any certificate will do, and is asked for first.
        name = f"{served.host}/safe:1"
        await store.image(*LAYERS, name=name)
        await store.push(name)
        assert (await other.pull(name)).newer
        context = await other.images.remote.web.tls("registry.test", insecure=False)
        assert not any("'r'" in str(each["subject"]) for each in context.get_ca_certs())
        place = tmp_path / "other-config/certs.d/registry.test"
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(certificate.read_bytes())
        other.images.remote.web._directory = tmp_path / "other-config"
        context = await other.images.remote.web.tls("registry.test", insecure=False)
        assert any("'r'" in str(each["subject"]) for each in context.get_ca_certs())


async def test_an_identity_token_is_exchanged(other: Store, proxy: Proxy, pushed: str) -> None:
    def token(handler, *_) -> None:  # type: ignore[no-untyped-def]
        answer = {"access_token": "good", "refresh_token": "second", "expires_in": 300}
        handler.give(200, {}, json.dumps(answer).encode())

    def guarded(handler, status, headers, body) -> None:  # type: ignore[no-untyped-def]
        if handler.headers.get("Authorization") == "Bearer good":
            return handler.give(status, headers, body)
        realm = f'Bearer realm="http://{proxy.host}/token",service="s",scope="x"'
        return handler.give(401, {"WWW-Authenticate": realm}, b"{}")

    proxy.troubles.append(Trouble("(GET|POST) /token", token, times=999))
    proxy.troubles.append(Trouble("GET /v2/", guarded, times=999))
    who = Credentials(identity_token="first")
    assert (await other.pull(pushed, who)).newer
    (asked,) = proxy.lines("POST /token")
    form = dict(pair.split("=") for pair in asked.body.decode().split("&"))
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "first")
    assert unquote(form["scope"]) == "repository:team/tool:pull"
    # Signing in with a password gives such a token, to be kept in its place.
    assert await other.images.remote.sign_in(proxy.host, ANN) == "second"


# Where it is fetched from


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_through_a_proxy(
    other: Store, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """What only the proxy can resolve is pulled through it, from a real registry."""
    tls, config, port = None, tmp_path / "config", PORT + 3 + (scheme == "https")
    host = "registry.test" if scheme == "https" else f"registry.test:{port}"
    (config / f"certs.d/{host}").mkdir(parents=True)
    if scheme == "https":
        tls = tmp_path / "crt", tmp_path / "key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=r", "-addext"]
        command += ["subjectAltName=DNS:registry.test", "-out", str(tls[0])]
        await run(*command, "-keyout", str(tls[1]))
        (config / f"certs.d/{host}/ca.crt").write_bytes(tls[0].read_bytes())
    else:
        (config / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
        )
    with (
        registries.registry(tmp_path / "r", port, tls=tls) as served,
        registries.proxy(served.host) as through,
    ):
        await store.image(*LAYERS, name=f"{served.host}/team/far:1")
        await store.push(f"{served.host}/team/far:1")
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{through.host}")
        other.images.remote.web._directory = config
        assert (await other.pull(f"{host}/team/far:1")).newer
        blobs = "^CONNECT registry.test" if tls else f"^GET http://{host}/v2/team/far/blobs/"
        assert len(through.lines(blobs)) >= (1 if tls else 4)
        monkeypatch.setenv("NO_PROXY", "registry.test")
        with pytest.raises(HostError, match="cannot"):
            await other.pull(f"{host}/team/far:2")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_to_do_where_there_is_no_trust(
    other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    tls = (tmp_path / "crt", tmp_path / "key") if scheme == "https" else None
    if tls:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=r"]
        await run(*command, "-out", str(tls[0]), "-keyout", str(tls[1]))
    with (
        registries.registry(tmp_path / "r", PORT + 3, tls=tls) as served,
        registries.proxy(served.host) as through,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{through.host}")
        with pytest.raises(HostError) as caught:
            await other.pull("registry.test/team/far:1")
    why, hint = {
        "http": ("wrong version number", "insecure = true"),
        "https": ("self-signed certificate", "certs.d/HOST/ca.crt"),
    }[scheme]
    assert why in caught.value.message
    assert "object at" not in caught.value.message
    assert hint in caught.value.hint


async def test_mirrors(other: Store, tmp_path: Path, plain: Served, pushed: str) -> None:
    with registries.proxy("") as empty:
        (tmp_path / "registries.conf").write_text(
            '[[registry]]\nprefix = "example.test/team"\nlocation = "example.test/team"\n'
            f'[[registry.mirror]]\nlocation = "{empty.host}/none"\n'
            f'[[registry.mirror]]\nlocation = "{plain.host}/team"\ninsecure = true\n'
            '[[registry]]\nprefix = "bad.test"\nblocked = true\n'
        )
        other.images.remote.web._directory = tmp_path
        curious = refuse(401, WWW_Authenticate='Basic realm="r"')
        empty.troubles.append(Trouble("/none/", curious, times=9))
        pulled = await other.pull("example.test/team/tool:1", ANN)
        assert not any("Authorization" in each.headers for each in empty.asked)
        assert other.images.tags(pulled.image.id) == ("example.test/team/tool:1",)
        assert empty.lines("GET /v2/none/tool/manifests/1")
        with pytest.raises(Forbidden, match=r"registry bad\.test is blocked"):
            await other.pull("bad.test/x")


async def test_a_proxy_that_wants_another_password(
    other: Store, proxy: Proxy, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, once, and without the password."""
    with registries.proxy("") as empty:
        empty.troubles.append(Trouble("", refuse(407, Proxy_Authenticate="Basic"), times=99))
        monkeypatch.setattr(registries.Handler, "do_CONNECT", registries.Handler.do_GET)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://ann:verysecret@{empty.host}")
        with pytest.raises(HeftError, match="407") as refusal:
            await other.pull("registry.test/team/tool:1")
        assert [each.line for each in empty.asked] == ["CONNECT registry.test:443"]
        sent = empty.asked[0].headers["Proxy-Authorization"]
        assert base64.b64decode(sent.removeprefix("Basic ")) == b"ann:verysecret"
    assert "verysecret" not in str(refusal.value)
    errors = "".join(traceback.format_exception_only(refusal.value.__cause__))
    assert "verysecret" not in errors


async def test_what_is_blocked_is_neither_searched_nor_signed_in_to(
    other: Store, tmp_path: Path, plain: Served
) -> None:
    (tmp_path / "registries.conf").write_text(
        f'[[registry]]\nlocation = "{plain.host}"\nblocked = true\n'
        '[[registry]]\nlocation = "docker.io"\nblocked = true\n'
    )
    other.images.remote.web._directory = tmp_path
    for host, shown in ((plain.host, plain.host), ("", "docker.io")):
        with pytest.raises(Forbidden, match=f"registry {shown} is blocked"):
            await other.images.remote.sign_in(host, ANN)
        with pytest.raises(Forbidden, match=f"registry {shown} is blocked"):
            await other.images.remote.search(f"{host}/x" if host else "x", 5, NOBODY)


async def test_fsck_repairs_from_the_registry(other: Store, proxy: Proxy, pushed: str) -> None:
    image = (await other.pull(pushed)).image
    blobs, (_, layer, _) = other.place / "images/blobs/sha256", image.layers
    (layer_path,) = other.images.layer_paths(image.diff_ids)[1:2]
    (layer_path / "d/second").write_bytes(b"evil")
    damaged = {image.id, layer.digest}
    for digest in damaged:
        (blobs / digest.removeprefix("sha256:")).write_bytes(b"?")
    name = other.images.digests(image.id)[0]
    found = await other.images.check(tuple, repair=False, known={}, progress=quiet)
    assert {each.name: each.todo for each in found} == dict.fromkeys(
        damaged, f"fsck --repair, or: heft pull {name}"
    )
    proxy.troubles.append(Trouble("GET .*/manifests/", refuse(404)))
    found = await other.images.check(tuple, repair=True, known={}, progress=quiet)
    assert {each.name for each in found} == damaged
    for each in found:
        assert each.done.startswith("it was removed, but not fetched: manifest for")
        assert each.todo == f"heft pull {name}"
    found = await other.images.check(tuple, repair=True, known={}, progress=quiet)
    done = {each.name: (each.kind, each.done, each.todo) for each in found}
    fetched = ("blob", f"it was fetched again of {name}", "")
    (chain,) = done.keys() - damaged
    assert done == {
        image.id: fetched,
        layer.digest: fetched,
        chain: ("layer", "it was made again of its blob", ""),
    }
    assert await other.images.check(tuple, repair=False, known={}, progress=quiet) == []


def test_fsck_of_a_registry_that_asks_for_a_password(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d").start()
    heft = Client("heft", daemon)
    with registries.registry(tmp_path / "r", 5006, users=True) as served:
        daemon.request("POST", f"/images/create?fromSrc=-&repo={BUSYBOX}", busybox_tar())
        name = f"{served.host}/team/box:1"
        heft("login", "-u", USER, "--password-stdin", served.host, input=PASSWORD)
        heft("tag", BUSYBOX, name)
        heft("push", name)
        for blob in (daemon.data / "images/blobs/sha256").iterdir():
            blob.write_bytes(b"?")
        found = heft("fsck", "--repair", check=False)
        assert found.returncode == 1, found.stdout + found.stderr
        assert "2 damaged, 2 of them repaired" in found.stdout
        assert heft("fsck").stdout == "nothing is damaged\n"
        assert heft("run", "--rm", "--network", "none", name, "echo", "hi").stdout == "hi\n"
    daemon.clean_up()


async def test_fsck_takes_a_blob_away_that_a_pull_counted_on(
    other: Store, proxy: Proxy, pushed: str
) -> None:
    image = (await other.pull(pushed)).image
    first, second, third = (
        other.place / "images/blobs/sha256" / layer.digest.removeprefix("sha256:")
        for layer in image.layers
    )
    third.unlink()

    def take(handler: Handler, status: int, headers: dict[str, str], body: bytes) -> None:
        first.unlink()
        second.unlink()
        handler.give(status, headers, body)

    proxy.troubles.append(Trouble(f"GET .*/blobs/{image.layers[2].digest}", take))
    await other.pull(pushed)
    assert not proxy.troubles[0].times
    assert await other.images.check(tuple, repair=False, known={}, progress=quiet) == []


# What a registry may say


def _config(*diff_ids: str) -> bytes:
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


LAYER = gzip.compress(pack(entry("f", b"x")))
DIFF = _digest(gzip.decompress(LAYER))


def _manifest(config: bytes, *layers: dict[str, object], **more: object) -> bytes:
    about = {"mediaType": CONFIG_TYPE, "digest": _digest(config), "size": len(config)}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "config": about,
                       "layers": list(layers), **more}).encode()  # fmt: skip


def _layer(**other: object) -> dict[str, object]:
    return {
        "mediaType": f"{LAYER_TYPE}+gzip",
        "digest": _digest(LAYER),
        "size": len(LAYER),
        **other,
    }


GOOD = _config(DIFF)
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
LOOP = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": [
    {"mediaType": INDEX_TYPES[0], "digest": _digest(b""), "size": 1,
     "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()  # fmt: skip
BAD = {
    "sizes": (_manifest(GOOD, _layer(size=len(LAYER) + 1)), "has not the .* bytes"),
    "negative": (_manifest(GOOD, _layer(size=-1)), "of -1 bytes"),
    "digests": (_manifest(GOOD, _layer(digest="sha256:../../etc")), "digest 'sha256:../../etc'"),
    "absent": (_manifest(GOOD, _layer(digest=_digest(b"no"))), "blob sha256:.*"),
    "foreign": (_manifest(GOOD, _layer(mediaType=FOREIGN)), "is foreign"),
    "unknown": (_manifest(GOOD, _layer(mediaType="text/html")), "unsupported media type"),
    "artifact": (_manifest(GOOD).replace(b"image.config", b"wasm.config"), "is an artifact"),
    "many": (_manifest(GOOD, *[_layer()] * 10_000), "10000 layers"),
    "others": (_manifest(_config(_digest(b"?")), _layer()), "configuration says sha256"),
    "fewer": (_manifest(_config(), _layer()), "length mismatch"),
    "loops": (LOOP, "digest|index"),
    "long": (b"[" + b" " * (5 << 20), "is larger than"),
    "deep": (b"[" * 100_000, "invalid manifest"),
    "old": (b'{"schemaVersion": 1}', "first format"),
    "garbage": (b"<html>", "invalid manifest"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_bad_manifests(other: Store, case: str) -> None:
    manifest, said = BAD[case]
    with registries.proxy("") as proxy:
        for content in (GOOD, _config(_digest(b"?")), _config(), LAYER):
            proxy.troubles.append(Trouble(f"/blobs/{_digest(content)}", say(content), times=99))
        proxy.troubles.append(Trouble("/manifests/", say(manifest, MANIFEST_TYPES[0]), times=99))
        proxy.troubles.append(Trouble("GET /v2/$", say(b"{}"), times=99))
        with pytest.raises(HeftError, match=said):
            await other.pull(f"{proxy.host}/bad:1")
    assert other.nothing_kept()
    assert other.partial == []


def _serve(proxy: Proxy, found: dict[str, registries.Act]) -> None:
    """Let a registry be of these answers, by patterns of paths."""
    for pattern, act in {**found, "GET /v2/$": say(b"{}")}.items():
        proxy.troubles.append(Trouble(pattern, act, times=99))


async def test_manifests_that_are_not_what_was_asked_for(other: Store) -> None:
    manifest = _manifest(GOOD, _layer())
    inner = json.loads(LOOP)
    inner["manifests"][0]["digest"] = _digest(LOOP)
    outer = json.dumps(inner).encode()  # an index of an index, both with the right digests
    with registries.proxy("") as proxy:
        lie = {"Docker-Content-Digest": _digest(b"?")}
        _serve(
            proxy,
            {
                "/manifests/sha256:0": say(manifest, MANIFEST_TYPES[0]),
                f"/manifests/{_digest(LOOP)}": say(LOOP, INDEX_TYPES[0]),
                "/manifests/loop": say(outer, INDEX_TYPES[0]),
                "/manifests/lie": say(manifest, MANIFEST_TYPES[0], **lie),
            },
        )
        for reference in (f"@sha256:{'0' * 64}", ":lie"):
            with pytest.raises(InvalidArgument, match="the manifest has the digest"):
                await other.pull(f"{proxy.host}/bad{reference}")
        with pytest.raises(InvalidArgument, match="it leads to another one"):
            await other.pull(f"{proxy.host}/bad:loop")
    assert other.nothing_kept()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 7}, "has 7 bytes, which has"),
        ({"platform": {"os": "linux", "architecture": "s390x"}}, "linux/s390x, which is for linux"),
    ],
)
async def test_an_index_that_lies(other: Store, wrong: dict[str, object], said: str) -> None:
    manifest = _manifest(GOOD, _layer())
    entry = {
        "mediaType": MANIFEST_TYPES[0], "digest": _digest(manifest), "size": len(manifest),
        "platform": {"os": "linux", "architecture": "amd64"}, **wrong,
    }  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": [entry]}
    asked = "linux/s390x" if "platform" in wrong else "linux/amd64"
    with registries.proxy("") as proxy:
        _serve(
            proxy,
            {
                "/manifests/sha256": say(manifest, MANIFEST_TYPES[0]),
                "/manifests/1": say(json.dumps(index).encode(), INDEX_TYPES[0]),
                f"/blobs/{_digest(LAYER)}": say(LAYER),
                "/blobs/": say(GOOD),
            },
        )
        with pytest.raises(InvalidArgument, match=said):
            await other.pull(f"{proxy.host}/lie:1", platform=asked)
    assert other.nothing_kept()
    assert other.partial == []


async def test_a_gigabyte_of_json(other: Store) -> None:
    sent = 0

    def endless(handler: Handler, *_: object) -> None:
        nonlocal sent
        handler.send_response_only(200)
        handler.send_header("Content-Type", MANIFEST_TYPES[0])
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                sent += handler.wfile.write(b"[" * (1 << 16))
        handler.close_connection = True

    with registries.proxy("") as proxy:
        _serve(proxy, {"/manifests/": endless, "/tags/list": endless})
        with pytest.raises(HeftError, match="is larger than"):
            await other.pull(f"{proxy.host}/large:1")
        with pytest.raises(HeftError, match="is larger than"):
            await other.images.remote.pull_all(f"{proxy.host}/large", "", NOBODY, quiet)
    assert sent < 64 << 20, "it is given up soon"


@pytest.mark.parametrize("tag", ["a/b", "../x", "-a", "", "a" * 129, "ü", "a\0b", 7])
async def test_odd_tags(other: Store, tag: object) -> None:
    with registries.proxy("") as proxy:
        _serve(proxy, {"/tags/list": say(json.dumps({"tags": [tag]}).encode())})
        with pytest.raises(HeftError, match=r"a tag that is none: '|no list of tags"):
            await other.images.remote.pull_all(f"{proxy.host}/odd", "", NOBODY, quiet)
        assert not proxy.lines("/manifests/")


@pytest.mark.parametrize("length", [-1, 1, 1 << 40])
async def test_a_length_that_is_a_lie(other: Store, length: int) -> None:
    """A blob of the right bytes, announced as fewer or more.

    Where the surplus comes with the answer's head, it is taken for another answer, and a bad one.
    """
    said = r"has not the .* bytes" + ("|Bad status line" if length == -1 else "")
    claimed = {"Content-Length": str(length if length > 1 else len(LAYER) + length)}
    with registries.proxy("") as proxy:
        blob = f"/blobs/{_digest(LAYER)}"

        def lie(handler, *_) -> None:  # type: ignore[no-untyped-def]
            handler.give(200, claimed, LAYER, cut=len(LAYER))

        _serve(proxy, {
            blob: lie, f"/blobs/{_digest(GOOD)}": say(GOOD),
            "/manifests/": say(_manifest(GOOD, _layer()), MANIFEST_TYPES[0]),
        })  # fmt: skip
        with pytest.raises((InvalidArgument, HostError), match=said):
            await other.pull(f"{proxy.host}/lie:1")
    assert other.nothing_kept()


async def test_parts_that_nobody_went_on_with_are_swept(
    other: Store, proxy: Proxy, pushed: str
) -> None:
    old, new = (other.place / f"images/partial/{letter * 64}.9" for letter in "ab")
    for part, age in ((old, 24.1 * 3600), (new, 23.9 * 3600)):
        part.write_bytes(b"part")
        os.utime(part, (time.time() - age,) * 2)
    await other.pull(pushed)
    assert other.partial == [new.name]


async def test_platforms_of_an_index(
    store: Store, other: Store, plain: Served, proxy: Proxy, pushed: str
) -> None:
    digest = store.images.digests(store.images.resolve(pushed).id)[0].partition("@")[2]
    registry = other.images.remote
    document, _ = await registry.distribution(pushed, NOBODY)
    size = len(document.content)
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": [
        {"mediaType": MANIFEST_TYPES[0], "digest": digest, "size": size,
         "platform": {"os": "linux", "architecture": each}} for each in ("s390x", "amd64", "arm64")
    ]}).encode()  # fmt: skip
    proxy.troubles.append(Trouble("/manifests/all", say(index, INDEX_TYPES[0]), times=99))
    name = pushed.replace(":1", ":all")
    pulled = await other.pull(name)
    assert pulled.digest == _digest(index)
    with pytest.raises(NotFound, match="no matching manifest for linux/mips"):
        await other.pull(name, platform="linux/mips")
    _, platforms = await registry.distribution(name, NOBODY)
    assert [each["architecture"] for each in platforms] == ["s390x", "amd64", "arm64"]


async def test_all_tags(store: Store, other: Store, proxy: Proxy, pushed: str) -> None:
    store.images.tag(pushed, pushed.replace(":1", ":2"))
    await store.push(pushed.replace(":1", ":2"))
    name = pushed.removesuffix(":1")
    pulled = await other.images.remote.pull_all(name, "", NOBODY, quiet)
    assert {each.name.tag for each in pulled} >= {"1", "2"}
    assert other.images.remote.tags(name)


async def test_tags_without_end(other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_PAGES", 20)
    with registries.proxy("") as proxy:
        next_one = say(b"{}", "application/json", Link='</v2/x/tags/list>; rel="next"')
        proxy.troubles.append(Trouble("/tags/list", next_one, times=99))
        with pytest.raises(InvalidArgument, match="more than 20 pages"):
            await other.images.remote.pull_all(f"{proxy.host}/x", "", NOBODY, quiet)
        assert len(proxy.lines("/tags/list")) == 20


async def test_search(other: Store) -> None:
    answer = {"results": [{"name": "a/b", "description": "a\nb\x1b[1m", "star_count": 3}]}
    with registries.proxy("") as proxy:
        proxy.troubles.append(Trouble("/v1/search.q=b", say(json.dumps(answer).encode()), times=9))
        proxy.troubles.append(Trouble("GET /v2/$", say(b"{}"), times=9))
        (found,) = await other.images.remote.search(f"{proxy.host}/b", 5, NOBODY)
        assert (found.name, found.description, found.stars) == ("a/b", "a b [1m", 3)
        with pytest.raises(NotSupported, match="has no search"):
            await other.images.remote.search(f"{proxy.host}/c", 5, NOBODY)


# At once


async def test_two_pulls_fetch_a_layer_once_and_nothing_is_collected_meanwhile(
    store: Store, other: Store, proxy: Proxy, pushed: str
) -> None:
    store.images.tag(pushed, second := pushed.replace("tool", "more"))
    await store.push(second)
    proxy.asked.clear()

    async def collect() -> None:
        while True:
            other.images.prune(keep=lambda _: True, in_use=frozenset())
            other.images._store.drop_unused(
                tuple(other.images._store.blobs),
                tuple(layer.chain for layer in other.images._store.layers),
            )
            await asyncio.sleep(0)

    collecting = asyncio.create_task(collect())
    first, same, third = await asyncio.gather(*(other.pull(n) for n in (pushed, pushed, second)))
    collecting.cancel()
    assert first.image.id == same.image.id == third.image.id
    for layer in await _manifest_layers(proxy, pushed):
        assert len(proxy.lines(f"GET .*/blobs/{layer.digest}")) == 1
    assert all(path.exists() for path in other.images.layer_paths(first.image.diff_ids))


async def test_one_of_two_pulls_is_given_up(other: Store, proxy: Proxy, pushed: str) -> None:
    first = asyncio.create_task(other.pull(pushed))
    second = asyncio.create_task(other.pull(pushed))
    while not blob_requests(proxy):  # noqa: ASYNC110 - it is a thread's
        await asyncio.sleep(0.001)
    first.cancel()
    assert (await second).image
    with pytest.raises(asyncio.CancelledError):
        await first
    third = asyncio.create_task(other.pull(pushed.replace(":1", ":nope")))
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)


# The daemon is killed

POINTS = ("pull.part", "pull.fetched", "pull.blob", "pull.layer", "pull.config", "pull.recorded")


@pytest.mark.parametrize("point", POINTS)
async def test_killed_while_pulling(pushed: str, tmp_path: Path, point: str) -> None:
    daemon = Daemon(tmp_path / "daemon").start(HEFT_FAULT=point)
    name, _, tag = pushed.rpartition(":")
    path = f"/images/create?fromImage={name}&tag={tag}"

    def ask() -> int:
        try:
            return daemon.request("POST", path).status
        except (OSError, HTTPException):
            return 0

    await asyncio.to_thread(ask)
    daemon.wait_dead()
    daemon.start()
    images = daemon.request("GET", "/images/json").json
    assert len(images) == (point == "pull.recorded")
    if not images:
        store = daemon.data / "images"
        assert not any(os.listdir(store / kind) for kind in ("blobs/sha256", "layers", "tmp"))
    assert await asyncio.to_thread(ask) == 200
    (image,) = daemon.request("GET", "/images/json").json
    assert pushed in image["RepoTags"]
    assert os.listdir(daemon.data / "images/partial") == []
    daemon.clean_up()
