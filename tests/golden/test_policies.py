"""Goldens with every policy replaced by a copy of its file from outside of the package: all as before.

Three studies run compiled. Those of older kernels and the one that reclaims, which ask the rest, run as plain Python,
which takes less time than to compile them; there it is noted what is asked.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kmsim.jit_policies import Policies
from kmsim.sim.run import assembly
from tests.golden.outcome import differences, numpy_version, outcome, stored
from tests.mm.copies import Asked, all_verbs, copied_all
from tests.plain_commands import said_by

COMPILED = ("pages", "buddyinfo", "recorded")
PLAIN = ("pages", "linux_5_10", "linux_6_1", "reclaim")
# No golden lasts until vmstat's worker trims the lists; `tests.mm.scenario` asks these.
NOT_ASKED = {f"{policy}.decay_pcp_high" for policy in ("pcp_fixed", "pcp_order0", "pcp_tuned")}


def differences_with(policies: Policies, names: Sequence[str], folder: Path) -> list[str]:
    """What studies come to with these files in place of the package's, where that is not their goldens."""
    with pytest.MonkeyPatch.context() as patch:
        own = assembly.machine_of
        patch.setattr(assembly, "machine_of", lambda config, seed, _: own(config, seed, policies))
        found = {name: outcome(name, "default", folder) for name in names}
    return [
        f"{name}: {line}"
        for name in names
        for line in differences(stored(name) | {"reached": []}, found[name] | {"reached": []})
    ]


def skip_with_another_numpy(names: Sequence[str]) -> None:
    """Skip the test where the goldens were made with another numpy."""
    for name in names:
        if stored(name)["numpy"] != numpy_version():
            pytest.skip(f"made with numpy {stored(name)['numpy']}, this is {numpy_version()}")


@pytest.mark.slow
def test_goldens_are_the_same_with_copies_of_all_policies(tmp_path: Path) -> None:
    skip_with_another_numpy(COMPILED)
    assert differences_with(Policies(copied_all(tmp_path)), COMPILED, tmp_path) == []


@pytest.mark.slow
def test_goldens_are_the_same_in_plain_python_and_ask_all_policies(tmp_path: Path) -> None:
    skip_with_another_numpy(PLAIN)
    found = said_by("tests.golden.test_policies", str(tmp_path))
    assert found["differences"] == []
    assert set(found["asked"]) == all_verbs() - NOT_ASKED


if __name__ == "__main__":
    into = Path(sys.argv[1])
    noted = Asked(copied_all(into))
    print(json.dumps({"differences": differences_with(noted, PLAIN, into), "asked": sorted(noted.asked)}))
