"""How kmsim compiles: one typed wrapper around numba, so that every core gets the same options.

`core` marks a function that other compiled functions call; `small` one that LLVM inlines into its
callers (5 times as fast where a machine is handed on); `entry` one that Python calls. Only entries
are cached on disk (each holds all that it calls, and 4 files are as fast as 211) and get the
wrappers that let Python call them: leaving those out saves a quarter of the compile time.

`_nrt=False` is a private option of numba: no reference counting inside. A compiled call that is
handed a `Machine` of nine arrays otherwise pays about 12 ns for each array, each time. Nothing
in a core allocates, which is what we want; a test counts that no refcount call is left.

numba's cache does not notice that a *called* function in another file changed, so the cache lives
in a directory named by a hash of the sources of the compiled layers.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import ir as _ir
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic, overload

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = Path(__file__).parent


def source_hash() -> str:
    """A hash of every module that uses this one or whose constants are compiled in, and of numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if path.parent.name == "mm" or b"kmsim.jit import" in source or path == Path(__file__):
            digest.update(path.relative_to(_PACKAGE).as_posix().encode())
            digest.update(source)
    return digest.hexdigest()[:16]


def cache_directory() -> Path:
    """Where the compiled code of exactly these sources is kept."""
    root = os.environ.get("KMSIM_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "kmsim" / source_hash()


ir: Any = _ir  # untyped
cgutils: Any = _cgutils

_config: Any = numba.config
_config.CACHE_DIR = str(cache_directory())


_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _jit(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    njit: Any = numba.njit  # its stubs do not know the private option
    return cast(Callable[P, R], njit(_nrt=False, **options)(function))


def core(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only compiled functions call."""
    return _jit(function, **_INNER)


def small(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a helper of a few lines into each of its callers."""
    return _jit(function, forceinline=True, **_INNER)


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that Python calls, once per block of operations; kept on disk."""
    return _jit(function, cache=True)



def prefetch(array: Any, index: int) -> None:
    """Ask the host's processor for a record that will be needed soon; compiled code only, else nothing.

    Any index will do: what lies outside of the array is not fetched.
    """


def _prefetch_typed(array: Any, index: Any) -> Callable[[Any, Any], None]:
    """What a compiled caller of `prefetch` gets; numba matches the parameters by name."""
    assert index is not None

    def compiled(array: Any, index: Any) -> None:
        _instruction(array, index)

    return compiled if array is not None else prefetch


def _typed(_typing: Any, array: Any, index: Any) -> Any:
    """The instruction itself (LLVM: llvm.prefetch; to be written, kept in all levels of cache)."""
    assert index is not None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, address = ir.IntType(32), ir.IntType(64)
        pointer = ir.IntType(8).as_pointer()
        records = context.make_array(signature.args[0])(context, builder, arguments[0])
        offset = builder.mul(arguments[1], ir.Constant(address, signature.args[0].dtype.size))
        record = builder.inttoptr(builder.add(builder.ptrtoint(records.data, address), offset), pointer)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(instruction, [record, ir.Constant(word, 1), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


_instruction: Any = intrinsic(_typed)
overload(prefetch)(_prefetch_typed)
