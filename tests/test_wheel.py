"""A wheel passes README's first minutes in an empty environment, without a checkout."""

import os
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.commands import SMALL
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=PATIENCE_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_has_the_package_and_the_shipped_configs(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    shipped = {f"kmsim/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped <= names
    assert {f"kmsim/plots/report/{path.name}" for path in (ROOT / "kmsim" / "plots" / "report").iterdir()} <= names
    assert "kmsim/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]


@pytest.mark.slow
def test_a_wheel_passes_the_first_minutes_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env["KMSIM_CACHE_DIR"] = str(tmp_path / "cache")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "small.yaml").write_text(SMALL)

    def done(*words: str) -> str:
        command = [str(tmp_path / "venv" / "bin" / words[0]), *words[1:]]
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    done("pip", "install", "-q", str(wheel))
    assert done("kmsim", "--version").startswith("kmsim ")
    assert "4MiB*" in done("kmsim", "limits")
    assert "kmalloc" in done("kmsim", "waste", "33KiB")
    assert "kmalloc-8k" in done("kmsim", "walk", "kmalloc(5000, GFP_KERNEL)")
    assert "written to results/small" in done("kmsim", "run", "small.yaml")
    assert "wrote results/small/report.html" in done("kmsim", "report", "results/small")
    done("kmsim", "new", "study.yaml")
    assert "fine" in done("kmsim", "check", "study.yaml")
    assert str(ROOT) not in done("python", "-c", "import kmsim; print(kmsim.__file__)")
