"""References: read as distribution does, shown as Docker does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heft.errors import InvalidArgument
from heft.images.reference import Reference, id_prefix, is_digest

DIGEST = "sha256:" + "0123456789abcdef" * 4
HEX = DIGEST.removeprefix("sha256:")


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox:x", "docker.io/library/busybox:x", "busybox:x"),
        ("ann/box", "docker.io/ann/box", "ann/box"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/box", "localhost/box", "localhost/box"),
        ("localhost:5000/box:v1", "localhost:5000/box:v1", "localhost:5000/box:v1"),
        ("r.example/a/b/c:1.0_x-y", "r.example/a/b/c:1.0_x-y", "r.example/a/b/c:1.0_x-y"),
        ("Host/box", "Host/box", "Host/box"),
        ("[2001:db8::1]:5000/box", "[2001:db8::1]:5000/box", "[2001:db8::1]:5000/box"),
        (f"box@{DIGEST}", f"docker.io/library/box@{DIGEST}", f"box@{DIGEST}"),
        (f"box:1@{DIGEST}", f"docker.io/library/box:1@{DIGEST}", f"box:1@{DIGEST}"),
        ("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f", "a__b/c-d--e.f"),
        ("docker.io/r.example/a", "docker.io/r.example/a", "docker.io/r.example/a"),
        ("box:5000", "docker.io/library/box:5000", "box:5000"),
    ],
)
def test_names(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == full
    assert reference.familiar() == familiar
    assert Reference.parse(full) == Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid reference format"),
        (":x", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:-x", "invalid reference format"),
        ("a:" + "x" * 129, "invalid reference format"),
        ("a@sha256:12", "invalid reference format"),
        ("r.example:port/a", "invalid reference format"),
        ("http://r.example/a", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("ünicode", "invalid reference format"),
        ("Busybox", "repository name (library/Busybox) must be lowercase"),
        ("r.example/Box:Tag", "repository name (Box) must be lowercase"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a/" * 128 + "b", "repository name must not be more than 255 characters"),
        (f"a@md5:{'0' * 32}", "unsupported digest algorithm"),
        (f"a@sha256:{'0' * 40}", "invalid checksum digest length"),
    ],
)
def test_what_is_no_name(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        Reference.parse(text)
    assert says in raised.value.message


def test_default_tag() -> None:
    assert Reference.parse("a").with_default_tag().familiar() == "a:latest"
    assert Reference.parse("a:1").with_default_tag().tag == "1"
    assert Reference.parse(f"a@{DIGEST}").with_default_tag().tag == ""


def test_ids() -> None:
    assert id_prefix("sha256:abc") == id_prefix("abc") == "abc"
    assert id_prefix(HEX) == HEX
    assert id_prefix("abg") == id_prefix("ABC") == id_prefix("") == id_prefix("sha256:") == ""
    assert is_digest(DIGEST)
    assert not is_digest(HEX)
    assert not is_digest(DIGEST + "0")


part = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
domain = st.sampled_from(["docker.io", "localhost", "r.example", "r.example:5000", "Host"])


@given(domain, st.lists(part, min_size=1, max_size=3), st.one_of(st.just(""), tag), st.booleans())
def test_round_trip(host: str, parts: list[str], label: str, pinned: bool) -> None:
    path = "/".join(parts)
    if host == "docker.io" and len(parts) == 1:
        path = f"library/{path}"
    reference = Reference(host, path, label, DIGEST if pinned else "")
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference
