"""Who may import whom: a layer imports itself and the layers above it, wherever in a file the import stands."""

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kmsim"

LAYERS = ("mm", "procfs", "metrics", "config", "survey", "workload", "sim", "study", "validate", "plots", "cli")
COMMANDS = "session"  # what the commands do: of the layer of the commands
# Modules beside the layers that any of them may import.
FOR_ALL = (
    "jit", "jit_cache", "jit_cache_root", "jit_inner", "jit_mode", "jit_numba", "jit_plain", "jit_policies",
    "jit_policy_error", "jit_policy_source", "jit_reference", "jit_verbs",
    "compile_watch", "input_file", "output", "text", "units",
)  # fmt: skip

# Packages that only some layers may know: `sim` reads no YAML, `mm` knows no time.
ONLY_IN = {
    "ruamel": ("config",),
    "pydantic": ("config",),
    "simpy": ("sim",),
    "typer": ("cli",),
    "matplotlib": ("plots",),
}
# The rooms of `sim`, in the same order: the compiled core knows no SimPy, and only the whole knows its parts.
ROOMS = ("core", "run", "user", "simulation")
NOT_IN_ROOM = {"core": ("simpy",)}
# What a layer must not do although it stands below: plots read results and never simulate.
NEVER = {"plots": ("sim", "mm")}
# Libraries that another one brings along and documents as its own.
PART_OF = {"pydantic_core": "pydantic"}
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


def room_problem(room: str, module: str) -> str | None:
    """Why a file in a room of `sim` may not import the module, or None."""
    parts = [*module.split("."), "", ""]
    if parts[:2] == ["kmsim", "sim"] and ROOMS.index(parts[2]) > ROOMS.index(room):
        return f"sim.{room} imports {module}"
    return f"sim.{room} imports {module}" if parts[0] in NOT_IN_ROOM.get(room, ()) else None


