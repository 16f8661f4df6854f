"""Initial states: from a config to the machine it means, and the mistakes that only show then."""

import gzip
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kmsim.config import ConfigError, Study, from_mapping
from kmsim.config.machine_params import params_of
from kmsim.jit_policies import Policies
from kmsim.mm import memblock
from kmsim.mm.memblock import boot_machine, recount
from kmsim.mm.mmzone import Machine, new_machine
from kmsim.mm.params import Params
from kmsim.mm.vmstat import unusable_free_index
from kmsim.procfs import buddyinfo, pagetypeinfo, recorded_state
from kmsim.procfs.user_machine import WRITES
from kmsim.sim.run import boot
from kmsim.sim.run.boot import machine_of
from kmsim.sim.run.boot_params import boot_of
from tests.mm.copies import copied
from tests.mm.machines import params_of as params_of_machine
from tests.procfs.recordings import file, path
from tests.procfs.recordings import machine as recorded_machine

RECORDED = path("x86-4k-256M")
LIKE_RECORDED = {"arch": "x86-64", "cpus": 2, "memory": "256MiB"}
THREAD = {"name": "t", "cpus": [0], "operations": 1, "requests": [{"gfp": "GFP_KERNEL", "order": 0}]}


def study(state: object, **machine: Any) -> Study:
    threads = [{**THREAD, "think": "1us", "live": 1}]
    return from_mapping({"machine": {**LIKE_RECORDED, **machine, "state": state}, "workload": {"threads": threads}})


def machine(state: object, seed: int = 1, **others: Any) -> Machine:
    m = machine_of(study(state, **others).machine, seed)
    recount(m)
    return m


