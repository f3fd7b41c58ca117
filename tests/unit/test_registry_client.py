"""What a registry, a client, a file and the environment say, read; whatever they say."""

import base64
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from heft.errors import Forbidden, HeftError, HostError, InvalidArgument
from heft.images import configs
from heft.images.archive import DISK_TYPE
from heft.images.disks import artifact
from heft.images.reference import Reference
from heft.images.registry import client, configuration, credentials, manifests
from heft.images.registry.attempts import retry_after
from heft.images.registry.authorization import challenges
from heft.images.registry.manifests import Document
from heft.images.registry.web import Web, proxy_for, through

NAME = Reference.parse("example.test/team/tool:1")
DIGEST = Reference.parse("example.test/team/tool@sha256:" + "0" * 64)


def test_challenges() -> None:
    header = 'Bearer realm="https://a/t?x=1,2",service=s, scope="repository:a/b:pull,push", Basic'
    assert challenges(header) == {
        "bearer": {
            "realm": "https://a/t?x=1,2",
            "service": "s",
            "scope": "repository:a/b:pull,push",
        },
        "basic": {},
    }
    assert challenges('basic Realm="a \\"b\\""') == {"basic": {"realm": 'a "b"'}}


@pytest.mark.parametrize("text", ["-", "-a", "a=,", 'a="', 'a="\\', "a ", "a="])
def test_a_challenge_without_end_is_read_at_once(text: str) -> None:
    begun = time.process_time()
    challenges((text * 8190)[:8190])  # as long as a header can be
    assert time.process_time() - begun < 0.2


@given(st.text(max_size=200))
def test_any_challenge_can_be_read(text: str) -> None:
    challenges(text)
    assert retry_after(text) >= 0


def test_credentials() -> None:
    def header(**values: str) -> str:
        return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()

    read = credentials.read_header(header(username="ann", password="ü", serveraddress="x"))
    assert (read.username, read.password) == ("ann", "ü")
    assert base64.b64decode(read.basic.removeprefix("Basic ")).decode() == "ann:ü"
    both = base64.b64encode(b"ann:a:b").decode()
    assert credentials.read_header(header(auth=both)).password == "a:b"
    assert credentials.read_header(header(identitytoken="t")).identity_token == "t"
    for nobody in ("", "e30=", "bnVsbA=="):
        assert credentials.read_header(nobody) == credentials.NOBODY
    with pytest.raises(InvalidArgument, match="X-Registry-Auth"):
        credentials.read_header("!")
    with pytest.raises(InvalidArgument, match="registrytoken"):
        credentials.read_header(header(registrytoken="t\r\nX: y"))
    assert "ü" not in repr(read)


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 5000])
def test_numbers_that_are_none(text: str) -> None:
    assert client._number(text) is None


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda b: base64.b64encode(b).decode()))
def test_any_header_of_credentials_is_read_or_refused(text: str) -> None:
    try:
        credentials.read_header(text)
    except InvalidArgument:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=15,
)
MEDIA_TYPES = (
    *(*manifests.ACCEPTED, *sorted(manifests.LAYER_TYPES), *sorted(configs.CONFIG_TYPES)),
    *(artifact.CONFIG_TYPE, *artifact.MEDIA_TYPES.values()),
)
DESCRIPTOR = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from(MEDIA_TYPES) | JSON,
        "digest": st.just("sha256:" + "a" * 64) | JSON,
        "size": st.integers() | JSON,
        "platform": st.fixed_dictionaries({"os": JSON, "architecture": JSON, "variant": JSON}),
        "annotations": JSON,
    },
)
MANIFEST = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | JSON},
    optional={
        "mediaType": st.sampled_from(manifests.ACCEPTED) | JSON,
        "artifactType": st.just(DISK_TYPE) | JSON,
        "config": DESCRIPTOR | JSON,
        "layers": st.lists(DESCRIPTOR, max_size=4) | JSON,
        "manifests": st.lists(DESCRIPTOR, max_size=4) | JSON,
    },
)


CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "architecture": st.just("amd64") | JSON,
        "config": st.dictionaries(st.sampled_from(["Cmd", "Env", "Labels", "Volumes"]), JSON)
        | JSON,
        "rootfs": st.fixed_dictionaries({"type": st.just("layers"), "diff_ids": JSON}) | JSON,
        "history": st.lists(JSON, max_size=3) | JSON,
        "created": st.just("2026-01-01T00:00:00Z") | JSON,
        "format": st.sampled_from(["raw", "qcow2"]) | JSON,
        "digest": st.just("sha256:" + "a" * 64) | JSON,
        "size": st.integers() | JSON,
        "virtualSize": st.integers() | JSON,
    },
)


