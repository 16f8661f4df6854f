"""extfrag_index and unusable_index: the kernel's bytes, and back."""

import pytest

from kmsim.mm.memblock import boot_machine
from kmsim.mm.vmstat import fragmentation_index
from kmsim.procfs import buddyinfo, indices
from kmsim.procfs.indices import ZoneIndices
from tests.procfs.recordings import WITH_SCRIPT, file, machine, x86_boot


@pytest.mark.parametrize("name", WITH_SCRIPT)
def test_a_fragmented_machine_shows_what_its_kernel_showed(name: str) -> None:
    m = machine(name)
    for zone in buddyinfo.parse(file(name, "frag.buddyinfo")):
        z = ("DMA", "DMA32", "Normal").index(zone.zone)
        m.zones[z].nr_free[: len(zone.nr_free)] = zone.nr_free
    assert indices.show_extfrag_index(m) == file(name, "frag.extfrag_index")
    assert indices.show_unusable_index(m) == file(name, "frag.unusable_index")


@pytest.mark.parametrize("name", WITH_SCRIPT)
def test_what_the_kernel_wrote_is_written_again_to_the_byte(name: str) -> None:
    for file_name, width in (("frag.extfrag_index", 2), ("frag.unusable_index", 1)):
        content = file(name, file_name)
        assert indices.text(indices.parse(content), width) == content


def test_a_fresh_machine_can_serve_every_order() -> None:
    rows = indices.parse(indices.show_extfrag_index(boot_machine(x86_boot(64))))
    assert [row.thousandths for row in rows] == [(-1000,) * 11] * 2


def test_a_negative_index_has_its_sign_where_the_kernel_prints_it() -> None:
    one_block = fragmentation_index([0, 1, 0], 2)
    assert one_block == -500
    rows = (ZoneIndices(0, "DMA", (-1000, one_block, -3, 0, 42, 1000)),)
    content = "Node 0, zone      DMA -1.000  0.-500  0.-03  0.000  0.042  1.000 \n"
    assert indices.text(rows, 2) == content
    assert indices.parse(content) == rows


@pytest.mark.parametrize("word", ["1", "0.1", "0.1000", "-1.500", "0.-5000", "nan", "1.0e3"])
def test_what_is_no_index_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^line 1: .* is not an index such as 0.981$"):
        indices.parse(f"Node 0, zone      DMA {word} \n")
