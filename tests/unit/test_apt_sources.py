"""Which sources of a host kernels are fetched from. Nothing is fetched."""

from heft.guest.apt_sources import KEYRING, of_archive

STANZAS = """\
Types: deb deb-src
# a comment
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://deb.vendor.example/node
Suites: any
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
URIs: http://deb.debian.org/debian
Suites: sid
Components: main
Enabled: no
"""
LINES = """\
# deb http://deb.debian.org/debian sid main
deb http://ftp.example.org/pub/debian/ bookworm main non-free-firmware
deb-src http://ftp.example.org/pub/debian bookworm main
deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main
deb [signed-by=/etc/apt/keyrings/docker.asc] https://download.example/linux/debian bookworm stable
deb https://packages.example.com/apt stable main
"""


def test_the_archives_own_are_taken_with_its_keys():
    assert of_archive([], [STANZAS]) == (
        "Types: deb\n"
        "URIs: http://deb.debian.org/debian\n"
        "Suites: trixie trixie-updates\n"
        "Components: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def test_lines_are_read_too():
    assert of_archive([LINES], []) == (
        "Types: deb\n"
        "URIs: http://ftp.example.org/pub/debian/\n"
        "Suites: bookworm\n"
        "Components: main\n"
        f"Signed-By: {KEYRING}\n"
    )


def test_without_any_there_is_nothing():
    assert of_archive(["deb https://packages.example.com/apt stable main"], []) == ""
