"""Docker's `config.json`, as people have it."""

import json
from pathlib import Path

import pytest

from heft.cli.docker_config import Config


def test_a_link_to_the_file_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written first lies beside the file itself, which may be on another file system."""
    kept, link = tmp_path / "kept/config.json", tmp_path / "docker/config.json"
    for path in (kept, link):
        path.parent.mkdir()
    kept.write_text(json.dumps({"auths": None, "detachKeys": "ctrl-a"}))
    link.symlink_to(kept)
    monkeypatch.setenv("DOCKER_CONFIG", str(link.parent))
    Config().put("example.test", "ann", "secret", "")
    assert link.is_symlink()
    assert list(link.parent.iterdir()) == [link]
    assert json.loads(kept.read_text())["detachKeys"] == "ctrl-a"
    assert Config().get("example.test") == {"username": "ann", "password": "secret"}
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Config().forget("example.test")
    assert Config().get("example.test") == {}
