"""Commands with a policy of the user's own, in plain Python: what is run, what is said of it, what never runs it."""

import json
import re
from pathlib import Path

import pytest

from tests.plain_commands import run_plain

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
      - {{zone: DMA, free: {{Movable: [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}}}}
      - {{zone: DMA32, free: {{Movable: [40, 10, 4, 2, 2, 5, 0, 0, 0, 0, 0]}}}}
workload:
  threads:
    - {{name: a, operations: 100, live: 60, requests: [{{gfp: GFP_ATOMIC | __GFP_NOWARN, order: 1}}]}}
"""
MINE = "{highatomic: ./mine.py}"
SWEEP = "sweep: {axes: [{key: machine.policies.highatomic, values: [builtin, ./mine.py]}]}\nresponses: [failed_share]\n"


def run(file: str, out: str = "out", *options: str) -> tuple[str, ...]:
    """The words of `kmsim run`."""
    return ("run", file, "--out", out, "--quiet", *options)


def write(folder: Path, source: str, policies: str = MINE, more: str = "", name: str = "a.yaml") -> None:
    """A config, and a policy's file."""
    (folder / "mine.py").write_text(source)
    (folder / name).write_text(CONFIG.format(policies=policies) + more)


def nr_reserved(folder: Path) -> int:
    """Pageblocks of a result that are highatomic at the end."""
    _, _, blocks = (folder / "proc/pagetypeinfo").read_text().partition("Number of blocks type")
    return sum(int(line.split()[-1]) for line in blocks.splitlines() if line.startswith("Node"))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, the policy's file, which notes where it runs, and the result `out`."""
    folder = tmp_path_factory.mktemp("policy")
    write(folder, "", "{highatomic: builtin}", name="builtin.yaml")
    write(folder, NONE + f"\n\nopen({str(folder / 'ran')!r}, 'a').close()\n")
    ended = run_plain(folder, run("a.yaml"), run("builtin.yaml", "builtin"))
    assert [(done.code, done.err) for done in ended] == [(DONE, "")] * 2
    (folder / "ran").unlink()
    return folder


@pytest.mark.slow
def test_a_file_takes_the_place_of_a_policy(result: Path) -> None:
    assert nr_reserved(result / "builtin") > 0 == nr_reserved(result / "out")
    assert "policies" not in (result / "builtin/provenance.json").read_text()
    assert "policies:" not in (result / "builtin/config.yaml").read_text()


@pytest.mark.slow
def test_a_result_has_the_file_s_hash_and_text(result: Path) -> None:
    facts = json.loads((result / "out/provenance.json").read_text())["policies"]["highatomic"]
    assert facts["file"] == str(result / "mine.py")
    assert facts["text"] == (result / "mine.py").read_text()
    config = (result / "out/config.yaml").read_text()
    assert f"sha256: {facts['sha256']}" in config
    assert f"policy highatomic: mine.py, SHA-256 {facts['sha256'][:16]}" in config


@pytest.mark.slow
def test_looking_at_a_result_never_runs_the_file(result: Path) -> None:
    looks = (("show", "out"), ("show", "out", "--json"), ("compare", "out", "builtin"), ("report", "out"))
    ended = run_plain(result, *looks)
    assert [(done.code, done.err) for done in ended] == [(DONE, "")] * len(looks)
    assert "machine.policies.highatomic" in ended[2].out
    assert not (result / "ran").exists()


@pytest.mark.slow
def test_a_result_s_config_runs_with_the_same_source_alone(result: Path) -> None:
    (again,) = run_plain(result, run("out/config.yaml", "again"))
    assert (again.code, again.err) == (DONE, "")
    (result / "mine.py").rename(result / "kept.py")
    gone, shown = run_plain(result, run("out/config.yaml", "again"), ("show", "out"))
    (result / "mine.py").write_text(NONE + "# edited\n")
    (edited,) = run_plain(result, run("out/config.yaml", "again"))
    (result / "kept.py").rename(result / "mine.py")
    assert (gone.code, gone.err.removeprefix(str(result))) == (
        INPUT,
        f"/mine.py:1: must be a file that exists, {NO_FILE}\n",
    )
    assert shown.code == DONE
    must = r"must be the file with the SHA-256 [0-9a-f]{16}\.\.\., with which this was made, found [0-9a-f]{16}\.\.\."
    assert edited.code == INPUT
    assert re.fullmatch(f"{re.escape(str(result))}/mine.py:1: {must}\n", edited.err)


NO_FILE = "found No such file or directory"


@pytest.mark.slow
def test_a_study_goes_on_with_what_has_not_changed(tmp_path: Path) -> None:
    write(tmp_path, NONE, "{}", SWEEP)

    def reused() -> list[int]:
        found = []
        for _ in range(2):
            (done,) = run_plain(tmp_path, run("a.yaml", "out", "--jobs", "1"))
            assert (done.code, done.err) == (DONE, "")
            found.append(int(json.loads((tmp_path / "out/timing.json").read_text())["reused"]))
        return found

    assert reused() == [0, 2]
    (tmp_path / "mine.py").write_text(NONE + "# edited\n")
    assert reused() == [1, 2]


PAGES = "def check_new_pages(m, ac, pfn, order):\n    "
RAISES = "must run without an error, found"
MISTAKES = {
    PAGES + "raise ValueError('no')": f"2: {RAISES} ValueError: no (study a, seed 1, at ",
    PAGES + "m.pages[1 << 40].order = 1": f"2: {RAISES} IndexError: index 1099511627776 is out of bounds",
    PAGES + "m.zones[0].nr_pages = 1": f"2: {RAISES} ValueError: no field of name nr_pages",
    PAGES + "m.zones[0].nr_free_pages += 1": "1: must leave memory whole, found AssertionError: NR_FREE_PAGES differs",
    PAGES + "check_new_pages(m, ac, pfn, order)": f"2: {RAISES} RecursionError: ",
    PAGES + "...\n1 // 0": "3: must run as Python, found ZeroDivisionError: ",
}


@pytest.mark.slow
def test_a_mistake_is_one_line_with_the_file_s(tmp_path: Path) -> None:
    commands = []
    for n, source in enumerate(MISTAKES):
        (tmp_path / str(n)).mkdir()
        write(tmp_path / str(n), source, "{new_pages: ./mine.py}", "run: {validate_every: 1}\n")
        commands.append(run(f"{n}/a.yaml", f"{n}/out"))
    ended = run_plain(tmp_path, *commands)
    for n, (done, said) in enumerate(zip(ended, MISTAKES.values(), strict=True)):
        assert (done.code, len(done.err.splitlines())) == (INPUT, 1)
        assert done.err.startswith(f"{tmp_path}/{n}/mine.py:{said}")
        assert not (tmp_path / str(n) / "out").exists()


@pytest.mark.slow
def test_a_mistake_in_one_arm_of_a_study_is_said_in_the_same_words(tmp_path: Path) -> None:
    wrong = HEAD + "\n\ndef may_reserve(m, ac, from_pcp):\n    return m.pages[1 << 40].order\n"
    write(tmp_path, wrong, "{}", SWEEP)
    for jobs in ("1", "2"):
        (done,) = run_plain(tmp_path, run("a.yaml", "out", "--jobs", jobs))
        assert (done.code, len(done.err.splitlines())) == (INPUT, 1)
        assert done.err.startswith(f"{tmp_path}/mine.py:5: {RAISES} IndexError: ")
