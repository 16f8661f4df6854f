"""What no source file may have; each rule is shown to find what it looks for."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("kmsim", "tests", "experiments")

LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 7
BANNED_STEMS = {"utils", "helpers", "common", "base", "manager", "misc", "v0", "old", "experimental"}
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
UNWRITTEN = "NotImplemented" + "Error"
# Decorators that hand a function to somebody who calls it later.
REGISTERING = {"command", "callback", "field_validator", "model_validator", "fixture"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Path, str], Iterator[str]]


def functions(source: str) -> Iterator[Function]:
    """Every function and method of a source."""
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def is_long_file(_: Path, source: str) -> Iterator[str]:
    """A file of more than 400 lines."""
    nr_lines = len(source.splitlines())
    if nr_lines > LINES_MAX:
        yield f"{nr_lines} lines"


def has_long_function(_: Path, source: str) -> Iterator[str]:
    """A function of more than 60 lines."""
    for function in functions(source):
        nr_lines = (function.end_lineno or 0) - function.lineno + 1
        if nr_lines > FUNCTION_LINES_MAX:
            yield f"{function.name} has {nr_lines} lines"


def has_many_parameters(path: Path, source: str) -> Iterator[str]:
    """A function of more than 7 parameters.

    What a constructor takes by keyword only is like a record's fields; the parameters of a command are its options,
    and so are those that `kmsim.run` takes by keyword only.
    """
    for function in functions(source):
        if is_registered(function):
            continue
        given = function.args
        is_command = path == ROOT / "kmsim" / "api.py" and function.name == "run"
        is_constructor = function.name == "__init__" or function.name.startswith("new_") or is_command
        by_keyword = [] if is_constructor else given.kwonlyargs
        names = [argument.arg for argument in given.posonlyargs + given.args + by_keyword]
        nr_parameters = len([name for name in names if name not in ("self", "cls")])
        nr_parameters += (given.vararg is not None) + (given.kwarg is not None)
        if nr_parameters > PARAMETERS_MAX:
            yield f"{function.name} has {nr_parameters} parameters"


def is_unfinished(_: Path, source: str) -> Iterator[str]:
    """A note of what is still to be done."""
    for number, line in enumerate(source.splitlines(), 1):
        if UNFINISHED.search(line):
            yield f"line {number} says {line.strip()}"


def swallows_errors(_: Path, source: str) -> Iterator[str]:
    """An except clause that does nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and all(isinstance(part, ast.Pass) for part in node.body):
            yield f"line {node.lineno} swallows an exception"


