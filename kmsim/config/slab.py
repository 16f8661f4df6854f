"""The build's choices about slabs, and vmalloc's address space.

Leaves out: the caches themselves (``caches``), SLUB's debugging, and the random copies of kmalloc's caches.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from kmsim.config.memory_map import GIB, MIB
from kmsim.config.quantities import Bool, Model, refused, size
from kmsim.units import SIZE_UNITS, format_size

VMALLOC_MIN = 16 * MIB  # assumed: kernels with a smaller space do not boot
VMALLOC_MAX = 4 * GIB  # what 32 bits can address

_SIZE = size(VMALLOC_MIN, VMALLOC_MAX)


def _space(value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, str):
        raise refused("size_or_auto")
    return _SIZE.validate(value)


VmallocSize = Annotated[
    int | Literal["auto"],
    BeforeValidator(_space),
    PlainSerializer(lambda value: value if value == "auto" else format_size(value), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "auto"},
                {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join(SIZE_UNITS)})\s*$"},
            ]
        }
    ),
]


class SlabConfig(Model):
    """How SLUB was built, all off in the reference configuration, and where CPUs keep free objects."""

    slub: Literal["cpu_slabs", "sheaves"] = "cpu_slabs"
    freelist_random: Bool = False
    buckets: Bool = False
    memcg: Bool = False

    @property
    def has_sheaves(self) -> bool:
        """Do CPUs keep free objects in sheaves, and not in slabs of their own?"""
        return self.slub == "sheaves"


class VmallocConfig(Model):
    """The address space of vmalloc: the architecture's, or one as small as that of a 32-bit kernel."""

    size: VmallocSize = "auto"
