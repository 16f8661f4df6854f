"""Who may import whom: a layer imports itself and the layers above it, wherever in a file the import stands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kmsim"

LAYERS = ("mm", "procfs", "metrics", "config", "workload", "sim", "study", "validate", "plots", "cli")
COMMANDS = "session"  # what the commands do: of the layer of the commands
# Modules beside the layers that any of them may import.
FOR_ALL = ("jit", "jit_cache", "jit_inner", "jit_reference", "units", "compile_watch", "input_file", "output")

# Packages that only some layers may know: `sim` reads no YAML, `mm` knows no time.
ONLY_IN = {
    "ruamel": ("config",),
    "pydantic": ("config",),
    "simpy": ("sim",),
    "typer": ("cli",),
    "seaborn": ("plots",),
    "matplotlib": ("plots",),
}
# What a layer must not do although it stands below: plots read results and never simulate.
NEVER = {"plots": ("sim", "mm")}
# mm knows no time, no random numbers, no I/O.
MM_MAY_IMPORT = ("collections", "dataclasses", "math", "numpy", "typing")


def imported(source: str, package: str) -> Iterator[str]:
    """The full name of every module that a source of `package` imports, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer_of(path: Path) -> str:
    """The layer of a file; what is beside the layers and not all may import belongs to the commands."""
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        return "cli" if parts[0] == COMMANDS else parts[0]
    return path.stem if path.stem in FOR_ALL else "cli"


def target_of(module: str) -> str:
    """The layer of an imported module of kmsim."""
    parts = [*module.split("."), ""]
    return parts[1] if parts[1] in LAYERS or parts[1] in FOR_ALL else "cli"


def problem(layer: str, module: str) -> str | None:
    """Why a file of the layer may not import the module, or None."""
    top = module.split(".", maxsplit=1)[0]
    if top == "kmsim":
        target = target_of(module)
        if target in FOR_ALL:
            return None
        if layer in FOR_ALL:
            return f"{layer} is below every layer and imports {module}"
        if LAYERS.index(target) > LAYERS.index(layer) or target in NEVER.get(layer, ()):
            return f"{layer} imports {module}"
        return None
    if layer not in ONLY_IN.get(top, (layer,)):
        return f"{layer} imports {module}"
    if layer == "mm" and top not in MM_MAY_IMPORT:
        return f"mm imports {module}"
    return None


def problems(path: Path, source: str) -> list[str]:
    """Every import of a file that it may not make."""
    package = ".".join(("kmsim", *path.relative_to(PACKAGE).parts[:-1]))
    found = (problem(layer_of(path), module) for module in imported(source, package))
    return [f"{path.relative_to(PACKAGE)}: {text}" for text in found if text]


def test_imports_go_upwards_only() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 30
    assert [text for path in files for text in problems(path, path.read_text(encoding="utf-8"))] == []


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders <= {*LAYERS, COMMANDS}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mm/buddy.py", "from kmsim.sim.clock import Step"),
        ("mm/buddy.py", "import random"),
        ("mm/buddy.py", "def f():\n    from kmsim.config import Study"),
        ("mm/buddy.py", "from ..procfs import buddyinfo"),
        ("mm/buddy.py", "from kmsim import api"),
        ("mm/buddy.py", "import simpy"),
        ("sim/clock.py", "import kmsim.study.store"),
        ("sim/clock.py", "from ruamel.yaml import YAML"),
        ("plots/figures.py", "from kmsim.sim.simulation import Simulation"),
        ("plots/figures.py", "from kmsim.session.pace import Pace"),
        ("units.py", "from kmsim.mm import gfp"),
    ],
)
def test_an_import_downwards_is_found(file: str, source: str) -> None:
    assert len(problems(PACKAGE / file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mm/buddy.py", "from . import list\nimport numpy as np\nfrom kmsim.jit import core"),
        ("config/machine.py", "def f():\n    from kmsim.mm.gfp import parse_gfp"),
        ("cli.py", "from kmsim import api\nfrom kmsim.plots.figures import draw_all"),
        ("sim/clock.py", "import simpy\nfrom ..units import PS_PER_NS"),
    ],
)
def test_an_import_upwards_is_not(file: str, source: str) -> None:
    assert problems(PACKAGE / file, source) == []
