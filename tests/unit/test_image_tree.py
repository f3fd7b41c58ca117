"""`heft images --tree`: what images have in common, drawn."""

from typing import Any

from heft.cli.image_tree import draw


def image(mark: str, size: int, *names: str) -> dict[str, Any]:
    return {"Id": f"sha256:{mark * 64}", "RepoTags": list(names), "Size": size}


def layers(text: str) -> list[dict[str, Any]]:
    """Give the layers that letters stand for; one of a capital letter has 5 MB, others 1 MB."""
    return [
        {"chain": text[:end], "size": 5_000_000 if text[end - 1].isupper() else 1_000_000}
        for end in range(1, len(text) + 1)
    ]


def test_shared_layers_are_drawn_once() -> None:
    images = [
        image("a", 8_000_000, "tool:1", "tool:latest"),
        image("b", 7_000_000, "registry.example:5000/team/tool:2"),
        image("c", 5_000_000, "base:1"),
        image("d", 5_000_000),
        image("e", 3_000_000, "x:1"),
        image("f", 3_000_000, "x:2"),
        image("0", 0, "empty:1"),
        image("9", 6_000_000, "disk:1"),
    ]
    ways = {"a": "Babc", "b": "Bab", "c": "B", "d": "B", "e": "klm", "f": "kln", "0": "", "9": ""}
    known = {each["Id"]: layers(ways[each["Id"][7]]) for each in images}
    drawn = draw(images, known, whole=False)
    width = drawn.index("IMAGE ID")
    lines = [(line[:width].rstrip(), line.split()[-2:]) for line in drawn.splitlines()]
    assert [line for line, _ in lines] == [
        "IMAGE",
        "disk:1",
        "empty:1",
        "base:1",
        "<none>",
        "└─ registry.example:5000/team/tool:2",
        "   └─ tool:1, tool:latest",
        "2 shared layers",
        "├─ x:1",
        "└─ x:2",
    ]
    rows = {line.strip("├└─ "): sizes for line, sizes in lines}
    assert rows["base:1"] == ["5MB", "5MB"]
    assert rows["disk:1"] == ["6MB", "6MB"]
    assert rows["empty:1"] == ["0B", "0B"]
    assert rows["<none>"] == ["5MB", "0B"]
    assert rows["registry.example:5000/team/tool:2"] == ["7MB", "2MB"]
    assert rows["2 shared layers"][-1] == "2MB"
    assert "sha256:" + "a" * 64 in draw(images, known, whole=True)
