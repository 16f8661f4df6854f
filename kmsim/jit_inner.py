"""Functions that only compiled functions call, compiled once: as parts of what Python calls.

numba optimises and assembles each function that it compiles, with a copy of everything that the function
calls, before it copies the function into its callers, where all is optimised again. In a chain of calls
that is most of the time and of the memory. Only functions that Python calls need machine code of their own: of all
others numba's first translation is kept, without what they call, and LLVM optimises it where it is used.

Where the machine has policies from other files, each index is looked at: one outside of its array is an IndexError,
which says the line of the access. What the package calls with such a machine is compiled for it alone, so it costs
others nothing.

An index is taken as an unsigned number there: -1 is not the last record but an error, as in C, and no access asks for
the sign first, which made order-0 requests 1.2 times as fast. `tests/test_indices.py` sees, in plain Python, that none
is below 0.

Two fields of records, or a field and an element of an array of numbers, are never the same memory: each access says
which of these it is (LLVM: type-based alias analysis), as in C by its type. So a value that was read stays in a
register while others are written. It holds because nothing compiled looks at an array of records as one of numbers;
what copies a whole record says nothing, and may touch all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir as _llvm
from numba.core import codegen as _codegen
from numba.core import compiler as _compiler
from numba.core import compiler_machinery as _machinery
from numba.core import ir as _ir
from numba.core import lowering as _lowering
from numba.core import typed_passes as _typed_passes
from numba.core import types as _types

from kmsim.jit_policy_source import OUTSIDE

codegen: Any = _codegen  # untyped, as all of numba's insides
compiler: Any = _compiler
ir: Any = _ir
llvm: Any = _llvm
lowering: Any = _lowering
typed_passes: Any = _typed_passes
types: Any = _types
register_pass: Any = _machinery.register_pass


class _NoEnvironment:
    """Stands for the code generator where a function's own environment would be set: only assembled code has one."""

    def set_env(self, _name: str, _environment: Any) -> None:
        """Nothing to set."""


class _InnerLibrary(codegen.JITCodeLibrary):  # type: ignore[misc]
    """A function's own translation, neither optimised nor assembled, and the names of the libraries that it calls.

    They are copied into what Python calls, each once, and not into each other.
    """

    codegen = _NoEnvironment()

    def finalize(self) -> None:
        """Nothing more is added."""
        self._raise_if_finalized()
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """The function with all that it calls, for what Python calls."""
        self._ensure_finalized()
        module = self._own_module().clone()
        for library in self._called():
            own = library._own_module() if isinstance(library, _InnerLibrary) else library._get_module_for_linking()
            module.link_in(own, preserve=True)
        return module

    def _own_module(self) -> Any:
        return super()._get_module_for_linking()

    def _called(self) -> list[Any]:
        """The libraries that the function calls, and those that these call, each once and after all that call it.

        LLVM leaves out a function that nothing calls yet.
        """
        found: dict[Any, None] = {}

        def visit(library: Any) -> None:
            if library not in found and isinstance(library, _InnerLibrary):
                for called in library._linking_libraries:
                    visit(called)
            found[library] = None

        visit(self)
        return list(found)[-2::-1]

    def get_pointer_to_function(self, _name: str) -> int:
        """The address of its machine code: there is none."""
        self._ensure_finalized()
        return 0


