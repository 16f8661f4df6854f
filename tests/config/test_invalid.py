"""Every rule that can be broken has a file (or a case) that breaks it, and its exact message.

``invalid/*.yaml``: ``# expect:`` lines at the head of a file are the whole message, ``# set:`` lines
are overrides. They are read as studies, those with ``# by: load`` as studies of one run. What no small
file can be (a directory, 100 MB in one line) is built here. The last test shows that these together
reach every message that the code can give.
"""

import ast
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim.config import ConfigError, from_mapping, load, load_design, loads
from kmsim.config.errors import RULES
from kmsim.mm import gfp
from kmsim.session.explain import explain_and_show
from kmsim.study.walk_requests import CALLS, requests_of
from kmsim.study.yielded import check_yielded
from tests.patience import little_work

INVALID = Path(__file__).parent / "invalid"
REPORT = Path(__file__).parents[1] / "procfs" / "reports" / "order5-6.7.txt"
FILES = sorted(path.name for path in INVALID.glob("*.yaml"))
VALID_TEXT = "machine: x86-laptop\nworkload: {threads: [{name: a}]}\n"
VALID = {"machine": "x86-laptop", "workload": {"threads": [{"name": "a"}]}}


def head(name: str, word: str) -> list[str]:
    text = (INVALID / name).read_text(encoding="utf-8")
    return re.findall(rf"^# {word}: (.*)$", text, re.MULTILINE)


def error_of_file(name: str, monkeypatch: pytest.MonkeyPatch) -> ConfigError:
    monkeypatch.chdir(INVALID)
    read = load if head(name, "by") == ["load"] else read_study
    with pytest.raises(ConfigError) as refused:
        read(name, sets=head(name, "set"))
    return refused.value


def read_study(name: str, sets: list[str]) -> None:
    check_yielded(load_design(name, sets=sets))


@pytest.mark.parametrize("name", FILES)
def test_an_invalid_file_says_exactly_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = head(name, "expect")
    assert expected, "the file must say what it expects"
    assert str(error_of_file(name, monkeypatch)).splitlines() == expected


OF_DESIGNS = {"response_yielded.yaml", "response_lacking.yaml", "read_never_freed.yaml", "replications_seed.yaml"}
OF_ONE_RUN = [
    name for name in FILES if name not in OF_DESIGNS and "\nsweep:" not in (INVALID / name).read_text("utf-8")
]


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_a_study_of_one_run_is_refused_in_the_same_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(INVALID)
    with pytest.raises(ConfigError) as refused:
        load(name, sets=head(name, "set"))
    assert str(refused.value).splitlines() == head(name, "expect")


def test_a_design_of_10_to_the_12_points_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with little_work():
        refused = str(error_of_file("points_1e12.yaml", monkeypatch))
    assert "1,000,000,000,000 points" in refused


def missing(_: Path) -> None:
    load("nosuch.yaml")


def a_directory(folder: Path) -> None:
    folder.joinpath("study.yaml").mkdir()
    load("study.yaml")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "study.yaml")
    load("study.yaml")


def an_empty_file(folder: Path) -> None:
    folder.joinpath("study.yaml").write_bytes(b"")
    load("study.yaml")


def a_binary_file(folder: Path) -> None:
    folder.joinpath("study.yaml").write_bytes(bytes(range(256)))
    load("study.yaml")


def utf16(folder: Path) -> None:
    folder.joinpath("study.yaml").write_text(VALID_TEXT, encoding="utf-16")
    load("study.yaml")


def a_line_of_100_mb(folder: Path) -> None:
    with folder.joinpath("study.yaml").open("wb") as file:
        file.truncate(100_000_000)
    load("study.yaml")


def a_large_text(_: Path) -> None:
    loads("#" * ((1 << 20) + 1))


def an_unreadable_state(folder: Path) -> None:
    folder.joinpath("study.yaml").write_text(VALID_TEXT)
    load("study.yaml", sets=["machine.state={recorded: unreadable.json.gz}"])


def an_unreadable_file(folder: Path) -> None:
    folder.joinpath("unreadable.yaml").write_text(VALID_TEXT)
    load("unreadable.yaml")


def a_name_with_nul(_: Path) -> None:
    load("a\0b.yaml")


def a_python_object(_: Path) -> None:
    from_mapping({**VALID, "name": object()})


def a_python_number_of_5000_digits(_: Path) -> None:
    from_mapping({**VALID, "seed": 10**5000})


def a_python_number_as_key(_: Path) -> None:
    from_mapping({**VALID, 7: 7})  # type: ignore[dict-item]


