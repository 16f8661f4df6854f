"""The requests that a walk takes, as the user writes them: `kmalloc(5000, GFP_KERNEL)`, `kfree()`.

A request is a call, read as an expression and never run. Sizes are bytes, or such as 4KiB; flags are the kernel's. A
free has no argument: it gives back the last of what the requests before it allocated and it can free.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from kmsim.config import ConfigError
from kmsim.config.asked import refused
from kmsim.config.errors import nearest
from kmsim.units import SIZE_UNITS

ALLOCATING = {
    "alloc_pages": ("gfp", "order"),
    "alloc_pages_node": ("nid", "gfp", "order"),
    "alloc_pages_exact": ("size", "gfp"),
    "alloc_pages_exact_nid": ("nid", "size", "gfp"),
    "kmalloc": ("size", "gfp"),
    "kzalloc": ("size", "gfp"),
    "vmalloc": ("size",),
    "vzalloc": ("size",),
    "kvmalloc": ("size", "gfp"),
    "kvzalloc": ("size", "gfp"),
}
REQUIRED = {"alloc_pages_node": 2, "alloc_pages_exact_nid": 2}  # arguments; of the others one
FREEING = {
    "free_pages": ("alloc_pages", "alloc_pages_node"),
    "free_pages_exact": ("alloc_pages_exact", "alloc_pages_exact_nid"),
    "kfree": ("kmalloc", "kzalloc"),
    "vfree": ("vmalloc", "vzalloc"),
    "kvfree": ("kvmalloc", "kvzalloc", "kmalloc", "kzalloc", "vmalloc", "vzalloc"),
}
CALLS = (*ALLOCATING, *FREEING)
_SIZE = re.compile(r"(\d+)\s*([KMGT]iB)\b")
REQUESTS_MAX, CHARACTERS_MAX = 100, 200


class Request(NamedTuple):
    """A request as the user writes it: `kmalloc(5000, GFP_KERNEL)`; a free gives back the last that is left."""

    text: str
    name: str
    arguments: dict[str, int | str]


def requests_of(texts: list[str]) -> list[Request]:
    """The requests that the user has written; ConfigError says what is wrong with which."""
    problems, found = [], []
    left: list[str] = []
    for text in texts[:REQUESTS_MAX]:
        try:
            request = _request(text)
            if request.name in FREEING:
                last_that(left, request)
            else:
                left.append(request.name)
            found.append(request)
        except _Wrong as wrong:
            problems.append(refused("request", text, "walk", "REQUEST", near=wrong.near, why=str(wrong)))
    if len(texts) > REQUESTS_MAX:
        found_many, most = f"{len(texts)} requests", f"one of at most {REQUESTS_MAX}"
        problems.append(refused("request", found_many, "walk", "REQUEST", why=most))
    if problems:
        raise ConfigError(problems)
    return found


class _Wrong(ValueError):
    def __init__(self, why: str, near: str = "") -> None:
        super().__init__(why)
        self.near = near


def _request(text: str) -> Request:
    if len(text) > CHARACTERS_MAX:
        raise _Wrong(f"one of at most {CHARACTERS_MAX} characters")
    try:
        tree = ast.parse(
            _SIZE.sub(lambda size: str(int(size[1]) * SIZE_UNITS[size[2]]), text.strip()), mode="eval"
        ).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Wrong("one such as kmalloc(5000, GFP_KERNEL)") from None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.keywords:
        raise _Wrong("one such as kmalloc(5000, GFP_KERNEL)")
    name = tree.func.id
    if name == "cma_alloc":
        raise _Wrong("one that is modelled: CMA areas are not")
    if name not in CALLS:
        raise _Wrong(f"one of {', '.join(CALLS)}", nearest(name, CALLS))
    expected = ALLOCATING.get(name, ())
    given = [ast.unparse(argument) for argument in tree.args]
    if len(given) > len(expected) or (expected and len(given) < REQUIRED.get(name, 1)):
        raise _Wrong(f"{name}({', '.join(expected)})" if expected else f"{name}(), of what was allocated last")
    arguments: dict[str, int | str] = {}
    for of, word in zip(expected, given, strict=False):
        if of != "gfp" and not word.isdecimal():
            raise _Wrong(f"{name}({', '.join(expected)}) with a whole number as {of}")
        arguments[of] = word if of == "gfp" else int(word)
    return Request(text.strip(), name, arguments)


def last_that(left: list[str], request: Request) -> int:
    """Take the last allocation that a free gives back away from those that are left; which it was."""
    fits = [n for n, name in enumerate(left) if name in FREEING[request.name]]
    if not fits:
        raise _Wrong(f"after a request of {' or '.join(FREEING[request.name])} that it can free")
    del left[fits[-1]]
    return fits[-1]
