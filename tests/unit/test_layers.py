"""What layers are called, and what the process that makes them says."""

import hashlib

import pytest

from heft.errors import HostError, InvalidArgument, NoSpace
from heft.images import verdict
from heft.images.layers import chain_ids


def test_chain_ids() -> None:
    """As the OCI image specification defines them."""
    low, high = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    joined = hashlib.sha256(f"{low} {high}".encode()).hexdigest()
    assert chain_ids([low, high]) == (low, f"sha256:{joined}")
    assert chain_ids([low, high, low])[:2] == chain_ids([low, high])
    assert chain_ids([]) == ()


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (b'{"error": "invalid", "message": "no"}', InvalidArgument, "cannot apply: no"),
        (b'{"error": "space", "message": "full"}', NoSpace, "cannot apply: full"),
        (b'{"error": "host", "message": "oops"}', HostError, "cannot apply: oops"),
        (b"", HostError, "was killed"),
        (b'{"resu', HostError, "was killed"),
    ],
)
def test_verdicts(text: bytes, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        verdict.read(text, "cannot apply")


def test_a_good_verdict() -> None:
    assert verdict.read(b'{"result": {"size": 5}}', "cannot apply") == {"size": 5}
