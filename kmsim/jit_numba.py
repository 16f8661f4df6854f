"""How kmsim compiles: one typed wrapper around numba, so that every core gets the same options.

`core` marks a function that other compiled functions call; `small` one that LLVM inlines into its
callers (5 times as fast where a machine is handed on); `shared` is `small` for functions that Python also calls;
`entry` marks one that Python calls with arrays. Only entries
are cached on disk (each holds all that it calls, and 4 files are as fast as 211) and get the
wrappers that let Python call them: leaving those out saves a quarter of the compile time. What only
some runs need is marked `only_with`.

`_nrt=False` is a private option of numba: no reference counting inside. A compiled call that is
handed a `Machine` of nine arrays otherwise pays about 12 ns for each array, each time. Nothing
in a core allocates, which is what we want; a test counts that no refcount call is left. What is kept
on disk is in a directory of these very sources (`jit_cache`); functions that other files can replace are
marked in `jit_policies`.
"""

import time
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir as _ir
from numba.core import caching as _caching
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic, overload

from kmsim.jit_cache import cache_directory, use
from kmsim.jit_inner import InnerCompiler
from kmsim.jit_reference import by_reference

P = ParamSpec("P")
R = TypeVar("R")

ir: Any = _ir  # untyped
cgutils: Any = _cgutils
caching: Any = _caching

Record: type[np.void] = np.record  # of one record of an array

_config: Any = numba.config
_PACKAGE = Path(__file__).parent.resolve()
_directory = cache_directory()
_config.CACHE_DIR = str(_directory)
use(_directory, time.time())


# Options of numba; its stubs do not know them.
_INNER: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": InnerCompiler}
_SMALL: Any = {"_nrt": False, "forceinline": True, **_INNER}
_CORE: Any = {"_nrt": False, "forceinline": False, **_INNER}  # what is not said is inherited from the caller


def _jit(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    njit: Any = numba.njit  # its stubs do not know the private option
    return cast(Callable[P, R], njit(**{"_nrt": False, **options})(function))


class _OfThePackage(caching._CacheLocator):  # type: ignore[misc]
    """Where the code of one of the package's modules is kept: by its name in the package, not by path and time.

    The directory is of these very sources, so a copy of them in another folder loads what was compiled for the first.
    """

    def __init__(self, function: Any, file: Path) -> None:
        self._line = function.__code__.co_firstlineno
        self._folder = _directory / "kmsim" / file.relative_to(_PACKAGE).parent

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        """It, or None: the file is no part of the package, or nothing can be kept."""
        path = Path(file).resolve()
        if not path.is_relative_to(_PACKAGE):
            return None
        found = cls(function, path)
        try:
            found.ensure_cache_path()
        except OSError:
            return None
        return found

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Nothing more than the directory's name says."""
        return ""

    def get_disambiguator(self) -> str:
        """The line of the function, as numba's others have it."""
        return str(self._line)


class _KeptFiles(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """What is kept of a function, and where."""

    _locator_classes = (_OfThePackage, *caching.CompileResultCacheImpl._locator_classes)


class _Kept(caching.FunctionCache):  # type: ignore[misc]
    """Loads what is kept on disk without what only compiling needs: numba's registries, and scipy.linalg with them.

    numba fills them before each load as well, which takes half a second; its compiler fills them itself.
    """

    _impl_class = _KeptFiles

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for a signature, or None."""
        return self._load_overload(sig, target_context)


def core(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only compiled functions call."""
    return _jit(function, **_CORE)


def small(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a helper of a few lines into each of its callers."""
    return _jit(function, **_SMALL)


def shared(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a helper of a few lines into each of its compiled callers; Python calls it as it is written."""

    def typed(*args: Any) -> Callable[P, R]:
        assert args is not None
        return function

    overload(function, jit_options=_SMALL, strict=False)(typed)
    return function


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that Python calls, once per block of operations; kept on disk.

    The NamedTuples it is handed are handed on by reference (see `jit_reference`), by a function of one line.
    """
    code = cast(Any, function).__code__
    parameters = code.co_varnames[: code.co_argcount]
    handed_on = ", ".join(f"by_reference({name})" for name in parameters)
    source = f"def {function.__name__}({', '.join(parameters)}):\n    return _inner({handed_on})\n"
    names: dict[str, Any] = {"by_reference": by_reference, "_inner": _jit(function, **_CORE)}
    exec(compile(source, code.co_filename, "exec"), names)  # numba keeps what it compiles by file, line and name
    outer: Any = update_wrapper(names[function.__name__], function)
    outer.__code__ = outer.__code__.replace(co_firstlineno=code.co_firstlineno)
    del outer.__wrapped__
    compiled: Any = _jit(outer)
    compiled._cache = _Kept(outer)
    return cast(Callable[P, R], compiled)


def only_with(
    field: str, otherwise: Any = None, *, inlined: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function into its callers only where the NamedTuple it is handed first has that field, not None.

    Elsewhere a call of it does nothing, and comes to `otherwise`; none of what the function calls is
    compiled then: a run compiles what its config uses. `inlined`: as `small`, else as `core`.
    """

    def nothing(*args: Any) -> Any:
        assert args
        return otherwise

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def typed(state: Any, *args: Any) -> Callable[..., Any]:
            assert args is not None
            part = state.field_type(field)
            return nothing if isinstance(part, types.NoneType) else function

        overload(function, jit_options=_SMALL if inlined else _CORE, strict=False)(typed)
        return function

    return decorate


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
        item = signature.args[0].dtype
        nr_bytes = item.size if isinstance(item, types.Record) else item.bitwidth // 8
        offset = builder.mul(arguments[1], ir.Constant(address, nr_bytes))
        record = builder.inttoptr(builder.add(builder.ptrtoint(records.data, address), offset), pointer)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(instruction, [record, ir.Constant(word, 1), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


_instruction: Any = intrinsic(_typed)
overload(prefetch)(_prefetch_typed)