def refusals(state: object, **others: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        machine(state, **others)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The texts of a machine like the one simulated, with some of its memory in use."""
    donor = boot_machine(boot_of(study("fresh").machine))
    free = {"DMA": [1] * 8 + [0] * 3, "DMA32": [50, 40, 30, 20, 10, 5, 5, 5, 5, 5, 5]}
    rows = tuple(row._replace(nr_free=tuple(free[row.zone])) for row in buddyinfo.rows(donor))
    (tmp_path / "buddyinfo").write_text(buddyinfo.text(rows))
    (tmp_path / "pagetypeinfo").write_text(file("x86-4k-256M", "fresh.pagetypeinfo"))
    (tmp_path / "junk").write_text("junk\n")
    return {name: str(tmp_path / name) for name in ("buddyinfo", "pagetypeinfo", "junk")}


def test_a_fresh_machine_is_the_booted_one_whatever_the_seed() -> None:
    booted = boot_machine(boot_of(study("fresh").machine))
    assert np.array_equal(machine("fresh", seed=1).pages, booted.pages)
    assert np.array_equal(machine("fresh", seed=2).pages, booted.pages)


def test_a_recorded_machine_has_the_recordings_lists_and_the_configs_boost_factor() -> None:
    m = machine({"recorded": str(RECORDED)}, sysctl={"watermark_boost_factor": 0})
    assert buddyinfo.show(m) == file("x86-4k-256M", "fresh.buddyinfo")
    assert m.params[0].watermark_boost_factor == 0


def test_another_section_and_moment_can_be_named() -> None:
    before = machine({"recorded": str(RECORDED), "section": "script.mix_all", "moment": "before"})
    assert buddyinfo.show(before) == file("x86-4k-256M", "pre.script.mix_all.buddyinfo")


def test_the_users_own_machine_is_taken_over(files: dict[str, str]) -> None:
    m = machine({"buddyinfo": files["buddyinfo"]})
    assert buddyinfo.show(m) == Path(files["buddyinfo"]).read_text()
    assert np.array_equal(m.zones["watermark"], machine("fresh").zones["watermark"])


def test_the_users_migratetypes_are_taken_over(files: dict[str, str]) -> None:
    m = machine({key: files[key] for key in ("buddyinfo", "pagetypeinfo")})
    (seen,) = pagetypeinfo.parse(Path(files["pagetypeinfo"]).read_text())
    assert pagetypeinfo.rows(m)[0].pageblocks == seen.pageblocks


def test_an_aged_machine_has_the_wanted_index() -> None:
    m = machine({"aged": {"order": 9, "unusable_index": 0.7}})
    nr_free = [int(blocks) for blocks in m.zones["nr_free"].sum(axis=0)]
    assert unusable_free_index(nr_free, 9) == pytest.approx(700, abs=10)


@pytest.mark.parametrize("kind", ["buddyinfo", "aged"])
def test_random_states_follow_the_seed(kind: str, files: dict[str, str]) -> None:
    state = {"buddyinfo": files["buddyinfo"]} if kind == "buddyinfo" else {"aged": {"order": 3, "unusable_index": 0.5}}
    one, same, other = (machine(state, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pages, same.pages)
    assert not np.array_equal(one.pages, other.pages)


def test_a_recording_of_another_machine_is_refused_key_by_key() -> None:
    must = f"{RECORDED}: machine.state.recorded: must be of a machine with"
    thp = {"built_in": False}
    state = {"recorded": str(RECORDED)}
    assert refusals(state, arch="arm64", page_size="64KiB", cpus=3, thp=thp, memory="1GiB") == [
        f"{must} arch arm64, found x86-64",
        f"{must} page_size 64KiB, found 4KiB",
        f"{must} max_page_order 13, found 10",
        f"{must} cpus 3, found 2",
        f"{must} thp.built_in False, found True",
    ]
    assert refusals(state, memory="512MiB") == [f"{must} memory 512MiB, found 261620KiB"]


def test_a_section_or_moment_that_is_not_there_is_refused() -> None:
    where = f"{RECORDED}: machine.state: must have the section x and the moment state, with its free lists"
    (why,) = refusals({"recorded": str(RECORDED), "section": "x"})
    assert why == f"{where}, found no states in section 'x'; there are some in: fresh.state, frag.do, script.mix_all"
    (why,) = refusals({"recorded": str(RECORDED), "section": "script.mix_all", "moment": "after_drain"})
    assert why.endswith("found a state without lists: it says how many blocks are free, not which")


def test_a_file_that_is_no_recording_is_refused(files: dict[str, str]) -> None:
    (why,) = refusals({"recorded": files["junk"]})
    must = "machine.state.recorded: must be a recording of a real kernel"
    assert why == f"{files['junk']}:1: {must}, found no JSON (line 1, column 1: Expecting value)"


def test_a_recording_whose_lists_and_pageblocks_disagree_is_refused(tmp_path: Path) -> None:
    with gzip.open(RECORDED) as recording:
        content = json.load(recording)
    zone = content["lab"]["fresh.state"]["state"][1]
    zone["blocks"] = "R" * len(zone["blocks"])
    (tmp_path / "altered.json").write_text(json.dumps(content))
    (why,) = refusals({"recorded": str(tmp_path / "altered.json")})
    assert "must be a consistent state, found on the list of another migratetype" in why


def test_the_users_files_are_refused_by_their_names(files: dict[str, str]) -> None:
    (why,) = refusals({"buddyinfo": files["junk"]})
    like = "with these zones, orders and memory"
    must = f"machine.state.buddyinfo: must be the buddyinfo of a machine {like}"
    assert why.startswith(f"{files['junk']}:1: {must}")
    assert why.endswith("found not 'Node N, zone NAME COUNTS': 'junk'")
    (why,) = refusals({"buddyinfo": files["buddyinfo"], "pagetypeinfo": files["junk"]})
    must = f"machine.state.pagetypeinfo: must be the pagetypeinfo of a machine {like}"
    assert why.startswith(f"{files['junk']}:1: {must}")
    (why,) = refusals({"buddyinfo": files["buddyinfo"]}, max_page_order=11)
    assert why.startswith(f"{files['buddyinfo']}:1: ")
    assert why.endswith("found 11 orders, where a max_page_order of 11 makes 12")
    (why,) = refusals({"buddyinfo": files["buddyinfo"]}, memory="4GiB")
    assert why.endswith(f"found zones DMA, DMA32, where the machine has DMA, DMA32, Normal; {WRITES}")


def test_a_binary_file_is_refused() -> None:
    (why,) = refusals({"buddyinfo": str(RECORDED)})
    assert why.startswith(f"{RECORDED}:1: ")
    assert why.endswith("found not text (a byte that is no ASCII character)")


def test_a_file_that_is_gone_when_the_run_starts_is_refused(files: dict[str, str]) -> None:
    for key in ("recorded", "buddyinfo"):
        config = study({key: files["junk"]}).machine
        moved = Path(files["junk"]).rename(files["junk"] + ".moved")
        with pytest.raises(ConfigError, match="must be a file that can be read, found No such file or directory"):
            machine_of(config, 1)
        moved.rename(files["junk"])


def test_an_index_that_the_memory_cannot_have_is_refused() -> None:
    (why,) = refusals({"aged": {"order": 10, "unusable_index": 0.98}}, memory="64MiB")
    must = "machine.state.aged.unusable_index: must be an index that this machine can have"
    assert why.startswith(f"config: {must}, found 0.98 (only 0 to 0.9")


# Every key of a config that is a parameter, at another value than the default.
UNLIKE = {
    "kernel_release": "5.10",
    "pcp": {"auto_tune": False, "batch": 9, "high": 77, "batch_scale_max": 4},
    "check_pages": True,
    "tails_written": False,
    "init_on_alloc": True,
    "init_on_free": True,
    "sysctl": {"watermark_boost_factor": 12_000},
}
# What no release has otherwise that has those rules.
UNLIKE_NEWER = {"kernel_release": "7.3", "slab": {"slub": "sheaves"}}
# Parameters by where else they come from.
OF_THE_RECORDING = ("page_shift", "max_page_order", "pageblock_order", "pmd_order", "thp_built_in", "nr_cpus")
FOUND = ("nr_frames", "mobility_disabled")
OF_THE_COMPUTER = ("cache_lines",)
OF_NO_CONFIG = ("nr_nodes", "numa", "stepwise")  # a config has one node, and a run says its mode


def test_every_parameter_comes_from_the_config_or_is_told_otherwise() -> None:
    *wanted, default = (params_of(study("fresh", **keys).machine) for keys in (UNLIKE, UNLIKE_NEWER, {}))
    same = {name for name in Params._fields if all(getattr(one, name) == getattr(default, name) for one in wanted)}
    assert same == {*OF_THE_RECORDING, *FOUND, *OF_THE_COMPUTER, *OF_NO_CONFIG}


@pytest.mark.parametrize("state", ["fresh", {"recorded": str(RECORDED)}], ids=["fresh", "recorded"])
def test_the_machine_has_every_parameter_of_the_config(state: object) -> None:
    wanted = params_of(study(state, **UNLIKE).machine)
    m = machine(state, **UNLIKE)
    assert params_of_machine(m)._replace(nr_frames=0) == wanted
    assert m.params[0].nr_frames == 65_536
    assert {int(batch) for batch in m.pcps["batch"]} == {9}
    assert {int(high) for high in m.pcps["high_max"]} == {77}


def test_a_replayed_machine_has_the_policies_of_its_own_release() -> None:
    assert params_of_machine(recorded_machine("x86-4k-256M"))._replace(nr_frames=0) == params_of(study("fresh").machine)


def test_sizes_that_are_not_fixed_are_the_recordings() -> None:
    m, replayed = machine({"recorded": str(RECORDED)}), recorded_machine("x86-4k-256M")
    assert np.array_equal(m.pcps, replayed.pcps)


def test_lists_of_a_fixed_size_have_one_size() -> None:
    fixed, tuned = (machine("fresh", pcp={"auto_tune": auto_tune}).pcps for auto_tune in (False, True))
    assert (fixed["high_min"] == fixed["high_max"]).all()
    assert (tuned["high_min"] < tuned["high_max"]).any()


class FirstCall(Exception):
    """A policy could be asked from here on."""


@pytest.mark.parametrize(
    ("module", "called", "state"),
    [
        (memblock, "free_range", "fresh"),  # the boot's first block
        (boot, "age", {"aged": {"order": 3, "unusable_index": 0.5}}),
        (recorded_state, "load", {"recorded": str(RECORDED)}),
    ],
    ids=["boot", "ageing", "recording"],
)
def test_files_in_place_of_policies_are_asked_from_the_first_page_on(
    module: ModuleType, called: str, state: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = Policies({"fallback": copied("fallback", tmp_path)})

    def look(m: Machine, *_: object) -> None:
        assert m.policies is policies
        raise FirstCall

    if called == "age":
        monkeypatch.setattr(boot, "boot_machine", lambda of: new_machine(of.params, policies=of.policies))
    monkeypatch.setattr(module, called, look)
    with pytest.raises(FirstCall):
        machine_of(study(state).machine, 1, policies)
