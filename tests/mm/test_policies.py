"""Policies: the table of kernels, and files from outside of the package in place of the package's."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim.jit import entry
from kmsim.jit_policies import Policies, PolicyError, verbs_of
from kmsim.jit_policy_error import blamed
from kmsim.jit_policy_source import verbs
from kmsim.mm import kernels
from kmsim.mm.kernels import KERNELS, NEWEST, POLICIES, Kernel, kernel_of
from kmsim.mm.mmzone import Machine
from kmsim.mm.new_pages import check_new_pages
from kmsim.mm.params import Params
from kmsim.mm.pcp import note_alloc
from tests.plain_commands import said_by

from . import scenario
from .copies import MM, all_verbs, copied, copied_all
from .machines import plain_machine

ROOT = Path(__file__).parents[2]


def table() -> dict[str, tuple[str, ...]]:
    """The policies that the head of `mm.kernels` names, each with its verbs."""
    rows = re.findall(r"^    (\w+)  +((?:\w+, )*\w+|the same)  +", kernels.__doc__ or "", re.MULTILINE)
    found: dict[str, tuple[str, ...]] = {}
    for name, names in rows[1:]:
        found[name] = tuple(names.split(", ")) if names != "the same" else found["pcp_tuned"]
    return found


@entry
def look(m: Machine, ac: int, pfn: int, order: int) -> None:
    """The policy's verb, for Python callers."""
    check_new_pages(m, ac, pfn, order)


@entry
def note(m: Machine, p: int) -> None:
    """A verb of the policy that the machine's parameters choose, for Python callers."""
    note_alloc(m, p)


# ---- the table


