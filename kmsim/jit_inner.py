"""Functions that only compiled functions call, compiled once: as parts of what Python calls.

numba optimises and assembles each function that it compiles, with a copy of everything that the function
calls, before it copies the function into its callers, where all is optimised again. In a chain of calls
that is most of the time. Only functions that Python calls need machine code of their own: of all others
numba's first translation is kept, and LLVM optimises it where it is used.
"""

from typing import Any

from numba.core import codegen as _codegen
from numba.core import compiler as _compiler

codegen: Any = _codegen  # untyped, as all of numba's insides
compiler: Any = _compiler


class _NoEnvironment:
    """Stands for the code generator where a function's own environment would be set: only assembled code has one."""

    def set_env(self, _name: str, _environment: Any) -> None:
        """Nothing to set."""


class _InnerLibrary(codegen.JITCodeLibrary):  # type: ignore[misc]
    """A function and what it calls, neither optimised nor assembled."""

    codegen = _NoEnvironment()

    def _optimize_final_module(self) -> None:
        """Left to those that link it."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        """The address of its machine code: there is none."""
        self._ensure_finalized()
        return 0


class InnerCompiler(compiler.Compiler):  # type: ignore[misc]
    """numba's compiler of functions that only compiled functions call."""

    def compile_extra(self, func: Any) -> Any:
        """Compile a function into a library of the kind above."""
        self.state.library = _InnerLibrary(self.state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)