def a_python_loop(_: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    from_mapping({**VALID, "name": loop})


def a_python_bomb(_: Path) -> None:
    bomb: list[object] = []
    for _doubling in range(40):
        bomb = [bomb, bomb]
    from_mapping({**VALID, "name": bomb})


def a_key_of_5000_steps(_: Path) -> None:
    loads(VALID_TEXT, sets=["a." * 5000 + "a=1"])


def a_python_escape(_: Path) -> None:
    from_mapping({**VALID, "question": "\x1b[31mred", "\x9b": "half \udc80"})


def half_a_character_on_the_command_line(_: Path) -> None:
    loads(VALID_TEXT, sets=["name=\udcff"])


def a_negative_seed(_: Path) -> None:
    loads(VALID_TEXT, seed=-1)


def a_log_without_a_report(folder: Path) -> None:
    (folder / "log.txt").write_text("nothing\n", encoding="utf-8")
    explain_and_show(Path("log.txt"), 1, as_json=False)


def a_report_that_is_not_there(_: Path) -> None:
    explain_and_show(REPORT, 2, as_json=False)


def a_request_with_a_misspelt_name(_: Path) -> None:
    requests_of(["kmaloc(5000, GFP_KERNEL)"])


BUILT: dict[Callable[[Path], None], str] = {
    missing: "nosuch.yaml: must be a file that exists",
    a_directory: "study.yaml: must be a file, not a directory",
    a_pipe: "study.yaml: must be a regular file",
    an_empty_file: "study.yaml: must not be empty",
    a_binary_file: "study.yaml: must be UTF-8 text without control characters",
    utf16: "study.yaml: must be UTF-8 text without control characters",
    a_line_of_100_mb: "study.yaml: must be at most 1MiB",
    a_large_text: "config: must be at most 1MiB",
    an_unreadable_state: "--set machine.state={recorded: unreadable.json.gz}: machine.state.recorded: "
    "must be a file you may read, found 'unreadable.json.gz'",
    an_unreadable_file: "unreadable.yaml: must be a file you may read",
    a_name_with_nul: "'a\\x00b.yaml': must be a file that exists",
    a_python_object: "config: name: must be text, a number, true or false, a list or a mapping, "
    "found a value of type object",
    a_python_number_of_5000_digits: "config: seed: must be text, a number, true or false, a list or a mapping, "
    "found a number of more than 30 digits",
    a_python_number_as_key: "config: must have keys that are plain text, found '7'",
    a_python_loop: "config: name[0][0]: must be nested at most 50 deep",
    a_python_bomb: "config: must hold at most 20000 values, aliases counted where they are used",
    a_key_of_5000_steps: f"--set {'a.' * 28}a...: must be KEY=VALUE, such as machine.cpus=4",
    a_python_escape: "\n".join(
        f"config: {where}must {RULES['text_control']}, found {found}"
        for where, found in (("", "'\\x9b'"), ("question: ", "'\\x1b[31mred'"), ("'\\x9b': ", "'half \\udc80'"))
    ),
    half_a_character_on_the_command_line: "--set name=\\udcff: must be UTF-8 text without control characters",
    a_negative_seed: "--seed -1: seed: must be at least 0, found -1",
    a_log_without_a_report: "log.txt:1: must be a kernel log with a report of a failed allocation, an OOM kill or "
    "memory (Mem-Info): no report: no line has 'page allocation failure', 'invoked oom-killer', "
    "'Mem-Info:' or a kill of a memory cgroup",
    a_report_that_is_not_there: f"{REPORT}: --which: must be the number of a report in the log, 1 to 1, found 2",
    a_request_with_a_misspelt_name: f"kmsim walk: REQUEST: must be a request: one of {', '.join(CALLS)}, "
    "found 'kmaloc(5000, GFP_KERNEL)'; did you mean 'kmalloc'?",
}


def error_of_case(case: Callable[[Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigError:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    real_open, real_stat = os.open, os.stat

    def refusing_open(path: object, *rest: object, **more: object) -> int:
        if "unreadable" in str(path):
            raise PermissionError(13, "Permission denied")  # root may read anything: no chmod would do
        return real_open(path, *rest, **more)  # type: ignore[arg-type]

    def stat_of_a_file(path: object, *rest: object, **more: object) -> os.stat_result:
        return real_stat(__file__ if "unreadable" in str(path) else path, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("kmsim.input_file.os.open", refusing_open)
        patch.setattr("kmsim.input_file.os.stat", stat_of_a_file)
        with pytest.raises(ConfigError) as refused:
            case(folder)
    return refused.value


@pytest.mark.parametrize("case", BUILT, ids=lambda case: case.__name__)
def test_an_invalid_input_says_exactly_what_is_wrong(
    case: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(error_of_case(case, tmp_path, monkeypatch)) == BUILT[case]


def test_every_message_that_the_code_can_give_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [error_of_file(name, monkeypatch) for name in FILES]
    errors += [error_of_case(case, tmp_path / case.__name__, monkeypatch) for case in BUILT]
    problems = [problem for error in errors for problem in error.problems]
    assert {problem.rule for problem in problems} == set(RULES)
    said = {problem.must.removeprefix("have ") for problem in problems if problem.rule == "gfp_problem"}
    tree = ast.parse(inspect.getsource(gfp.gfp_problem))
    returned = {node.value.value for node in ast.walk(tree) if isinstance(node, ast.Return)}  # type: ignore[union-attr]
    assert said == returned - {None}


def test_a_message_is_one_line_whatever_the_key_and_the_value() -> None:
    with pytest.raises(ConfigError) as refused:
        loads('"a\\nb\\e[31m": 1\nname: "x\\ny\\e[31m"\n' + VALID_TEXT)
    assert len(str(refused.value).splitlines()) == len(refused.value.problems) == 2
    assert "\x1b" not in str(refused.value)