class PoliciesType(types.Type):  # type: ignore[misc]
    """The type of `Policies` (`kmsim.jit_policies`): which sources there are."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(name=f"Policies({text})")


def has_policies(argument: Any) -> bool:
    """Is it a machine with policies from other files, or something that holds one?"""
    pointee = getattr(argument, "pointee", argument)
    if isinstance(pointee, types.BaseNamedTuple):
        return any(has_policies(part) for part in pointee.types)
    return isinstance(pointee, PoliciesType)


def _unsigned(index: Any) -> Any:
    """The type of an index, or of a tuple of some, without sign."""
    if isinstance(index, types.BaseTuple):
        return types.Tuple([_unsigned(item) for item in index])
    return types.uintp if isinstance(index, types.Integer) else index


def _items(index: Any) -> tuple[Any, ...]:
    """The types of an index, one for each dimension."""
    return tuple(index) if isinstance(index, types.BaseTuple) else (index,)


def _with_unsigned_index(signature: Any) -> Any:
    """The signature of an access: `args` is the array, the index, and what is written there, if anything."""
    array, index, *written = signature.args
    return signature.replace(args=(array, _unsigned(index), *written)) if isinstance(array, types.Buffer) else signature


_numbers: dict[Any, int] = {}  # of the types of records


def _memory_of(record: Any, field: str) -> str:
    """Names the memory of a scalar field; nothing where it is an array."""
    number = _numbers.setdefault(record, len(_numbers))
    return "" if isinstance(record.typeof(field), types.NestedArray) else f"{number}.{field}"


def _memory_of_element(array: Any, element: Any) -> str:
    """Names the memory of an array of numbers; nothing where its elements are something else, or a field of records."""
    is_of_numbers = isinstance(array, types.Array) and array.layout == "C" and isinstance(array.dtype, types.Number)
    return str(array.dtype) if is_of_numbers and isinstance(element, types.Number) else ""


class _Lower(lowering.Lower):  # type: ignore[misc]
    """numba's translation, but for indices, and for what an access says of its memory."""

    def lower_getitem(self, result: Any, expression: Any, array: Any, index: Any, signature: Any) -> Any:
        """Read `array[index]`."""
        value = super().lower_getitem(result, expression, array, index, _with_unsigned_index(signature))
        self._says("load", _memory_of_element(self.typeof(array.name), result))
        return value

    def lower_setitem(self, array: Any, index: Any, written: Any, signature: Any) -> Any:
        """Write `array[index]`."""
        done = super().lower_setitem(array, index, written, _with_unsigned_index(signature))
        if all(isinstance(each, types.Integer) for each in _items(signature.args[1])):
            self._says("store", _memory_of_element(self.typeof(array.name), signature.args[2]))
        return done

    def lower_expr(self, result: Any, expression: Any) -> Any:
        """Read `record.field`, and all else."""
        value = super().lower_expr(result, expression)
        if expression.op == "getattr" and isinstance(record := self.typeof(expression.value.name), types.Record):
            self._says("load", _memory_of(record, expression.attr))
        return value

    def lower_inst(self, statement: Any) -> Any:
        """Write `record.field`, and all else."""
        with self._located():
            done = super().lower_inst(statement)
        if isinstance(statement, ir.SetAttr) and isinstance(record := self.typeof(statement.target.name), types.Record):
            self._says("store", _memory_of(record, statement.attr))
        return done

    @contextmanager
    def _located(self) -> Iterator[None]:
        """Where indices are looked at, exceptions that numba's own translation raises say the line, too."""
        if not self.context.enable_boundscheck:
            yield
            return
        convention: Any = type(self.context.call_conv)
        own, line, name = convention.return_user_exc, self.loc, self.func_ir.func_id.func_name

        def located(
            self: Any, builder: Any, kind: Any, args: Any = None, loc: Any = None, func_name: Any = None
        ) -> Any:
            return own(self, builder, kind, args, loc or line, func_name or name)

        convention.return_user_exc = located  # numba compiles one function at a time
        try:
            yield
        finally:
            convention.return_user_exc = own

    def _says(self, kind: str, memory: str) -> None:
        """The access that was just translated is of this memory; nothing is said where that has no name."""
        if not memory:
            return
        access = next(each for each in reversed(self.builder.block.instructions) if each.opname == kind)
        add = self.builder.module.add_metadata
        offset = llvm.Constant(llvm.IntType(64), 0)
        scalar = add([memory, add(["kmsim"]), offset])
        access.set_metadata("tbaa", add([scalar, scalar, offset]))


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(typed_passes.NativeLowering):  # type: ignore[misc]
    """The pass that uses it."""

    _name = "kmsim_lowering"

    @property
    def lowering_class(self) -> Any:
        """The translation."""
        return _Lower


class InnerCompiler(compiler.Compiler):  # type: ignore[misc]
    """numba's compiler of functions that only compiled functions call."""

    def define_pipelines(self) -> Any:
        """numba's passes, with our own translation."""
        (pipeline,) = super().define_pipelines()
        ours = {typed_passes.NativeLowering: _Lowering}
        pipeline.passes = [(ours.get(of, of), what) for of, what in pipeline.passes]
        pipeline._finalized = False
        pipeline.finalize()
        return [pipeline]

    def compile_extra(self, func: Any) -> Any:
        """Compile a function into a library of the kind above."""
        if (func.__module__ or "").startswith(OUTSIDE) or any(map(has_policies, self.state.args)):
            self.state.targetctx = self.state.targetctx.subtarget(enable_boundscheck=True)
        self.state.library = _InnerLibrary(self.state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)
