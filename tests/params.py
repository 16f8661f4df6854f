"""Parameters of small machines, for tests that make one."""

from typing import Any

from kmsim.mm.kernels import NEWEST
from kmsim.mm.params import Params


def params(**changes: Any) -> Params:
    """Two CPUs of 4 KiB pages, pageblocks of 512 pages, the newest kernel's policies; with changes."""
    fields: dict[str, Any] = {
        "page_shift": 12,
        "max_page_order": 10,
        "pageblock_order": 9,
        "pmd_order": 9,
        "thp_built_in": True,
        "nr_cpus": 2,
        **NEWEST._asdict(),
    }
    return Params(**(fields | changes))
