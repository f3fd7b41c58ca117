"""What a test of a dom0 that fails tells at once: the dom0 may be gone before the end of them."""

import subprocess

import pytest

STATE = "xl list -v; losetup; ip -br link; ps --ppid 2 -p 2 -N -o pid,etimes,args"
LOG = 12_000
"""Characters of the daemon's log."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Write down why, what the daemon has said, and what there is in the dom0."""
    report = yield
    if report.failed:
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        done = subprocess.run(["sh", "-c", STATE], capture_output=True, text=True, check=False)
        daemon = getattr(item, "funcargs", {}).get("xen_daemon")
        log = "" if daemon is None else daemon.log.read_text(errors="replace")[-LOG:]
        for text in (f"{call.when} failed:", report.longreprtext, log, done.stdout, done.stderr):
            terminal.write_line(text)
    return report
