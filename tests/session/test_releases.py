"""What is said of a release of which not all was recorded: by commands, in provenance, and in a report."""

import json
from pathlib import Path

import pytest

from kmsim.config.releases import NOT_RECORDED
from tests.plain_commands import run_plain

CONFIG = """\
machine: {arch: x86-64, memory: 64MiB, cpus: 1, kernel_release: "5.4"}
workload: {threads: [{name: a, operations: 20, live: 10, requests: [{order: 0}]}]}
"""


@pytest.mark.slow
def test_what_was_not_recorded_is_said_wherever_somebody_may_look(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG)
    commands = (("check", "a.yaml"), ("run", "a.yaml", "--out", "out"), ("show", "out"), ("report", "out"))
    check, run, show, report = run_plain(tmp_path, *commands)
    assert [done.code for done in (check, run, show, report)] == [0] * 4
    notes = json.loads((tmp_path / "out" / "provenance.json").read_text())["notes"]
    page = (tmp_path / "out" / "report.html").read_text()
    said = [" ".join(text.split()) for text in (check.out, run.out, show.out, " ".join(notes))]
    for text in (*said, " ".join(page.replace("&#39;", "'").split())):
        assert "Linux 5.4 is simulated as 5.10: not recorded" in text
        assert "Linux 5.10, from its source, not recorded: " in text
        assert all(what in text for what in NOT_RECORDED["5.10"])
        assert "prices are the list's for every release" in text
    assert (tmp_path / "out" / "config.yaml").read_text().count("simulated as 5.10") == 1
