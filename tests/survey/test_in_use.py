"""What memory of a surveyed machine is in use for: LRU lists, caches, per-CPU lists; and how words are written."""

import re
from pathlib import Path

import pytest

from kmsim.config import loads
from kmsim.session.machine import surveyed
from kmsim.sim.run.boot import machine_of
from kmsim.sim.run.memory_in_use import machine_in_use
from kmsim.survey.machine_file import Found, Wishes, text_of
from kmsim.survey.yaml_lines import entry
from tests.survey.recorded_texts import RECORDINGS, read


def noted(found: Found, what: str) -> bool:
    return any(what in note for note in found.notes)


@pytest.mark.slow
def test_without_free_lists_memory_is_filled_as_the_lru_lists_are_long(tmp_path: Path) -> None:
    content = read(RECORDINGS / "x86-612-4k-256M-c2-full.json.gz").files["fresh.zoneinfo"]
    content = re.sub(r"(nr_zone_inactive_file) +\d+", r"\1 1500", content)
    (tmp_path / "zoneinfo").write_text(content)
    alone = surveyed([tmp_path], None, Wishes())
    managed = sum(map(int, re.findall(r"managed +(\d+)", content)))
    zones = content.count("nr_zone_inactive_file")
    assert alone.machine["state"]["filled"]["page_cache"] == round(1500 * zones / managed, 4)
    assert noted(alone, "no free lists are said: files and processes have memory as the LRU lists say")
    config = loads(text_of(alone)).machine
    m = machine_in_use(machine_of(config, seed=1), config, 0)
    files = sum(int(lists["vm_stat"][n]) for lists in m.lru.zones for n in range(2, 4)) if m.lru is not None else 0
    assert 0 <= 1500 * zones - files < 31, "a batch of a CPU is not on the lists yet (kernel: PAGEVEC_SIZE)"
    (tmp_path / "meminfo").write_text("MemTotal: 244000 kB\nActive(file): 200000 kB\nInactive(anon): 60000 kB\n")
    most = surveyed([tmp_path], None, Wishes())
    assert 0.94 < sum(most.machine["state"]["filled"].values()) <= 0.95
    assert noted(most, "is on LRU lists, of which 95% are simulated")


def test_caches_of_slabinfo_that_are_not_as_they_ship_are_the_machines(tmp_path: Path) -> None:
    recording = read(RECORDINGS / "x86-612-4k-256M-c2-full.json.gz")
    (tmp_path / "zoneinfo").write_text(recording.files["fresh.zoneinfo"])
    slabs = recording.files["fresh.slabinfo"]
    (tmp_path / "slabinfo").write_text(slabs)
    same = surveyed([tmp_path], None, Wishes()).machine["caches"]
    assert not {cache["name"] for cache in same} & {"task_struct", "filp", "inode_cache", "kmalloc-64"}
    module = (
        "module_inode_cache   4000   4320   1184   27    8 : tunables    0    0    0 : slabdata    160    160      0\n"
    )
    larger = slabs.replace("3520    9    8", "9856    3    8")
    (tmp_path / "slabinfo").write_text(larger + module)
    machine = surveyed([tmp_path], None, Wishes())
    of_name = {cache["name"]: cache for cache in machine.machine["caches"]}
    assert of_name["module_inode_cache"]["object_size"] == "1184B"
    assert of_name["task_struct"]["object_size"] == "9856B"
    config = loads(text_of(machine)).machine
    assert config.known_caches["task_struct"].object_size == 9856
    assert noted(machine, "caches of slabinfo have objects as large as their slots")


def test_sizes_of_per_cpu_lists_are_listed(tmp_path: Path) -> None:
    content = read(RECORDINGS / "x86-612-4k-256M-c2-full.json.gz").files["fresh.zoneinfo"]
    (tmp_path / "zoneinfo").write_text(content)
    high = max(map(int, re.findall(r"high: +(\d+)", content)))
    assert high > 0
    assert noted(surveyed([tmp_path], None, Wishes()), f"DMA32 high {high:,}, batch ")


@pytest.mark.parametrize("word", ["true", "No", "12", "1e3", "0x10", "a: b", "~", "[", "2026-11-30", "6.10"])
def test_words_that_yaml_takes_as_something_else_are_quoted(word: str) -> None:
    assert entry("name", word, 2) == [f'  name: "{word}"']
    assert entry("size", "4KiB", 0) == ["size: 4KiB"]
