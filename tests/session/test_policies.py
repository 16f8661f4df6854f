"""Commands with a policy of the user's own, in plain Python: what is run, what is said of it, what never runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Done
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
DONE, INPUT = 0, 2
HEAD = "from kmsim.mm.highatomic import may_refill, reserve_highatomic_pageblock, unreserve_highatomic_pageblock\n"
NONE = HEAD + "\n\ndef may_reserve(m, ac, from_pcp):\n    return False\n"
# Free memory near the marks, in which a GFP_ATOMIC request reserves its pageblock.
CONFIG = """\
machine:
  arch: x86-64
  memory: 64MiB
  cpus: 1
  thp: {{built_in: false}}
  hugetlb: false
  pageblock_order: 5
  check_pages: true
  policies: {policies}
  state:
    free_lists:
      - {{zone: DMA, free: {{Movable: [0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0]}}}}
      - {{zone: DMA32, free: {{Movable: [64, 16, 8, 4, 2, 10, 0, 0, 0, 0, 0]}}}}
workload:
  threads:
    - {{name: a, operations: 60, live: 20, requests: [{{gfp: GFP_ATOMIC | __GFP_NOWARN, order: 1}}]}}
"""
SWEEP = "sweep: {axes: [{key: machine.policies.highatomic, values: [builtin, ./mine.py]}]}\nresponses: [failed_share]\n"


def kmsim(folder: Path, *arguments: str) -> Done:
    """Run `kmsim ARGUMENTS` in a process of its own that compiles nothing."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kmsim", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def write(folder: Path, source: str = NONE, policy: str = "highatomic", more: str = "") -> None:
    """A config, and the policy's file that it names."""
    (folder / "mine.py").write_text(source)
    (folder / "a.yaml").write_text(CONFIG.format(policies=f"{{{policy}: ./mine.py}}") + more)


def reserved(folder: Path) -> int:
    """The pages of a result's highatomic reserve at the end."""
    found = re.findall(r"nr_free_highatomic|HighAtomic\s+([\d ]+)$", (folder / "proc/pagetypeinfo").read_text(), re.M)
    return sum(int(number) for line in found for number in line.split())


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, the policy's file, which notes where it runs, and the result `out`."""
    folder = tmp_path_factory.mktemp("policy")
    write(folder, NONE + f"\n\nopen({str(folder / 'ran')!r}, 'a').close()\n")
    done = kmsim(folder, "run", "a.yaml", "--out", "out", "--quiet")
    assert (done.code, done.err) == (DONE, "")
    assert (folder / "ran").exists()
    (folder / "ran").unlink()
    return folder


def test_a_file_takes_the_place_of_a_policy(result: Path) -> None:
    (result / "builtin.yaml").write_text(CONFIG.format(policies="{highatomic: builtin}"))
    assert kmsim(result, "run", "builtin.yaml", "--out", "builtin", "--quiet").code == DONE
    assert reserved(result / "builtin") > 0 == reserved(result / "out")
    assert "policies" not in (result / "builtin/provenance.json").read_text()
    assert "policies:" not in (result / "builtin/config.yaml").read_text()


def test_a_result_has_the_file_s_hash_and_text(result: Path) -> None:
    facts = json.loads((result / "out/provenance.json").read_text())["policies"]["highatomic"]
    assert facts["file"] == str(result / "mine.py")
    assert facts["text"] == (result / "mine.py").read_text()
    config = (result / "out/config.yaml").read_text()
    assert f"sha256: {facts['sha256']}" in config
    assert f"policy highatomic: mine.py, SHA-256 {facts['sha256'][:16]}" in config


@pytest.mark.parametrize("command", [("show",), ("show", "--all"), ("compare",), ("report",)], ids=" ".join)
def test_looking_at_a_result_never_runs_the_file(command: tuple[str, ...], result: Path) -> None:
    name, *options = command
    folders = ["out", "out"] if name == "compare" else ["out"]
    done = kmsim(result, name, *folders, *options)
    assert (done.code, done.err) == (DONE, "")
    assert not (result / "ran").exists()