def test_the_table_names_every_policy_with_its_verbs() -> None:
    assert sorted(table()) == sorted(POLICIES)
    assert {policy: verbs_of(policy) for policy in POLICIES} == table()
    marked = {path.stem for path in MM.glob("*.py") if "\n@verb\n" in path.read_text()}
    assert marked == set(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_found_whatever_was_imported_before(policy: str, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kmsim.jit_policies import Policies\n"
        "print(Policies({sys.argv[1]: Path(sys.argv[2])}).name)\n"
    )
    command = [sys.executable, "-c", script, policy, str(copied(policy, tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{policy}=")


def taken_from_policies(source: str) -> set[tuple[str, str]]:
    """What a file takes from policies' files: (policy, name)."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    of_mm = [alias for node in imports if node.module == "kmsim.mm" for alias in node.names]
    whole = {alias.asname or alias.name: alias.name for alias in of_mm}
    found = {
        (whole[node.value.id], node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole
    }
    found |= {(str(node.module).removeprefix("kmsim.mm."), alias.name) for node in imports for alias in node.names}
    return {(policy, name) for policy, name in found if policy in POLICIES}


def test_from_a_policy_s_file_nothing_but_verbs_is_taken() -> None:
    taken = {path.name: taken_from_policies(path.read_text()) for path in MM.glob("*.py")}
    assert {policy for names in taken.values() for policy, _ in names} == set(POLICIES)
    for name, names in taken.items():
        assert all(verb in verbs_of(policy) for policy, verb in names), (name, names)


def test_a_row_says_parameters_of_a_machine() -> None:
    assert set(Kernel._fields) <= set(Params._fields)


@pytest.mark.parametrize("release", ["6.12", "6.12.1", "6.12.117-lab"])
def test_a_release_has_the_row_of_its_first_two_numbers(release: str) -> None:
    assert kernel_of(release) is KERNELS["6.12"] is NEWEST


@pytest.mark.parametrize("release", ["6.11", "6.120", "6", "612", "5.4", "unknown", ""])
def test_a_release_that_is_not_built_in_has_none(release: str) -> None:
    assert kernel_of(release) is None


# ---- files in place of the package's


def test_a_file_takes_the_place_of_a_verb_on_one_machine_alone(tmp_path: Path) -> None:
    twice = copied("new_pages", tmp_path, lambda text: text.replace("+= 1 << order", "+= 2 << order"))
    plain, other = plain_machine(), plain_machine()._replace(policies=Policies({"new_pages": twice}))
    for m in (plain, other):
        look(m, 0, 512, 3)
    assert [int(m.work[0].pages_checked) for m in (plain, other)] == [8, 16]


def test_a_verb_may_be_a_plain_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def check_new_pages(m, ac, pfn, order):\n    m.work[0].pages_checked += 100\n")
    m = plain_machine()._replace(policies=Policies({"new_pages": file}))
    look(m, 0, 512, 3)
    assert m.work[0].pages_checked == 100


def test_only_the_policy_that_is_chosen_asks_the_file(tmp_path: Path) -> None:
    thrice = copied("pcp_fixed", tmp_path, lambda text: text.replace("free_factor >>= 1", "free_factor *= 3"))
    policies = Policies({"pcp_fixed": thrice})
    fixed = plain_machine(auto_tune=False)._replace(policies=policies)
    tuned = plain_machine()._replace(policies=policies)
    for m in (fixed, tuned):
        m.pcps[0].free_factor = m.pcps[0].free_count = 4
        note(m, 0)
    assert (fixed.pcps[0].free_factor, fixed.pcps[0].free_count) == (12, 4)
    assert (tuned.pcps[0].free_factor, tuned.pcps[0].free_count) == (4, 2)


def test_the_same_sources_share_what_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one, same = (Policies({"new_pages": copied("new_pages", folder)}) for folder in (tmp_path, tmp_path / "b"))
    other = Policies({"new_pages": copied("new_pages", tmp_path, lambda text: text + "# changed\n")})
    assert one.name == same.name != other.name


@pytest.mark.slow
def test_copies_of_every_policy_decide_the_same_in_plain_python(tmp_path: Path) -> None:
    """On a machine of each release; and each verb of each copy is asked."""
    copies = [str(path) for path in copied_all(tmp_path).values()]
    found = said_by("tests.mm.scenario", *copies)
    assert found["played"] == json.loads(json.dumps(scenario.play_all()))
    assert set(found["asked"]) == all_verbs()


@pytest.mark.slow
def test_copies_of_all_policies_decide_the_same_compiled(tmp_path: Path) -> None:
    assert scenario.play_all(Policies(copied_all(tmp_path))) == scenario.play_all()


@pytest.mark.slow
def test_the_scenario_gives_back_what_was_reserved() -> None:
    assert any(any(played["given_back"]) for played in scenario.play_all().values())


# ---- files that cannot


CHECK = "def check_new_pages(m, ac, pfn, order):\n    "


@pytest.mark.parametrize(
    ("policy", "text", "why"),
    [
        ("buddy", "", f"1: must be in place of one of {', '.join(POLICIES)}, found buddy"),
        ("new_pages", None, "1: must be a file that exists, found No such file or directory"),
        ("new_pages", "\ndef f(:", "2: must be Python, found invalid syntax"),
        ("new_pages", "x = 1\nreturn x", "2: must be Python, found 'return' outside function"),
        ("new_pages", "\0", "1: must be Python, found source code string cannot contain null bytes"),
        ("new_pages", "\nimport random\n" + CHECK + "...", "2: must import nothing but kmsim.mm, kmsim.jit, "),
        (
            "new_pages",
            "\nimport kmsim.mm.nothing\n" + CHECK + "...",
            "2: must run as Python, found ModuleNotFoundError",
        ),
        ("new_pages", CHECK + "...\n1 // 0", "3: must run as Python, found ZeroDivisionError: "),
        ("new_pages", CHECK + "...\nraise SystemExit(3)", "3: must run as Python, found SystemExit: 3"),
        (
            "new_pages",
            "check_new_pages = 1",
            "1: must have a function check_new_pages(m, ac, pfn, order), or import it",
        ),
        ("new_pages", CHECK + "...\ncheck_new_pages = 1", "1: check_new_pages: must be a function, found int"),
        (
            "new_pages",
            "def check_new_pages(m): ...",
            "1: check_new_pages: must have the parameters (m, ac, pfn, order), found (m)",
        ),
    ],
)
def test_a_file_that_cannot_take_the_place_is_refused(policy: str, text: str | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PolicyError, match=re.escape(f"{file}:{why}")):
        Policies({policy: file})


WRONG = {
    "m.pages[pfn + (1 << 40)].order = 1": "2: IndexError: index is out of bounds",
    "m.pages[-1].order = 1": "2: IndexError: index is out of bounds",
    "m.zones[0].watermark[order + 9] = 1": "2: IndexError: index is out of bounds",
    "m.work[0].pages_checked //= order - 3": "2: ZeroDivisionError: integer division by zero",
    "raise ValueError('no')": "2: ValueError: no",
    "m.work[0].nothing += 1": "2: KeyError: no field 'nothing'",
    "m.works[0].pages_checked += 1": "2: TypingError: Unknown attribute 'works' of type Machine",
    "m.work[0].pages_checked = nothing": "1: TypingError: ",
    "m.work[0].pages_checked = len(order)": "2: TypingError: No implementation of function",
    "m.work[0].pages_checked = 'a'": "2: TypingError: Cannot cast",
    "list_first(m, pfn + (1 << 40))": "1: IndexError: index is out of bounds (kmsim/mm/list.py:",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_goes_wrong_in_a_file_is_said_with_its_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def check_new_pages(m, ac, pfn, order):\n    {line}\nfrom kmsim.mm.list import list_first\n")
    policies = Policies({"new_pages": file})
    m = plain_machine()._replace(policies=policies)
    with pytest.raises(Exception) as raised:  # noqa: PT011 whatever the compiler raises
        look(m, 0, 512, 3)
    found = blamed(policies, raised.value)
    where, _, words = WRONG[line].partition(": ")
    said = found.mistake.said(str(found.file))
    assert said.startswith(f"{file}:{where}: must run without an error, found {words}")
    assert len(said.splitlines()) == 1


def test_a_document_lists_the_verbs_with_their_parameters() -> None:
    text = (ROOT / "docs" / "policies.md").read_text()
    listed: dict[str, dict[str, tuple[str, ...]]] = {}
    of = ""
    for policy, name, parameters in re.findall(r"^\| (?:`(\w+)` )?\| `(\w+)\(([\w, ]+)\)` \|", text, re.MULTILINE):
        of = policy or of
        listed.setdefault(of, {})[name] = tuple(parameters.split(", "))
    assert listed == {policy: verbs(policy) for policy in POLICIES}


@pytest.mark.slow
def test_what_is_kept_on_disk_is_told_apart_by_source(tmp_path: Path) -> None:
    """A second process loads what the first has compiled, and another source is compiled anew."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kmsim.jit_policies import Policies\n"
        "from tests.mm.machines import plain_machine\n"
        "from tests.mm.test_policies import look\n"
        "m = plain_machine()._replace(policies=Policies({'new_pages': Path(sys.argv[1])}))\n"
        "look(m, 0, 512, 3)\n"
        "print(m.work[0].pages_checked, sum(look.stats.cache_hits.values()))\n"
    )
    text = "def check_new_pages(m, ac, pfn, order):\n    m.work[0].pages_checked += {}\n"
    file = tmp_path / "mine.py"
    seen = []
    for pages in (f"{os.getpid()}1", f"{os.getpid()}1", f"{os.getpid()}2"):
        file.write_text(text.format(pages))
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seen.append(done.stdout.split())
    assert seen == [[f"{os.getpid()}1", "0"], [f"{os.getpid()}1", "1"], [f"{os.getpid()}2", "0"]]
