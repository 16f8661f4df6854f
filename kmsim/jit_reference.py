"""NamedTuples of arrays, handed to compiled functions by reference.

numba hands a NamedTuple of arrays over by value, seven words for each array: a call between compiled
functions that are handed a `Core` would copy 200 words and more, which takes 50 to 100 ns, and long to
compile. So what Python calls (`kmsim.jit.entry`) keeps the NamedTuples that it is handed in its own stack
frame, and hands on a pointer, of the type below: `state.pages` is then a load through it.

Nobody changes a NamedTuple, so these loads are marked as of memory that does not change: LLVM may keep
what it has loaded as it would keep an argument. That is true because the frame outlives the calls, and
because LLVM is not told that the pointer leads to the frame (it comes out of an empty piece of assembler),
so that it takes no load to before the frame is filled.
"""

import hashlib
from typing import Any

from llvmlite import ir as _ir
from numba.core import cgutils as _cgutils
from numba.core import imputils as _imputils
from numba.core import types as _types
from numba.core.datamodel import models as _models
from numba.core.typing import templates as _templates
from numba.extending import intrinsic, overload, register_model

from kmsim.jit_inner import InnerCompiler

ir: Any = _ir  # untyped, as all of numba's insides
cgutils: Any = _cgutils
imputils: Any = _imputils
types: Any = _types
models: Any = _models
templates: Any = _templates
register: Any = register_model


class Reference(types.Type):  # type: ignore[misc]
    """The type of a pointer to a NamedTuple of arrays, and of other such NamedTuples."""

    def __init__(self, pointee: Any) -> None:
        self.pointee = pointee
        super().__init__(name=f"Reference({pointee})")

    @property
    def mangling_args(self) -> tuple[str, tuple[str, ...]]:
        """The type in the names of functions, short: its own name has a word for each array's each field.

        LLVM would write, copy and compare names of up to 40 kB for every function.
        """
        return "Reference", (hashlib.sha256(self.name.encode()).hexdigest()[:16],)

    @property
    def fields(self) -> tuple[str, ...]:
        """The NamedTuple's fields."""
        return tuple(self.pointee.fields)

    def field_type(self, field: str) -> Any:
        """The type of a field as it is seen through the reference."""
        found = self.pointee.types[self.fields.index(field)]
        return Reference(found) if isinstance(found, types.BaseNamedTuple) else found


@register(Reference)
class _ReferenceModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, reference: Any) -> None:
        value = manager.lookup(reference.pointee).get_value_type()
        super().__init__(manager, reference, value.as_pointer())


@templates.infer_getattr
class _ReferenceAttributes(templates.AttributeTemplate):  # type: ignore[misc]
    key = Reference

    def generic_resolve(self, reference: Any, attribute: str) -> Any:
        """The type of `reference.attribute`; None where it has none."""
        return reference.field_type(attribute) if attribute in reference.fields else None


def _load_field(context: Any, builder: Any, reference: Any, pointer: Any, field: str) -> Any:
    """`reference.field`: a pointer again where it is a NamedTuple, else its value, word by word."""
    field_type = reference.field_type(field)
    if isinstance(field_type, types.NoneType):
        return context.get_dummy_value()
    where = cgutils.gep_inbounds(builder, pointer, 0, reference.fields.index(field))
    return where if isinstance(field_type, Reference) else _load(builder, where)


def _load(builder: Any, where: Any) -> Any:
    """A value from memory that does not change; of an aggregate, each part by itself, so that LLVM drops the unused."""
    pointee = where.type.pointee
    if isinstance(pointee, ir.LiteralStructType | ir.IdentifiedStructType | ir.ArrayType):
        value = ir.Constant(pointee, ir.Undefined)
        count = pointee.count if isinstance(pointee, ir.ArrayType) else len(pointee.elements)
        for n in range(count):
            value = builder.insert_value(value, _load(builder, cgutils.gep_inbounds(builder, where, 0, n)), n)
        return value
    loaded = builder.load(where)
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


imputils.lower_getattr_generic(Reference)(_load_field)


def by_reference(value: Any) -> Any:
    """A NamedTuple by reference, in compiled code; anything else, and in plain Python everything, as it is."""
    return value


def _frame_typed(_typing: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        frame = cgutils.alloca_once_value(builder, arguments[0])
        same = ir.FunctionType(frame.type, [frame.type])
        return builder.asm(same, "", "=r,0,~{memory}", [frame], True)

    return Reference(value)(value), generate


_frame: Any = intrinsic(_frame_typed)


def _by_reference_typed(value: Any) -> Any:
    def framed(value: Any) -> Any:
        return _frame(value)

    return framed if isinstance(value, types.BaseNamedTuple) else by_reference


_INLINED: Any = {"_nrt": False, "forceinline": True, "no_cfunc_wrapper": True, "pipeline_class": InnerCompiler}
overload(by_reference, jit_options=_INLINED)(_by_reference_typed)
