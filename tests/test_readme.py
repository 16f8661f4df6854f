"""What the READMEs print really runs, and what they link to is there."""

import ast
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from experiments.calibration import calibrate
from kmsim.validate.files import validate_files
from tests.commands import Shell, in_own_process

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("[a-z]*") if path.is_dir())
USING = ROOT / "docs" / "using.md"
STUDIES = ROOT / "docs" / "studies.md"
DECISIONS = ROOT / "docs" / "decisions.csv"
FITTED = [ROOT / "experiments" / name / "fit.csv" for name in ("calibration", "calibration_slab_vmalloc")]
READMES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "configs" / "README.md",
    *(folder / "README.md" for folder in EXPERIMENTS),
]
RECORDING = ROOT / "tests" / "validation" / "recordings" / "a64-612-64k-1G-c2-frag.json.gz"
REPORT = ROOT / "tests" / "procfs" / "reports" / "order5-6.7.txt"
SECTIONS = ("**Question.**", "**Command.**", "**What it shows.**")
NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "results", "*.egg-info", "dist", "build")

each_readme = pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
each_experiment = pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder that looks like a clone's, as far as the printed commands use it."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return Shell(tmp_path, monkeypatch, capsys)


def size_of_png(path: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def complaints(err: str) -> list[str]:
    """What a command says beside its output, but that it compiles, which the first one of a version does."""
    return [line for line in err.splitlines() if not line.startswith(("compiling", "compiled in "))]


def test_the_first_two_sh_blocks_are_one_line_each() -> None:
    install, test = blocks(README, "sh")[:2]
    for block in (install, test):
        assert block.count("\n") == 1
        assert len(block) <= 130
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
        assert "{" not in block
    assert "kmsim run experiments/page_size_and_max_order/small.yaml" in install
    assert "pytest" in test


@pytest.mark.slow
def test_the_first_block_is_a_part_of_the_headline_study(shell: Shell) -> None:
    program, verb, study, *options = shlex.split(blocks(README, "sh")[0].split("&&")[-1])
    assert (program, verb) == (".venv/bin/kmsim", "run")
    assert "extends: study.yaml" in (ROOT / study).read_text(encoding="utf-8")
    done = shell("check", study, *options)
    assert (done.code, complaints(done.err)) == (0, [])


@pytest.mark.slow
def test_the_first_block_prints_what_readme_shows(shell: Shell) -> None:
    command = shlex.split(blocks(README, "sh")[0].split("&&")[-1])
    done = shell(*command[1:])
    assert done.code == 0
    out = shell.folder / "results" / "small"
    assert f"report: {out.relative_to(shell.folder)}/report.html" in done.out
    assert (out / "report.html").stat().st_size < 10_000_000
    shown = blocks(README, "text")[0].splitlines()
    assert [line.rstrip() for line in done.out.splitlines() if line.strip()][: len(shown)] == shown
    seconds = json.loads((out / "timing.json").read_text())["total_s"]
    print(f"\nthe first block: {seconds:.1f} s for the runs")


def test_commands_print_what_readme_shows(shell: Shell) -> None:
    """Blank lines are left out."""
    shown = [block for block in blocks(README, "text") if block.startswith("$ kmsim ")]
    assert [block.splitlines()[0].split()[2] for block in shown] == ["limits", "waste"]
    for block in shown:
        first, *expected = block.splitlines()
        done = shell(*shlex.split(first)[2:])
        assert [line.rstrip() for line in done.out.splitlines() if line.strip()] == expected


def test_readme_says_how_far_it_may_be_believed() -> None:
    """From what is stored: the rows that were compared, and all points with their errors."""
    text = " ".join(README.read_text(encoding="utf-8").split())
    decisions = pd.read_csv(DECISIONS).iloc[0]
    assert f"{decisions['equal']:,} of {decisions['rows']:,} rows" in text
    points = [pd.read_csv(file) for file in FITTED]
    predicted = calibrate.never_fitted(points[0])["error_percent"].abs()
    errors = pd.concat([of_file["error_percent"].abs() for of_file in points], ignore_index=True)
    fitted = errors.drop(predicted.index)
    assert f"fitted to {len(fitted)} published points" in text
    assert f"half of them within {fitted.median():.1f} %, the worst {fitted.max():.1f} %" in text
    half, most = predicted.quantile([0.5, 0.9])
    assert f"{len(predicted)} points of other core counts" in text
    assert f"predicted within {half:.1f} % (half) and {most:.1f} % (nine of ten)" in text
    table = pd.read_csv(calibrate.LEFT_OUT)
    left_out = [calibrate.left_out_errors(table, name) for name in ("curve", "benchmark", "cores", "order")]
    medians, wide = ([error.quantile(share) for error in left_out] for share in (0.5, 0.9))
    assert f"median error of {min(medians):.0f} to {max(medians):.0f} %, nine of ten within {max(wide):.0f} %" in text


@pytest.mark.slow
def test_as_many_rows_equal_real_kernels_as_readme_says() -> None:
    reports = list(validate_files([ROOT / "tests" / "validation" / "recordings"]))
    sections = [section for report in reports for section in report.sections]
    stored = pd.read_csv(DECISIONS).iloc[0]
    assert stored["files"] == len(reports)
    assert stored["rows"] == sum(section.rows for section in sections)
    assert stored["equal"] == sum(section.equal for section in sections)


def test_readme_is_for_a_newcomer() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for name in ("MAX_ORDER", "page allocation failure", "kmalloc limit", "kmsim limits", "kmsim waste 33KiB"):
        assert name in text
    for idiom in ("goes on where", "same bits", "hangs on", "bit for bit"):
        assert idiom not in text
    assert text.index("How much memory") < text.index("```sh")


@pytest.mark.slow
def test_the_second_block_selects_every_test() -> None:
    command = shlex.split(blocks(README, "sh")[1].split("&&")[-1])
    assert command[0] == ".venv/bin/python"
    selecting = [sys.executable, *command[1:], "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(selecting, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deselected" not in done.stdout
    assert f"{Path(__file__).name}::{test_the_first_block_works_in_a_fresh_clone.__name__}" in done.stdout


def test_ci_runs_the_second_block() -> None:
    assert "block == 2' README.md" in (ROOT / ".ci" / "run").read_text()


def test_every_heading_of_waste_names_what_it_is_a_share_of() -> None:
    """The one definition: of the memory taken; the book's labs print the book's own, and say so."""
    headings = [line for path in READMES for line in path.read_text(encoding="utf-8").splitlines() if line[:1] in "|#"]
    of_waste = [line for line in headings if re.search(r"\| (internal waste|wasted)\b", line)]
    assert len(of_waste) >= 4
    for line in of_waste:
        assert "of the memory taken" in line, line
    assert "of what was asked for" in (ROOT / "experiments" / "book" / "README.md").read_text(encoding="utf-8")
    assert "% of" in (shown := next(block for block in blocks(README, "text") if "kmsim waste" in block)), shown


def test_the_figure_of_waste_is_what_its_command_draws(shell: Shell) -> None:
    (command,) = re.findall(r"`kmsim (waste --from [^`]*--plot waste\.png)`", README.read_text(encoding="utf-8"))
    assert shell(*command.split()).code == 0
    shown, drawn = (imread(path) for path in (ROOT / "docs" / "waste.png", shell.folder / "waste.png"))
    assert shown.shape == drawn.shape
    assert (abs(shown - drawn) > 0.5).any(axis=2).mean() < 0.001, "a letter more is more than that"


@pytest.mark.slow
def test_the_first_block_works_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=NOT_CLONED)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env["KMSIM_CACHE_DIR"] = str(tmp_path / "cache")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks(README, "sh")[0]],
        cwd=clone,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "written to results/small" in done.stdout
    assert (clone / "results" / "small" / "report.html").is_file()