def test_a_result_can_be_looked_at_where_the_file_is_gone(result: Path) -> None:
    (result / "mine.py").rename(result / "away.py")
    try:
        assert kmsim(result, "show", "out").code == DONE
        assert kmsim(result, "run", "out/config.yaml", "--out", "again").code == INPUT
    finally:
        (result / "away.py").rename(result / "mine.py")


def test_a_result_s_config_runs_with_the_same_source_alone(result: Path) -> None:
    again = kmsim(result, "run", "out/config.yaml", "--out", "again", "--quiet")
    assert (again.code, again.err) == (DONE, "")
    before = (result / "mine.py").read_text()
    try:
        (result / "mine.py").write_text(before + "# edited\n")
        done = kmsim(result, "run", "out/config.yaml", "--out", "again")
        assert done.code == INPUT
        assert re.fullmatch(
            r"/.*/mine.py:1: must be the file with the SHA-256 [0-9a-f]{16}\.\.\., with which this was made, "
            r"found [0-9a-f]{16}\.\.\.\n",
            done.err,
        )
    finally:
        (result / "mine.py").write_text(before)


def test_a_study_goes_on_with_what_has_not_changed(tmp_path: Path) -> None:
    write(tmp_path, more=SWEEP)
    (tmp_path / "a.yaml").write_text(
        (tmp_path / "a.yaml").read_text().replace("policies: {highatomic: ./mine.py}", "policies: {}")
    )
    run = ("run", "a.yaml", "--out", "out", "--jobs", "1", "--quiet")

    def reused() -> int:
        done = kmsim(tmp_path, *run)
        assert (done.code, done.err) == (DONE, "")
        return int(json.loads((tmp_path / "out/timing.json").read_text())["reused"])

    assert [reused(), reused()] == [0, 2]
    (tmp_path / "mine.py").write_text(NONE + "# edited\n")
    assert [reused(), reused()] == [1, 2]
    (tmp_path / "mine.py").write_text("raise ValueError")
    assert kmsim(tmp_path, "show", "out").code == DONE


PAGES = "def check_new_pages(m, ac, pfn, order):\n    "
MISTAKES = {
    PAGES + "raise ValueError('no')": "mine.py:2: must run without an error, found ValueError: no",
    PAGES + "m.pages[1 << 40].order = 1": "mine.py:2: must run without an error, found IndexError: index 1099511627776",
    PAGES
    + "m.zones[0].nr_pages = 1": "mine.py:2: must run without an error, found ValueError: no field of name nr_pages",
    PAGES + "m.zones[0].nr_free_pages += 1": "mine.py:1: must leave memory whole, found AssertionError: NR_FREE_PAGES",
    PAGES + "check_new_pages(m, ac, pfn, order)": "mine.py:2: must run without an error, found RecursionError: ",
    PAGES + "...\n1 // 0": "mine.py:3: must run as Python, found ZeroDivisionError: ",
}


@pytest.mark.parametrize("source", MISTAKES, ids=lambda source: source.splitlines()[-1].strip())
def test_a_mistake_is_one_line_with_the_file_s(source: str, tmp_path: Path) -> None:
    write(tmp_path, source, "new_pages", "run: {validate_every: 1}\n")
    done = kmsim(tmp_path, "run", "a.yaml", "--out", "out", "--quiet")
    assert done.code == INPUT
    assert len(done.err.splitlines()) == 1
    assert MISTAKES[source] in done.err
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_one_arm_of_a_study_is_said_in_the_same_words(tmp_path: Path) -> None:
    write(tmp_path, HEAD + "\n\ndef may_reserve(m, ac, from_pcp):\n    return m.pages[-1 << 40].order\n", more=SWEEP)
    (tmp_path / "a.yaml").write_text(
        (tmp_path / "a.yaml").read_text().replace("policies: {highatomic: ./mine.py}", "policies: {}")
    )
    done = kmsim(tmp_path, "run", "a.yaml", "--out", "out", "--jobs", "1", "--quiet")
    assert done.code == INPUT
    assert f"{tmp_path}/mine.py:5: must run without an error, found IndexError: " in done.err
    assert "Traceback" not in done.err
