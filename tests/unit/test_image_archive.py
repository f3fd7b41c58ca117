"""Archives of images: Docker's and OCI's, and what is not quite either."""

import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import InvalidArgument
from heft.images import configs, platforms
from heft.images.archive import (
    BLOBS,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Archive,
    ArchivedImage,
    File,
)

HERE = platforms.host_architecture()


class Files:
    """An archive's files, in memory."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.files: dict[str, File] = {}
        self.links: dict[str, str] = {}

    def add(self, name: str, content: bytes | list[Any] | dict[str, Any]) -> File:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.contents.append(data)
        self.files[name] = File(len(self.contents) - 1, len(data), digest)
        return self.files[name]

    def blob(self, kind: str, content: bytes | dict[str, Any], **fields: Any) -> dict[str, Any]:
        file = self.add("new", content)
        del self.files["new"]
        self.files[BLOBS + file.digest.removeprefix("sha256:")] = file
        return {"mediaType": kind, "digest": file.digest, "size": file.size, **fields}

    def image(self, mark: bytes = b"", **fields: Any) -> dict[str, Any]:
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(configs.CONFIG_TYPE, b"{}" + mark),
            "layers": [self.blob(configs.LAYER_TYPE, b"layer" + mark)],
        }
        return self.blob(MANIFEST_TYPES[0], manifest, **fields)

    def images(self) -> list[ArchivedImage]:
        return Archive(self.files, self.links, lambda file: self.contents[file.number]).images()


def names(image: ArchivedImage) -> list[str]:
    return [name.familiar() for name in image.names]


def test_of_docker() -> None:
    files = Files()
    config = files.add("abc.json", b"{}")
    low, high = files.add("1/layer.tar", b"1"), files.add("2/layer.tar", b"2")
    item = {
        "Config": "abc.json",
        "RepoTags": ["box", "a/b:1"],
        "Layers": ["1/layer.tar", "2/layer.tar"],
    }
    files.add("manifest.json", [item, {**item, "RepoTags": None}])
    named, nameless = files.images()
    assert (named.config, named.layers) == (config, (low, high))
    assert names(named) == ["box:latest", "a/b:1"]
    assert names(nameless) == []
    files.add("manifest.json", [{**item, "RepoTags": ["a:-b"]}])
    with pytest.raises(InvalidArgument, match="name 'a:-b': invalid reference format"):
        files.images()


def test_layers_can_be_links() -> None:
    files = Files()
    files.add("c.json", b"{}")
    layer = files.add("deep/layer.tar", b"1")
    files.links = {"2/layer.tar": "1/layer.tar", "1/layer.tar": "deep/layer.tar"}
    files.add("manifest.json", [{"Config": "./c.json", "Layers": ["2/layer.tar"]}])
    assert files.images()[0].layers == (layer,)


def test_of_oci() -> None:
    files = Files()
    image = files.image(annotations={"org.opencontainers.image.ref.name": "r.example/box:1"})
    tagged = {**image, "annotations": {"io.containerd.image.name": "docker.io/library/box:2"}}
    files.add("index.json", {"schemaVersion": 2, "manifests": [image, tagged]})
    (found,) = files.images()
    assert names(found) == ["r.example/box:1", "box:2"]
    assert len(found.layers) == 1


def test_a_bare_tag_is_no_name() -> None:
    files = Files()
    image = files.image(annotations={"org.opencontainers.image.ref.name": "latest"})
    files.add("index.json", {"schemaVersion": 2, "manifests": [image]})
    assert names(files.images()[0]) == []


def test_of_several_platforms_this_hosts() -> None:
    files = Files()
    other = files.image(b"1", platform={"os": "linux", "architecture": "other"})
    ours = files.image(b"2", platform={"os": "linux", "architecture": HERE})
    proof = files.image(b"3", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    index = files.blob(INDEX_TYPES[0], {"schemaVersion": 2, "manifests": [other, ours, proof]})
    files.add("index.json", {"schemaVersion": 2, "manifests": [index, proof]})
    (found,) = files.images()
    assert files.contents[found.config.number] == b"{}2"


def test_a_size_that_is_a_lie() -> None:
    files = Files()
    files.add("index.json", {"schemaVersion": 2, "manifests": [files.image() | {"size": 7}]})
    with pytest.raises(InvalidArgument, match="where 7 are said"):
        files.images()


def test_none_for_this_platform() -> None:
    files = Files()
    two = [
        files.image(mark, platform={"os": "linux", "architecture": f"other{mark.hex()}"})
        for mark in (b"1", b"2")
    ]
    index = files.blob(INDEX_TYPES[0], {"schemaVersion": 2, "manifests": two})
    files.add("index.json", {"schemaVersion": 2, "manifests": [index]})
    with pytest.raises(InvalidArgument, match=f"no image for linux/{HERE}"):
        files.images()


def test_wrong_digest() -> None:
    files = Files()
    files.add("manifest.json", [])
    files.add(BLOBS + "0" * 64, b"something else")
    with pytest.raises(InvalidArgument, match="has the digest sha256:"):
        files.images()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([{"Config": "c.json", "Layers": []}], "c.json is missing"),
        ([{"Config": "../../etc/passwd"}], "../../etc/passwd is missing"),
        ([{"Config": "loop"}], "loop is missing"),
        ([{}], "invalid manifest.json"),
        ({"Config": 1}, "invalid manifest.json"),
        (b"no json", "invalid manifest.json"),
    ],
)
def test_malformed(content: Any, says: str) -> None:
    files = Files()
    files.links = {"loop": "loop"}
    files.add("manifest.json", content)
    with pytest.raises(InvalidArgument) as raised:
        files.images()
    assert says in raised.value.message


def test_no_archive() -> None:
    files = Files()
    files.add("etc/passwd", b"")
    with pytest.raises(InvalidArgument, match=r"neither manifest\.json nor index\.json"):
        files.images()


def test_an_index_that_goes_ever_deeper() -> None:
    files = Files()
    inner = files.image()
    for _ in range(10):
        inner = files.blob(INDEX_TYPES[0], {"schemaVersion": 2, "manifests": [inner]})
    files.add("index.json", {"schemaVersion": 2, "manifests": [inner]})
    with pytest.raises(InvalidArgument, match="media type"):
        files.images()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Config", "Layers", "RepoTags", "manifests", "digest", "mediaType", "size"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["manifest.json", "index.json"]), json_values)
def test_any_json_is_an_archive_or_an_error(name: str, value: Any) -> None:
    files = Files()
    files.add(name, json.dumps(value).encode())
    with contextlib.suppress(InvalidArgument):
        files.images()
