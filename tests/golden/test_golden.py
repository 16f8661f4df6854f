"""Goldens: what small studies come to, bit for bit, in both modes; and that they reach all that there is.

`python -m pytest tests/golden --regen` stores what they come to now. A change of a golden is explained in the commit
that brings it.
"""

import re
from pathlib import Path

import pytest

from tests.golden.outcome import GOLDENS, MODES, NAMES, differences, numpy_version, outcome, store, stored
from tests.golden.reached import everything

CONSTRAINTS = Path(__file__).parents[2] / ".ci" / "constraints.txt"
REGEN = "python -m pytest tests/golden --regen"


def both_modes(name: str, folder: Path) -> dict[str, object]:
    """What a study comes to, the same in both modes, which together have reached what it has."""
    of_modes = {mode: outcome(name, mode, folder / mode) for mode in MODES}
    reached = sorted({what for facts in of_modes.values() for what in facts["reached"]})
    default, stepwise = ({**facts, "reached": reached} for facts in of_modes.values())
    assert differences(default, stepwise) == [], f"{name}: the modes differ (stored: default, found: stepwise)"
    return default


@pytest.mark.parametrize("name", NAMES)
def test_a_study_comes_to_its_golden_in_both_modes(name: str, tmp_path: Path, regen: bool) -> None:
    golden = stored(name)
    if regen:
        store(name, both_modes(name, tmp_path))
        return
    if golden["numpy"] != numpy_version():
        pytest.skip(f"made with numpy {golden['numpy']}, this is {numpy_version()}")
    found = differences(golden, both_modes(name, tmp_path))
    if found:
        lines = "\n  ".join(found)
        meant = f"If that is meant: {REGEN}, and say in the commit why it changes."
        pytest.fail(f"{name} comes to something else than its golden:\n  {lines}\n{meant}", pytrace=False)


def test_every_golden_is_of_a_study() -> None:
    assert sorted(path.stem for path in GOLDENS.glob("*.json")) == NAMES, f"{REGEN}, and remove those of no study"


def test_ci_installs_the_numpy_of_the_goldens() -> None:
    (pinned,) = re.findall(r"^numpy==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert {stored(name)["numpy"] for name in NAMES} == {pinned}
    assert 'export PIP_CONSTRAINT="$PWD/.ci/constraints.txt"' in (CONSTRAINTS.parent / "run").read_text()


def test_goldens_reach_everything() -> None:
    reached = {what for name in NAMES for what in stored(name)["reached"]}
    assert sorted(everything() - reached) == [], "no golden reaches these: a study in tests/golden/studies should"
