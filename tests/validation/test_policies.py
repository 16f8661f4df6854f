"""A replay asks the policies that a run asks: a file in place of one counts there, too."""

from pathlib import Path

import pytest

from kmsim.jit_policies import Policies
from kmsim.procfs.recorded import read
from kmsim.procfs.recorded_state import build_machine
from kmsim.validate import script
from kmsim.validate.report import Section
from tests.mm.copies import copied, copied_all
from tests.validation.test_recordings import X86

NAME = "script.mix_all"


def replayed(policies: Policies | None, monkeypatch: pytest.MonkeyPatch) -> list[Section]:
    """The script's sections, on a machine with these policies."""
    monkeypatch.setattr(script, "build_machine", lambda *args: build_machine(*args, policies=policies))
    return script.script_sections(read(X86), NAME)


@pytest.mark.slow
def test_copies_of_all_policies_replay_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = replayed(Policies(copied_all(tmp_path)), monkeypatch)
    assert sections == replayed(None, monkeypatch)
    assert all(section.agrees for section in sections)


@pytest.mark.slow
def test_another_policy_leaves_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = copied("pcp_tuned", tmp_path, lambda text: text.replace("alloc_factor += 1", "alloc_factor += 0"))
    rows, *_ = replayed(Policies({"pcp_tuned": slower}), monkeypatch)
    assert rows.name == NAME
    assert not rows.agrees
