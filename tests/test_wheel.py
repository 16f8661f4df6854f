"""A wheel that `python -m build` makes passes README's quickstart in an empty environment, without a checkout."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.commands import SMALL
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKSTART = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)[0]
(FIGURES_OF_IT,) = re.findall(r"^```text\n(small: .*?)^```$", README, re.MULTILINE | re.DOTALL)
STUDIES = [f"kmsim/experiments/page_size_and_max_order/{name}.yaml" for name in ("small", "study")]


def points(text: str) -> list[list[str]]:
    """The points of a printed table: number, page size and largest order; the times are another test's."""
    return [line.split()[:3] for line in text.splitlines() if re.match(r" +\d+ \d+KiB +\d", line)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, of the source distribution, as `python -m build` makes it; what that needs is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_what_is_under_another_license_is_in_the_source_distribution_alone_with_that_license(wheel: Path) -> None:
    """The recorder is compiled into a kernel, so it is GPL-2.0-only; README says so, and says where it is."""
    (source,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folder = "tests/validation/recorder"
    assert {"LICENSE", f"{folder}/LICENSE", f"{folder}/driver/lab.c"} <= names
    assert not [name for name in ZipFile(wheel).namelist() if "validation/recorder" in name]
    assert "which is in the source distribution and in no wheel, is GPL-2.0-only" in README


@pytest.mark.slow
def test_a_wheel_has_the_package_the_shipped_configs_and_the_quickstarts_study(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    shipped = {f"kmsim/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped <= names
    assert {f"kmsim/plots/report/{path.name}" for path in (ROOT / "kmsim" / "plots" / "report").iterdir()} <= names
    assert "kmsim/py.typed" in names
    assert sorted(name for name in names if "experiments/" in name) == STUDIES
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
def test_a_wheel_passes_the_quickstart_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """README's first block, the wheel in place of the checkout; then the commands of its first screen."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def done(*command: str) -> str:
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def kmsim(*words: str) -> str:
        return done(str(folder / ".venv" / "bin" / "kmsim"), *words)

    assert QUICKSTART.count(" . ") == 1
    out = done("bash", "-euo", "pipefail", "-c", QUICKSTART.replace(" . ", f" {wheel} "))
    assert str(ROOT) not in done(str(folder / ".venv" / "bin" / "python"), "-c", "import kmsim; print(kmsim.__file__)")
    assert points(out)[:9] == points(FIGURES_OF_IT)
    assert out.splitlines()[0] == FIGURES_OF_IT.splitlines()[0]
    assert "report: results/small/report.html" in out
    assert (folder / "results" / "small" / "report.html").is_file()
    assert kmsim("--version").startswith("kmsim ")
    assert "4MiB*" in kmsim("limits")
    assert "kmalloc" in kmsim("waste", "33KiB")
    assert "kmalloc-8k" in kmsim("walk", "kmalloc(5000, GFP_KERNEL)")
    (folder / "one.yaml").write_text(SMALL.replace("name: small", "name: one"))
    assert "written to results/one" in kmsim("run", "one.yaml")
    assert "wrote results/one/report.html" in kmsim("report", "results/one")
    kmsim("new", "study.yaml")
    assert "fine" in kmsim("check", "study.yaml")
