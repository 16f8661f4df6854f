"""Lines of a zone that CPUs read without its lock: who waits for them, and when."""

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import Machine

from . import drivers
from .machines import M, machine_with

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")


def two_cpus() -> Machine:
    """A machine of two CPUs with 16 MiB free, whose counters have not been read or written yet."""
    m = machine_with({(10, M): [0, 1024, 2048, 3072]}, thp_built_in=False)
    m.pcps["stat_threshold"] = 125  # as on machines with much memory
    m.work[0] = 0
    return m


def shared(m: Machine, cpu: int, order: int) -> int:
    """The lines that one allocation waits for because another CPU has read them."""
    before = int(m.work[0].lines_shared)
    drivers.alloc(m, cpu, MOVABLE, order)
    return int(m.work[0].lines_shared) - before


def test_a_cpu_alone_waits_for_none() -> None:
    m = two_cpus()
    assert [shared(m, 0, order) for order in (4, 7, 8, 4)] == [0, 0, 0, 0]


def test_a_block_taken_off_a_list_that_another_cpu_has_read_waits_for_its_line() -> None:
    m = two_cpus()
    drivers.alloc(m, 0, MOVABLE, 4)
    assert shared(m, 1, 4) == 1  # it has read what CPU 0 wrote, and now writes it
    assert shared(m, 1, 4) == 0
    assert shared(m, 0, 4) == 1


def test_a_fold_into_a_count_that_another_cpu_has_read_waits_for_two_lines_more() -> None:
    m = two_cpus()
    drivers.alloc(m, 0, MOVABLE, 8)
    assert shared(m, 1, 8) == 1 + 2
    drivers.alloc(m, 0, MOVABLE, 4)  # CPU 0 has read, and not folded
    assert shared(m, 1, 8) == 1 + 2


def test_frees_read_nothing_so_that_nobody_waits() -> None:
    m = two_cpus()
    blocks = [drivers.alloc(m, cpu, MOVABLE, 8) for cpu in (0, 1, 0, 1)]
    drivers.free(m, 0, blocks[0], 8)
    m.work[0] = 0
    drivers.free(m, 1, blocks[1], 8)
    drivers.free(m, 0, blocks[2], 8)
    assert m.work[0].lines_shared == 0
    assert m.work[0].lines_other >= 2 * 2  # the count's lines, which the other CPU wrote last
