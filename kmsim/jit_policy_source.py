"""What a file in place of a policy must be, as far as its source shows it; nothing of it is run.

It is Python; it has the policy's verbs, each with the parameters of the package's own; it imports only what is the
same on every computer with this kmsim (so that its own text says all that it does); and it has no function besides
that nothing calls, which is most likely a verb with a slip in its name. The verbs are read in the package's files, too,
from their source: whoever asks does not load the compiler.

Leaves out what only running it shows (`kmsim.jit_policies`), and types, which the compiler finds.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_MM = Path(__file__).parent / "mm"
OUTSIDE = "kmsim_policy_"  # begins the names of the modules that such files become
BYTES_MAX = 1 << 20
# What a file may import: modules, and packages with all that is in them.
MODULES = ("kmsim.jit", "kmsim.jit_policies", "numpy", "math", "typing", "collections.abc", "__future__")
PACKAGES = ("kmsim.mm",)
_CLOSE = 0.6  # of names that may be meant for each other


class Mistake(NamedTuple):
    """One thing that is wrong with a file: where, of what, what must hold, what was found, what was meant."""

    line: int
    name: str
    must: str
    found: str = ""
    near: str = ""

    def said(self, file: str) -> str:
        """It in one line."""
        name = f"{self.name}: " if self.name else ""
        found = f", found {self.found}" if self.found else ""
        near = f"; did you mean {self.near!r}?" if self.near else ""
        return f"{file}:{self.line}: {name}must {self.must}{found}{near}"


def digest(source: bytes) -> str:
    """What tells one source from another: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(source).hexdigest()


@cache
def verbs(policy: str) -> dict[str, tuple[str, ...]]:
    """The parameters of each verb of a policy of the package, in the order of its file.

    They are without the underscore that a parameter begins with where the package's own verb does not use it.
    """
    tree = ast.parse((_MM / f"{policy}.py").read_text(encoding="utf-8"))
    marked = [node for node in _functions(tree) if any(ast.unparse(mark) == "verb" for mark in node.decorator_list)]
    return {node.name: _parameters(node) for node in marked}


def mistakes(policy: str, source: bytes) -> list[Mistake]:
    """All that the source shows to be wrong, by line; where it is no Python, that alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler advises against, such as "\d"
            compile(source, "policy", "exec", dont_inherit=True)  # finds more than ast.parse, and runs nothing
            tree = ast.parse(source)
    except SyntaxError as error:  # bytes that are no text, too
        return [Mistake(error.lineno or 1, "", "be Python", error.msg)]
    except (ValueError, RecursionError, MemoryError) as error:
        return [Mistake(1, "", "be Python", str(error) or type(error).__name__)]
    return sorted([*_imports(tree), *_of_verbs(policy, tree)])


def _imports(tree: ast.Module) -> Iterator[Mistake]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
            if names == ["kmsim"]:
                names = [f"kmsim.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name not in (*MODULES, *PACKAGES) and not name.startswith(tuple(f"{package}." for package in PACKAGES)):
                yield Mistake(node.lineno, "", f"import nothing but {', '.join((*PACKAGES, *MODULES))}", name)


def _of_verbs(policy: str, tree: ast.Module) -> Iterator[Mistake]:
    """What is wrong with its functions."""
    own = {node.name: node for node in _functions(tree)}
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    wanted = verbs(policy)
    missing = [name for name in wanted if name not in own and name not in imported]
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name, node in own.items():
        if name in wanted:
            yield from _of_signature(wanted[name], node)
        elif name not in called:
            near = next(iter(difflib.get_close_matches(name, missing, 1, _CLOSE)), "")
            missing = [other for other in missing if other != near]
            must = f"be called by a function of the policy, or be one: {', '.join(wanted)}"
            yield Mistake(node.lineno, name, must, near=near)
    for name in missing:
        call = f"{name}({', '.join(wanted[name])})"
        yield Mistake(1, "", f"have a function {call}, or import it from kmsim.mm.{policy}")


def _of_signature(wanted: tuple[str, ...], node: ast.FunctionDef) -> Iterator[Mistake]:
    arguments = node.args
    others = [*arguments.posonlyargs, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg, *arguments.defaults]
    if any(other is not None for other in others) or _parameters(node) != wanted:
        found = f"({ast.unparse(arguments)})"
        yield Mistake(node.lineno, node.name, f"have the parameters ({', '.join(wanted)})", found)


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _parameters(node: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(argument.arg.removeprefix("_") for argument in node.args.args)
