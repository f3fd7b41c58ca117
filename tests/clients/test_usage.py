"""`system df`: what takes up space, and how much."""

from tests.harness.client import Client
from tests.harness.images import BUSYBOX

WRITE = "dd if=/dev/zero of=/v/file bs=1000 count=5000 2>/dev/null; echo 12345 > /here; sleep 1000"


def lines(client: Client, *flags: str) -> list[list[str]]:
    return [line.split() for line in client("system", "df", *flags).stdout.splitlines()]


def test_everything_and_in_detail(client: Client) -> None:
    mounts = ("-v", "full:/v", "-v", "full:/again")
    client("run", "-d", "--name", "box", *mounts, BUSYBOX, "sh", "-c", WRITE)
    client("volume", "create", "empty")
    client("exec", "box", "sh", "-c", "until [ -e /here ]; do :; done")
    rows = {line[0]: line for line in lines(client)}
    assert list(rows)[:4] == ["TYPE", "Images", "Containers", "Local"]
    assert rows["Local"] == ["Local", "Volumes", "2", "1", "5MB", "0B", "(0%)"]
    assert rows["Containers"][:4] == ["Containers", "1", "1", "6B"]
    details = lines(client, "--verbose")
    assert ["full", "1", "5MB"] in details
    assert ["empty", "0", "0B"] in details
    (machine,) = [line for line in details if line and line[-1] == "box"]
    assert "6B" in machine
    headers = [" ".join(line) for line in details]
    for title in ("Images", "Containers", "Local Volumes"):
        assert f"{title} space usage:" in headers
    client("rm", "-f", "box")
    freed = client("volume", "prune", "--all", "--force").stdout
    assert "Total reclaimed space: 5MB" in freed
