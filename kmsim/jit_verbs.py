"""The choice of a policy's function when a call of its verb is compiled (see `kmsim.jit_policies`).

The type of `Policies` says which sources there are; when compiled code runs, nothing of it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import extending as _extending
from numba.core import types as _types
from numba.core.datamodel import models as _models

from kmsim.jit_inner import InnerCompiler, PoliciesType

extending: Any = _extending  # untyped, as all of numba's insides
types: Any = _types
models: Any = _models

Function = Callable[..., Any]


def choose_when_compiled(compiled: Any, own: Function, find: Callable[[str], Function | None]) -> None:
    """A call of the verb `own` in compiled code is one of what `find` has for the machine's policies, by their name.

    `compiled` is the verb as it is marked, with its options.
    """

    def typed(m: Any, *args: Any) -> Function:
        assert args is not None
        part = m.field_type("policies")
        other = find(part.text) if isinstance(part, PoliciesType) else None
        return other or own

    extending.overload(own, jit_options={"pipeline_class": InnerCompiler} | compiled.targetoptions, strict=False)(typed)


def register(policies: type) -> None:
    """Let compiled code be handed a machine with policies of that class."""
    extending.typeof_impl.register(policies)(_typeof)


def _typeof(policies: Any, _context: Any) -> PoliciesType:
    return PoliciesType(policies.name)


def _unbox(_type: Any, _found: Any, compiler: Any) -> Any:
    """Nothing of it is there when compiled code runs."""
    return extending.NativeValue(compiler.context.get_dummy_value())


extending.register_model(PoliciesType)(models.OpaqueModel)
extending.unbox(PoliciesType)(_unbox)
