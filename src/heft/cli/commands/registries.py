"""`heft pull`, `push`, `login`, `logout`, `search`."""

from __future__ import annotations

import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.docker_config import HUB, Config, header, key_of, server_of
from heft.cli.failures import Failure
from heft.cli.filters import encoded, filter_flag
from heft.cli.flags import number, switch, word
from heft.cli.progress import Progress, follow
from heft.cli.pulling import full, pull, split
from heft.cli.tables import FORMAT_HELP, Listing
from heft.cli.terminal import STDIN, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.command import Invocation

SEARCH_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
}
DESCRIPTION_WIDTH = 45


def pull_image(call: Invocation) -> int:
    """Pull an image and print its name in full."""
    flags, (reference,) = call.flags, call.arguments
    quiet, every = flags.on("quiet"), flags.on("all-tags")
    name, tag = split(reference)
    if every:
        if name != reference:
            raise Failure("tag can't be used with --all-tags/-a")
        tag = ""
    elif not quiet and name == reference:
        print(f"Using default tag: {tag}", flush=True)
    progress = Progress(sys.stdout, quiet=quiet)
    for line in pull(call.client, name, tag, flags.text("platform"), progress):
        if not quiet:
            print(line)
    print(full(name, tag) if tag else full(name, "all").removesuffix(":all"))
    return 0


def push(call: Invocation) -> int:
    """Push an image, or all names of it in a repository."""
    flags, (reference,) = call.flags, call.arguments
    name, tag = split(reference)
    if flags.on("all-tags"):
        if name != reference:
            raise Failure("tag can't be used with --all-tags/-a")
        tag = ""
    if "@" in reference:
        raise Failure("cannot push a digest reference")
    quiet = flags.on("quiet")
    # Docker's API wants the header, be it of nobody.
    headers = header(server_of(name)) or {"X-Registry-Auth": "e30="}
    asked = {"tag": tag, "platform": _platform(flags.text("platform"))}
    answer = call.client.open("POST", path("images", name, "push"), asked, headers=headers)
    said = follow(answer.lines(), Progress(sys.stdout, quiet=quiet), lambda _: None)
    if quiet:
        print(full(name, tag) if tag else name)
    else:
        for line in said:
            print(line)
    return 0


def _platform(text: str) -> str:
    """Write `os/architecture[/variant]` as the API has it; nothing stays nothing."""
    if not text:
        return ""
    import json

    parts = text.split("/", 2)
    if len(parts) < 2:
        raise Failure(f"invalid platform {text}: write os/architecture[/variant]")
    return json.dumps(dict(zip(("os", "architecture", "variant"), parts, strict=False)))


def login(call: Invocation) -> int:
    """Try user and password at a registry, and keep them."""
    flags = call.flags
    server = key_of(call.arguments[0]) if call.arguments else HUB
    user, password = flags.text("username"), flags.text("password")
    if flags.on("password-stdin"):
        if password:
            raise Failure("--password and --password-stdin are mutually exclusive")
        if not user:
            raise Failure("Must provide --username with --password-stdin")
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif password:
        sys.stderr.write(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
        )
    config = Config()
    if not password and not user and (known := config.get(server)):
        body = known
        user, password = known.get("username", ""), known.get("password", "")
    else:
        user, password = _asked(user, password)
        body = {"username": user, "password": password}
    answer = call.client.post("/auth", {**body, "serveraddress": server})
    token = answer.get("IdentityToken", "") or body.get("identitytoken", "")
    if not config.put(server, user, password, token):
        sys.stderr.write(
            f"\nWARNING! Your credentials are stored unencrypted in '{config.path}'.\n"
            "Configure a credential helper to remove this warning.\n\n"
        )
    print(answer["Status"])
    return 0


def _asked(user: str, password: str) -> tuple[str, str]:
    if user and password:
        return user, password
    if not is_terminal(STDIN):
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    from getpass import getpass

    try:
        user = user or input("Username: ").strip()
        password = password or getpass("Password: ")
    except EOFError:
        password = ""
    if not user or not password:
        raise Failure("username and password are needed")
    return user, password


def logout(call: Invocation) -> int:
    """Forget user and password of a registry."""
    server = key_of(call.arguments[0]) if call.arguments else HUB
    if Config().forget(server):
        print(f"Removing login credentials for {server}")
    else:
        print(f"Not logged in to {server}")
    return 0


def search(call: Invocation) -> int:
    """List the repositories that an index has for a word."""
    flags, (term,) = call.flags, call.arguments
    wanted = flags.list("filter")
    limit = flags.number("limit")
    parameters = {"term": term, "limit": limit, "filters": encoded(wanted) if wanted else ""}
    headers = header(server_of(term))
    answer = call.client.begin("GET", "/images/search", parameters, headers=headers)
    rows = []
    for each in answer.value():
        about = each["description"].replace("\n", " ").replace("\r", " ")
        if not flags.on("no-trunc") and len(about) > DESCRIPTION_WIDTH:
            about = about[: DESCRIPTION_WIDTH - 1] + "…"
        rows.append(
            {
                "Name": each["name"],
                "Description": about,
                "StarCount": str(each["star_count"]),
                "IsOfficial": "[OK]" if each["is_official"] else "",
            }
        )
    Listing(SEARCH_HEADERS, tuple(SEARCH_HEADERS)).show(rows, flags.text("format"))
    return 0


PULL = Command(
    pull_image,
    takes="NAME[:TAG|@DIGEST]",
    flags=(
        switch("all-tags", "Download all tagged images in the repository", "a"),
        word("platform", "Set platform if server is multi-platform capable"),
        switch("quiet", "Suppress verbose output", "q"),
    ),
    least=1,
    most=1,
)
PUSH = Command(
    push,
    takes="NAME[:TAG]",
    flags=(
        switch("all-tags", "Push all tags of an image to the repository", "a"),
        word("platform", "Push the image of this platform only (linux/arm64), or nothing"),
        switch("quiet", "Suppress verbose output", "q"),
    ),
    least=1,
    most=1,
)
LOGIN = Command(
    login,
    takes="[SERVER]",
    flags=(
        word("password", "Password or Personal Access Token (PAT)", "p"),
        switch("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
        word("username", "Username", "u"),
    ),
    most=1,
)
LOGOUT = Command(logout, takes="[SERVER]", most=1)
SEARCH = Command(
    search,
    takes="TERM",
    flags=(
        filter_flag("Filter output based on conditions provided"),
        word("format", FORMAT_HELP),
        number("limit", "Max number of search results", default=25),
        switch("no-trunc", "Don't truncate output"),
    ),
    least=1,
    most=1,
)
