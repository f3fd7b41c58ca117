"""What heavy machines run on: KVM if a guest boots on it, else translation, with the reason."""

from heft.errors import HostError, NoSpace
from heft.guest.kits import DEFAULT, Kit, Kits
from heft.weights.heavy import accelerators, facts
from heft.weights.heavy.accelerators import DEVICE, KVM, TCG, Accelerators, unusable
from heft.weights.heavy.templates import Templates
from tests.harness import agent, kit


async def test_only_a_guest_that_booted_proves_kvm(tmp_path, monkeypatch, clean_host):
    programs = agent.built()
    ready = await Kits(kit.KITS, programs / "heft-agent").ensure(DEFAULT, print)
    host = await facts.look(programs)
    record = tmp_path / "kvm.json"
    templates = Templates(tmp_path / "templates", host.version, host.tsc_khz)
    templates.start()
    try:
        choice = await Accelerators(record, host.version).choose(ready, templates)
    finally:
        templates.close()
    kept = list((tmp_path / "templates").iterdir())
    assert choice.why
    if reason := unusable(DEVICE):
        assert (choice.accelerator, choice.why) == (TCG, reason)
        assert not kept
        assert not record.exists()
        return
    assert choice.accelerator == (KVM if kept else TCG)
    monkeypatch.setattr(accelerators, "PROOF_SECONDS", 0.0)
    again = Accelerators(record, host.version)
    assert again.known() == choice
    assert await again.choose(ready, templates) == choice, "it is not tried twice"
    await again.collect({ready.fingerprint})
    assert Accelerators(record, host.version).known() == choice
    await again.collect(())
    assert again.known() is Accelerators(record, host.version).known() is None


async def test_without_the_device_machines_are_translated(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerators, "DEVICE", tmp_path / "kvm")
    found = Accelerators(tmp_path / "kvm.json", "any").known()
    assert found is not None
    assert (found.accelerator, "no such file" in found.why) == (TCG, True)


async def test_a_full_disk_proves_nothing(tmp_path, monkeypatch):
    ready = Kits(kit.KITS, agent.built() / "heft-agent").get(DEFAULT)
    assert isinstance(ready, Kit)
    fails: list[HostError] = [NoSpace("make a template: no space"), HostError("it hangs")]

    async def ensure(*_: object, **__: object) -> None:
        if fails:
            raise fails.pop(0)

    monkeypatch.setattr(accelerators, "unusable", lambda _: "")
    templates = Templates(tmp_path / "templates", "any", 0)
    monkeypatch.setattr(Templates, "ensure", ensure)
    record = tmp_path / "kvm.json"
    choosing = Accelerators(record, "any")
    full = await choosing.choose(ready, templates)
    assert (full.accelerator, "no room" in full.why) == (TCG, True)
    assert not record.exists()
    hung = await choosing.choose(ready, templates)
    assert (hung.accelerator, "it hangs" in hung.why) == (TCG, True)
    assert await choosing.choose(ready, templates) == hung, "that was a trial"
    assert Accelerators(record, "any").known() == hung