def is_unwritten(_: Path, source: str) -> Iterator[str]:
    """A function that only says that it is not there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id == UNWRITTEN:
            yield f"line {node.lineno} names {UNWRITTEN}"


def asserts_nothing(path: Path, source: str) -> Iterator[str]:
    """A test without an assertion of its own."""
    if not path.name.startswith("test_"):
        return
    for function in functions(source):
        if function.name.startswith("test_") and not any(is_assertion(node) for node in ast.walk(function)):
            yield f"{function.name} asserts nothing"


def is_assertion(node: ast.AST) -> bool:
    """Is this an assert, or a `with pytest.raises`?"""
    if isinstance(node, ast.Assert):
        return True
    return isinstance(node, ast.Attribute) and node.attr in ("raises", "warns", "fail")


def has_banned_name(path: Path, _: str) -> Iterator[str]:
    """A file named for nothing in particular."""
    if path.stem in BANNED_STEMS:
        yield "a file is named for what it holds"


# Who may look at a clock: who waits for all others, and those whose figures are printed and not judged.
HAVE_CLOCKS = {"patience.py", "test_bars.py", "test_slab_bars.py"}
CLOCK = re.compile(r"^\s*(import .*\btime\b|from time import)", re.MULTILINE)  # in scripts within a string, too


def depends_on_the_clock(path: Path, source: str) -> Iterator[str]:
    """A test that looks at a clock, or gives up after a time of its own: it would fail on a busy machine."""
    if "tests" not in path.parts or path.name in HAVE_CLOCKS:
        return
    yield from (f"says {found[0].strip()}: tests.patience waits" for found in CLOCK.finditer(source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg in ("timeout", "deadline") and not is_patient(node.value):
            yield f"line {node.value.lineno} has a {node.arg} of its own"


def is_patient(value: ast.expr) -> bool:
    """Is it PATIENCE_S, or another name for what others decide?"""
    return isinstance(value, ast.Name | ast.Attribute)


RULES: tuple[Rule, ...] = (
    depends_on_the_clock,
    is_long_file,
    has_long_function,
    has_many_parameters,
    is_unfinished,
    swallows_errors,
    is_unwritten,
    asserts_nothing,
    has_banned_name,
)


def sources() -> dict[Path, str]:
    """Every Python file, by its path."""
    return {
        path: path.read_text(encoding="utf-8") for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    files = sources()
    assert len(files) > 60
    found = [f"{path.relative_to(ROOT)}: {text}" for path, source in files.items() for text in rule(path, source)]
    assert found == []


LONG_BODY = "\n".join("    a = 1" for _ in range(FUNCTION_LINES_MAX))
BAD: dict[Rule, tuple[str, str]] = {
    depends_on_the_clock: ("tests/test_a.py", "run(a, timeout=30)\n"),
    is_long_file: ("a.py", "\n" * (LINES_MAX + 1)),
    has_long_function: ("a.py", f"def f():\n{LONG_BODY}\n"),
    has_many_parameters: ("a.py", "def f(a, b, c, d, e, f, *, g, h): ..."),
    is_unfinished: ("a.py", "a = 1  # " + "TO" + "DO: two"),
    swallows_errors: ("a.py", "try:\n    f()\nexcept ValueError:\n    pass\n"),
    is_unwritten: ("a.py", f"def f():\n    raise {UNWRITTEN}\n"),
    asserts_nothing: ("test_a.py", "def test_a():\n    print(1)\n"),
    has_banned_name: ("utils.py", ""),
}
GOOD = (
    "test_a.py",
    "class C:\n    def f(self, a, b, c, d, e, f, g):\n        try:\n            g()\n        except ValueError:\n"
    "            return\n\ndef test_a():\n    assert f()\n\ndef test_b():\n    with pytest.raises(ValueError):\n"
    "        f()\n",
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_finds_what_it_looks_for(rule: Rule) -> None:
    name, source = BAD[rule]
    assert len(list(rule(Path(name), source))) == 1
    assert list(rule(Path(GOOD[0]), GOOD[1])) == []


WITH_CLOCKS = (
    "import time\n",
    "from time import sleep\n",
    "A = '''\nimport sys, time\n'''\n",
    "settings(deadline=200)\n",
)


@pytest.mark.parametrize("source", WITH_CLOCKS)
def test_a_test_that_depends_on_the_clock_is_found(source: str) -> None:
    assert len(list(depends_on_the_clock(Path("tests/a.py"), source))) == 1
    assert list(depends_on_the_clock(Path("kmsim/a.py"), source)) == []


# ---- names that nothing uses


def defined(source: str) -> Iterator[tuple[str, ast.AST]]:
    """Module-level names and private methods, each with the node that defines it."""
    for node in ast.parse(source).body:
        if isinstance(node, Function | ast.ClassDef):
            if not is_registered(node):
                yield node.name, node
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(part, Function) and part.name.startswith("_") and not is_registered(part):
                    yield part.name, part
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((name.id, node) for name in ast.walk(target) if isinstance(name, ast.Name))


def is_registered(node: Function | ast.ClassDef) -> bool:
    """Does a decorator hand it to somebody who calls it?"""
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in REGISTERING:
            return True
    return False


def used(tree: ast.AST) -> Counter[str]:
    """How often each name is read, imported, or written in a string by itself."""
    names: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.name.split(".")[-1] for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names[node.value] += 1
    return names


def unused(package: dict[str, str], others: dict[str, str]) -> list[str]:
    """The names of the package that nothing uses but their own definitions."""
    everywhere: Counter[str] = Counter()
    for source in [*package.values(), *others.values()]:
        everywhere += used(ast.parse(source))
    found = []
    for path, source in package.items():
        names = list(defined(source))
        live = {name for name, node in names if everywhere[name] > used(node)[name]}
        counted = {id(node) for name, node in names if name in live and is_enumeration(node)}
        for name, node in names:
            if name not in live and id(node) not in counted and not re.fullmatch(r"__\w+__", name):
                found.append(f"{path}: {name}")
    return found


def is_enumeration(node: ast.AST) -> bool:
    """Does it number several names, of which one may be there for the count alone?"""
    value = getattr(node, "value", None)
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range"


# What numba calls by name, or has been told of by a decorator.
CALLED_BY_NUMBA = ("_optimize_final_module", "_finalize_final_module", "_ReferenceModel", "_ReferenceAttributes")


@pytest.mark.slow
def test_every_name_of_the_package_is_used() -> None:
    files = {str(path.relative_to(ROOT)): source for path, source in sources().items()}
    package = {path: source for path, source in files.items() if path.startswith("kmsim")}
    others = {path: source for path, source in files.items() if path not in package}
    others["pyproject.toml"] = "".join(f"{name}\n" for name in ("main",))  # its entry point
    others["numba"] = "".join(f"{name}\n" for name in CALLED_BY_NUMBA)
    assert unused(package, others) == []


def test_an_unused_name_is_found() -> None:
    package = {
        "a.py": "A = 1\nB: int = 2\n_C, D = 3, 4\ndef f(): return f()\ndef g(): return A\n"
        "X, Y = range(2)\nV, W = range(2)\nprint(X)\n"
        "class K:\n    def _m(self): ...\n    def _n(self): return self._n()\n    def open(self): self._m()\n"
        "@app.command()\ndef registered(): ...\n",
    }
    found = [text.removeprefix("a.py: ") for text in unused(package, {})]
    assert found == ["B", "_C", "D", "f", "g", "V", "W", "K", "_n"]
    assert unused(package, {"b.py": "from a import B, f, g, K\nprint(x.D, '_C', y._n, V, W)"}) == []