@given(CONFIG | JSON, st.sampled_from([configs.decode, artifact.decode]))
def test_any_configuration_is_read_or_refused(
    value: object, decode: Callable[[bytes], object]
) -> None:
    with contextlib.suppress(InvalidArgument):
        decode(json.dumps(value).encode())


@given(MANIFEST | JSON)
def test_any_manifest_is_read_or_refused(value: object) -> None:
    content = json.dumps(value).encode()
    try:
        document = Document(content, manifests.media_type_of(content, ""), "")
        if document.is_index:
            manifests.choose(manifests.index(document), "linux/amd64")
        else:
            manifests.manifest(document)
    except HeftError:
        return


def read(place: Path, text: str) -> configuration.Configuration:
    (place / configuration.FILE).write_text(text)
    return configuration.read(place)


def test_registries_conf(tmp_path: Path) -> None:
    assert str(configuration.read(tmp_path).primary(NAME)) == "example.test/team/tool"
    hub = configuration.read(tmp_path).primary(Reference.parse("busybox"))
    assert str(hub) == "registry-1.docker.io/library/busybox"
    found = read(
        tmp_path,
        """
        unqualified-search-registries = ["x"]
        [[registry]]
        location = "example.test"
        insecure = true
        [[registry]]
        prefix = "example.test/team"
        location = "other.test:5000/copy"
        [[registry.mirror]]
        location = "one.test"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "two.test/x"
        insecure = true
        pull-from-mirror = "tag-only"
        [[registry]]
        prefix = "*.blocked.test"
        blocked = true
        """,
    )
    tagged = found.endpoints(NAME)
    assert list(map(str, tagged)) == ["two.test/x/tool", "other.test:5000/copy/tool"]
    assert [each.insecure for each in tagged] == [True, False]
    assert str(found.endpoints(DIGEST)[0]) == "one.test/tool"
    assert found.primary(Reference.parse("example.test/teams/x")).insecure
    assert found.is_insecure("localhost:5000")
    assert not found.is_insecure("else.test")
    with pytest.raises(Forbidden, match=r"\*\.blocked\.test is blocked"):
        found.primary(Reference.parse("a.blocked.test:1/x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[registry]\n", "line 1"),
        ("[[registry]]\ninsecure = true", "neither prefix nor location"),
        ('[[registry]]\nlocation = "https://x"', "no scheme"),
        ('[[registry]]\nlocation = 1', "registry"),
        ('[[registry]]\nprefix = "*.x"\nlocation = "y"', "wildcard"),
    ],
)  # fmt: skip
def test_a_bad_registries_conf_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as refusal:
        read(tmp_path, text)
    assert configuration.FILE in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "spared", "through"),
    [
        ("https://r.test/v2/", "", "http://proxy:1"),
        ("http://r.test/v2/", "", None),
        ("https://r.test/", "r.test", None),
        ("https://a.r.test/", "x, .r.test", None),
        ("https://r.test:444/", "r.test:443", "http://proxy:1"),
        ("https://10.1.2.3/", "10.0.0.0/8", None),
        ("https://127.0.0.1/", "", None),
        ("https://localhost:5000/", "", None),
        ("https://r.test/", "*", None),
    ],
)
def test_proxies(url: str, spared: str, through: str | None) -> None:
    environment = {"HTTPS_PROXY": "proxy:1", "no_proxy": spared}
    assert proxy_for(URL(url), environment) == through


def test_what_is_said_of_a_proxy_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "socks5", "http:"):
        for port in ("3128", "x"):
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://ann:s%C3%A4cret@proxy.test:{port}")
            try:
                found = through(URL("https://r.test/v2/"))
            except HostError as error:
                assert "cret" not in repr(error) + str(error.__cause__)  # noqa: PT017 - it may go well
            else:
                assert (scheme, port) == ("http", "3128")
                assert found["proxy"] == URL("http://proxy.test:3128")
                known = base64.b64encode("ann:säcret".encode()).decode()
                assert found["proxy_headers"] == {"Authorization": f"Basic {known}"}


async def test_hosts_without_certificates_of_their_own_share_what_is_known(tmp_path: Path) -> None:
    web = Web(tmp_path)
    one = await web.tls("one.test", insecure=False)
    assert await web.tls("two.test", insecure=False) is one
    assert await web.tls("two.test", insecure=True) is not one
