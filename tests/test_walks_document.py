"""docs/walks.md shows what `kmsim walk` says, and the ten walks reach what their headings promise."""

import pytest

from tests.walks_document import DOCUMENT, commands, said, shown

PROMISED = {
    1: ["rmqueue_bulk", "holding zone", "a block of order 10 of type Movable, split down to order 0"],
    2: ["__rmqueue_pcplist: page frame", "free_unref_page_commit"],
    3: ["rmqueue_buddy", "__free_one_page: becomes a block of order 10"],
    4: ["__rmqueue_claim: page frame", "try_to_steal_block: the pageblock was Movable"],
    5: ["reserve_highatomic_pageblock"],
    6: [
        "failed: there is no memory for it",
        "wake_all_kswapds",
        "high mark 35,155, which is not met: no",
        "low mark 29,296, which is not met: no",
        "min mark 23,437, which is not met: no",
        "min mark 23,437, which the flags lower to 8,790: go",
    ],
    7: [
        "cache kmalloc-8k",
        "the smallest of kmalloc's caches that holds 5,000 bytes",
        "a block of order 10 of type Movable, split down to order 3",
        "allocate_slab",
        "slab_free",
    ],
    8: ["prep_new_page", "zero_byte"],
    9: ["__pte_alloc_kernel", "free_vmap_area_noflush"],
    10: ["__kvmalloc_node", "vm_area_alloc_pages"],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", PROMISED)
def test_a_walk_is_shown_as_it_is_said(number: int) -> None:
    command = commands()[number - 1]
    output = said(command)
    assert shown(command) == output
    unwrapped = " ".join(output.split())
    assert [words for words in PROMISED[number] if words not in unwrapped] == []


def test_there_are_ten() -> None:
    assert len(commands()) == len(set(commands())) == len(PROMISED) == 10
    assert DOCUMENT.read_text(encoding="utf-8").count("\n## ") == 10
