"""What heavy machines run on: KVM if a guest boots on it, else translation, with the reason."""

from heft.guest.kits import DEFAULT, Kits
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