@pytest.mark.slow
def test_the_console_commands_work_one_after_the_other(shell: Shell) -> None:
    (console,) = blocks(USING, "console")
    lines = [line.partition("#")[0] for line in console.splitlines()]
    files = {"RECORDING...": str(RECORDING), "REPORT": str(REPORT)}
    commands = [[files.get(word, word) for word in shlex.split(line)] for line in lines if "points.csv" not in line]
    shown = {command[2] for command in commands}
    used_on_results = {"show", "plot", "report", "compare"}
    assert shown >= {"new", "check", "run", "bench", "limits", "waste", "validate"} | used_on_results
    for command in commands:
        assert command[:2] == ["$", "kmsim"]
        words = command[2:]
        done = in_own_process(*words, folder=shell.folder) if words[0] == "walk" else shell(*words)  # not compiled
        assert done.code == 0, command
    assert (shell.folder / "results" / "mine" / "operations.parquet").is_file()


def is_of_functions(snippet: str) -> bool:
    """Is it a file of functions, such as a policy, and nothing that prints?"""
    return all(isinstance(one, ast.Import | ast.ImportFrom | ast.FunctionDef) for one in ast.parse(snippet).body)


@each_readme
def test_printed_configs_are_fine(path: Path, shell: Shell) -> None:
    printed = [block for block in blocks(path, "yaml") if "workload:" in block]
    for block in printed:
        done = shell("check", shell.write("printed.yaml", block))
        assert (done.code, complaints(done.err)) == (0, [])
    assert printed or path not in (STUDIES, ROOT / "configs" / "README.md")


@each_readme
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []
    assert local or path in (ROOT / "configs" / "README.md", ROOT / "docs" / "walks.md")


@each_experiment
def test_an_experiment_says_its_question_command_and_answer(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    places = [text.find(section) for section in SECTIONS]
    assert -1 < places[0] < places[1] < places[2]
    assert re.search(r"!\[[^]]+\]\([\w.-]+\.png\)", text)


@each_experiment
def test_an_experiments_configs_are_fine(folder: Path, shell: Shell) -> None:
    configs = [str(path.relative_to(ROOT)) for path in sorted(folder.glob("*.yaml"))]
    assert configs or list(folder.glob("*.py"))
    if configs:
        done = shell("check", *configs)
        assert (done.code, complaints(done.err)) == (0, [])


@each_experiment
def test_an_experiments_command_runs_its_own_config(folder: Path, shell: Shell) -> None:
    (command,) = re.findall(r"\*\*Command\.\*\* `(.*?)`", (folder / "README.md").read_text(encoding="utf-8"))
    program, *arguments = shlex.split(command)
    if program == "python":  # run by the tests of the experiments
        assert [ROOT / argument for argument in arguments] == [folder / Path(arguments[0]).name]
        assert (ROOT / arguments[0]).is_file()
        return
    assert program == "kmsim"
    assert [word for word in arguments if word.startswith(f"experiments/{folder.name}/")]
    assert shell(*arguments, "--out", "out", "--quiet") == (0, "", "")
    drawn = {path.name for path in (shell.folder / "out" / "figures").glob("*.png")}
    assert drawn & {path.name for path in folder.glob("*.png")}


# The last one: what its runs need is compiled by then, by the other process.
@each_readme
def test_python_snippets_run(path: Path, shell: Shell) -> None:
    for snippet in blocks(path, "python"):
        exec(compile(snippet, str(path), "exec"), {})
        assert shell.capsys.readouterr().out.strip() or is_of_functions(snippet)
    assert path != USING or blocks(path, "python")