def problems(path: Path, source: str) -> list[str]:
    """Every import of a file that it may not make."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    package = ".".join(("kmsim", *parts[:-1]))
    modules = list(imported(source, package))
    found = [problem(layer_of(path), module) for module in modules]
    if parts[0] == "sim" and parts[1:] != ("__init__",):
        found += [room_problem(parts[1], module) for module in modules]
    return [f"{path.relative_to(PACKAGE)}: {text}" for text in found if text]


def test_imports_go_upwards_only() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 30
    assert [text for path in files for text in problems(path, path.read_text(encoding="utf-8"))] == []


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders <= {*LAYERS, COMMANDS}
    assert {path.parent.name for path in PACKAGE.glob("*/*/*.py")} <= set(ROOMS)


def importing(sources: dict[str, str]) -> dict[str, set[str]]:
    """For each module by its full name, the modules of these that it imports; `if TYPE_CHECKING` counts, too."""
    graph = {}
    for name, source in sources.items():
        package = name.rpartition(".")[0]
        targets = imported(source, package)
        # `from a.b import c` names a.b.c, which is a module or something in a.b.
        found = {target if target in sources else target.rpartition(".")[0] for target in targets}
        graph[name] = found & sources.keys() - {name}
    return graph


def circle(sources: dict[str, str]) -> list[str]:
    """The modules of some circle of imports, first and last the same; empty where there is none."""
    try:
        graphlib.TopologicalSorter(importing(sources)).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_imports_go_in_a_circle() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files}
    sources = {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for path, name in names.items()}
    assert circle(sources) == []


def test_a_circle_is_found_in_a_function_or_for_types_only() -> None:
    typed = "if TYPE_CHECKING:\n    from kmsim.b import B"
    inside = "def f():\n    from kmsim import a"
    assert sorted(set(circle({"kmsim.a": typed, "kmsim.b": inside}))) == ["kmsim.a", "kmsim.b"]
    assert circle({"kmsim.a": typed, "kmsim.b": "import kmsim.c", "kmsim.c": ""}) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mm/buddy.py", "from kmsim.sim.run.clock import Step"),
        ("mm/buddy.py", "import random"),
        ("mm/buddy.py", "def f():\n    from kmsim.config import Study"),
        ("mm/buddy.py", "from ..procfs import buddyinfo"),
        ("mm/buddy.py", "from kmsim import api"),
        ("mm/buddy.py", "import simpy"),
        ("sim/run/clock.py", "import kmsim.study.store"),
        ("sim/run/clock.py", "from ruamel.yaml import YAML"),
        ("plots/figures.py", "from kmsim.sim.simulation import Simulation"),
        ("plots/figures.py", "from kmsim.session.pace import Pace"),
        ("units.py", "from kmsim.mm import gfp"),
        ("sim/core/wake.py", "import simpy"),
        ("sim/core/wake.py", "from kmsim.sim.run.clock import now_ps"),
        ("sim/run/task.py", "if TYPE_CHECKING:\n    from kmsim.sim.simulation import Simulation"),
        ("sim/user/calls.py", "from kmsim.sim.simulation import Simulation"),
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
        ("sim/run/clock.py", "import simpy\nfrom ...units import PS_PER_NS"),
    ],
)
def test_an_import_upwards_is_not(file: str, source: str) -> None:
    assert problems(PACKAGE / file, source) == []


@pytest.mark.slow
def test_each_library_that_is_imported_is_a_dependency() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    needs = {"kmsim": [*project["dependencies"], *optional["cluster"]]}
    needs["tests"] = [*needs["kmsim"], *optional["test"]]
    named = {folder: {re.split(r"[\[<>=]", need)[0] for need in of_folder} for folder, of_folder in needs.items()}
    projects = packages_distributions()
    for folder in needs:
        for path in sorted((PACKAGE.parent / folder).rglob("*.py")):
            tops = {module.partition(".")[0] for module in imported(path.read_text(encoding="utf-8"), folder)}
            for top in tops - sys.stdlib_module_names - {"kmsim", "tests", "experiments"}:
                found = {PART_OF.get(name, name) for name in projects[top]}
                assert named[folder] & found, f"{path} imports {top}"


# Decorators of functions that are compiled into their callers alone: they have no machine code that Python could call.
INNER = {"small", "core", "only_with"}
COMPILED = INNER | {"entry", "shared"}


def decorators(function: ast.FunctionDef) -> set[str]:
    """The names of a function's decorators."""
    called = (each.func if isinstance(each, ast.Call) else each for each in function.decorator_list)
    return {each.id for each in called if isinstance(each, ast.Name)}


def inner_functions(module: str, source: str) -> set[tuple[str, str]]:
    """Module and name of each inner function of a source."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {(module, function.name) for function in functions if decorators(function) & INNER}


def calls_of_inner(module: str, source: str, inner: set[tuple[str, str]]) -> Iterator[str]:
    """The calls of inner functions that stand in no compiled function."""
    tree = ast.parse(source)
    known = {name for of, name in inner if of == module}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name for alias in node.names if (node.module or "", alias.name) in inner}

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef) and decorators(child) & COMPILED:
                continue
            if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in known:
                yield f"line {child.lineno}: {child.func.id}"
            yield from visit(child)

    return visit(tree)


def test_python_calls_no_function_that_is_compiled_into_its_callers_alone() -> None:
    """Such a call would end the interpreter."""
    sources = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }
    inner = {each for module, source in sources.items() for each in inner_functions(module, source)}
    assert len(inner) > 100
    found = {module: list(calls_of_inner(module, source, inner)) for module, source in sources.items()}
    assert {module: calls for module, calls in found.items() if calls} == {}


def test_a_call_of_an_inner_function_from_python_is_found() -> None:
    source = "from kmsim.a import f, g\n@entry\ndef e(m):\n    f(m)\ndef h(m):\n    g(m)\n    return f(m)\n"
    assert list(calls_of_inner("kmsim.b", source, {("kmsim.a", "f")})) == ["line 7: f"]
