"""Goldens with every policy replaced by a copy of its file from outside of the package: all as before."""

from pathlib import Path

import pytest

from kmsim.jit_policies import Policies
from kmsim.sim.run import assembly
from tests.golden.outcome import differences, numpy_version, outcome, stored
from tests.mm.test_policies import POLICIES, copied

# Between them they ask every policy, the newest kernel's and those of Linux 6.0, on booted and on recorded machines.
STUDIES = ("pages", "buddyinfo", "recorded")


@pytest.mark.slow
def test_goldens_are_the_same_with_copies_of_all_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = Policies({policy: copied(policy, tmp_path) for policy in POLICIES})
    own = assembly.machine_of
    monkeypatch.setattr(assembly, "machine_of", lambda config, seed, _: own(config, seed, policies))
    for name in STUDIES:
        golden = stored(name)
        if golden["numpy"] != numpy_version():
            pytest.skip(f"made with numpy {golden['numpy']}, this is {numpy_version()}")
        found = outcome(name, "default", tmp_path)
        assert differences(golden | {"reached": []}, found | {"reached": []}) == []
