"""`kmsim walk`: the simulator tells what it does, and the sum of what it tells is what a run counts."""

import json
import math
import re
from collections.abc import Generator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kmsim
from kmsim.config import ConfigError, from_mapping, load
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SlabBuild
from kmsim.sim.simulation import Simulation
from kmsim.study.amount import Amount, price_of
from kmsim.study.runner import run_study
from kmsim.study.walk import idle_study
from kmsim.study.walk_requests import requests_of
from kmsim.study.walk_why import why_of
from kmsim.study.walk_words import OF_PAGES, WORDS
from tests.commands import Shell, in_own_process

MACHINE = "{name: small, arch: x86-64, memory: 64MiB, cpus: 2, slab: {freelist_random: false}}\n"
PAIRS = [
    ("alloc_pages(GFP_KERNEL)", "free_pages()"),
    ("alloc_pages(GFP_HIGHUSER_MOVABLE, 4)", "free_pages()"),
    ("alloc_pages(GFP_ATOMIC, 3)", "free_pages()"),
    ("alloc_pages_exact(20KiB, GFP_KERNEL)", "free_pages_exact()"),
    ("kmalloc(100, GFP_KERNEL)", "kfree()"),
    ("kmalloc(5000, GFP_ATOMIC)", "kfree()"),
    ("kzalloc(40KiB, GFP_KERNEL)", "kfree()"),
    ("vmalloc(33KiB)", "vfree()"),
    ("vzalloc(5KiB)", "vfree()"),
    ("kvmalloc(9MiB, GFP_KERNEL)", "kvfree()"),
    ("kvzalloc(9KiB, GFP_KERNEL)", "kvfree()"),
]
EACH_PAIR = [one if one in PAIRS[1:10:3] else pytest.param(one, marks=pytest.mark.slow) for one in PAIRS]
FEW = "{free_lists: [{zone: DMA, free: {}}, {zone: DMA32, free: {Unmovable: [0, 0, 0, 400, 0, 0, 0, 0, 0, 0, 0]}}]}"
STATES = {"fresh": "fresh", "aged": "{aged: {order: 9, unusable_index: 0.8}}"}


def caller(pair: tuple[str, str], *, on: int = 0, may_fail: bool = False) -> Any:
    """A user's process that makes the two calls; if it may fail, the second only where there is something to free."""

    def process(simulation: Simulation) -> Generator[Any, Any, None]:
        cpu = simulation.cpus[on]
        first, second = requests_of(list(pair))
        alloc = yield from getattr(cpu, first.name)(*first.arguments.values())
        if alloc is None and may_fail:
            return
        assert alloc is not None
        extra = [alloc.nr_bytes] if second.name == "free_pages_exact" else []
        yield from getattr(cpu, second.name)(alloc, *extra)

    return process


def counted_ns(state: str, pair: tuple[str, str], machine: Path) -> list[float]:
    """What a compiled run on the same machine counts as the latency of the two."""
    workload = {"threads": [{"name": "a"}]}
    study = from_mapping({"machine": str(machine), "workload": workload}, [f"machine.state={STATES[state]}"])
    table = run_study(idle_study(study), processes=(caller(pair),)).operations
    assert table["count"].sum() == 2
    return [float(table.loc[table["kind"] == kind, "mean_ns"].dropna().iloc[0]) for kind in ("alloc", "free")]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walk") / "machine.yaml"
    path.write_text(MACHINE)
    return path


@pytest.mark.parametrize("state", ["fresh", pytest.param("aged", marks=pytest.mark.slow)])
@pytest.mark.parametrize("pair", EACH_PAIR, ids=lambda pair: pair[0])
def test_the_sum_of_the_parts_is_the_latency_that_a_run_counts(
    pair: tuple[str, str], state: str, machine: Path
) -> None:
    done = in_own_process(
        "walk", *pair, "--machine", str(machine), "--state", STATES[state], "--json", folder=machine.parent
    )
    assert (done.code, done.err) == (0, "")
    walks = json.loads(done.out)
    assert [walk["request"] for walk in walks] == list(pair)
    for walk, counted in zip(walks, counted_ns(state, pair, machine), strict=True):
        assert math.isclose(walk["ns"], counted, abs_tol=1e-3)
        assert math.isclose(walk["ns"], sum(stage["ns"] for stage in walk["stages"]), abs_tol=1e-3)
        assert any(stage["steps"] for stage in walk["stages"])
        for stage in walk["stages"]:
            assert math.isclose(stage["ns"], sum(part["ns"] for part in stage["parts"]), abs_tol=1e-3)
            assert all(part["price"] != "waiting" and part["source"] for part in stage["parts"])


ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests/validation/recordings/x86-612-4k-256M-c2-full.json.gz"
BUDDYINFO = ROOT / "tests/golden/studies/buddyinfo.txt"
FRAGMENTED = """free_lists:
    - {zone: DMA, free: {Unmovable: [9, 5, 3, 1, 0, 0, 0, 0, 0, 0, 0], Movable: [100, 50, 20, 9, 0, 0, 0, 0, 0, 0, 0]}}
    - zone: DMA32
      free:
        Unmovable: [30, 20, 18, 11, 0, 0, 0, 0, 0, 0, 0]
        Movable: [4000, 3000, 1500, 700, 0, 0, 0, 0, 0, 0, 0]
        Reclaimable: [24, 13, 5, 3, 0, 0, 0, 0, 0, 0, 0]"""
RECORDED = f"{{recorded: {RECORDING}, section: script.mix_mov, moment: after}}"
MORE_STATES = {
    "recorded": f"{{extends: x86-612-4k-256M-c2, state: {RECORDED}}}",
    "buddyinfo": f"{{arch: x86-64, memory: 256MiB, cpus: 2, state: {{buddyinfo: {BUDDYINFO}}}}}",
    "fragmented": f"\n  arch: x86-64\n  memory: 256MiB\n  cpus: 2\n  state:\n   {FRAGMENTED}",
}


def calls_one_after_another(simulation: Simulation) -> Generator[Any, Any, None]:
    """A user's process that makes all calls of PAIRS; a free follows an allocation that did not fail."""
    for pair in PAIRS:
        yield from caller(pair, on=1, may_fail=True)(simulation)


@pytest.mark.slow
@pytest.mark.parametrize("state", MORE_STATES)
def test_in_any_state_each_sum_is_the_latency_of_that_operation_in_the_runs_table(state: str, tmp_path: Path) -> None:
    """All calls one after another, of which each finds what those before have left; some fail in fragmented memory."""
    file = tmp_path / "study.yaml"
    file.write_text(f"machine: {MORE_STATES[state]}\nworkload: {{threads: [{{name: a}}]}}\n")
    requests = [request for pair in PAIRS for request in pair]
    done = in_own_process("walk", *requests, "--machine", str(file), "--cpu", "1", "--json", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    walks = [walk for walk in json.loads(done.out) if walk["outcome"] != "nothing was there to free"]
    study = idle_study(load(file, ["run.operations=100"]))
    singles = run_study(study, processes=(calls_one_after_another,)).single_operations
    assert [walk["outcome"].startswith("failed") for walk in walks] == singles["failed"].astype(bool).tolist()
    assert set(singles["cpu"]) == {1}
    assert singles["failed"].any() == (state == "fragmented")
    for walk, counted in zip(walks, singles["latency_ns"], strict=True):
        assert math.isclose(walk["ns"], counted, abs_tol=1e-3), walk["request"]
        assert math.isclose(walk["ns"], sum(stage["ns"] for stage in walk["stages"]), abs_tol=1e-3)


REFUSED = "refused at once: no memory is given in this size"


@pytest.mark.slow
def test_a_request_that_comes_to_no_allocator_says_so_and_the_next_keeps_its_own_walk(tmp_path: Path) -> None:
    asked = {
        "kmalloc(0, GFP_KERNEL)": "address 0x10",  # ZERO_SIZE_PTR
        "kmalloc(5MiB, GFP_KERNEL)": REFUSED,
        "vmalloc(0)": REFUSED,
        "alloc_pages_exact(0, GFP_KERNEL)": REFUSED,
        "kvmalloc(3GiB, GFP_KERNEL)": REFUSED,
    }
    done = in_own_process("walk", *asked, "kmalloc(64, GFP_KERNEL)", "kfree()", "kfree()", "--json", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    walks = {walk["request"]: walk for walk in json.loads(done.out)}
    assert {request: walks[request]["outcome"] for request in asked} == asked
    assert not any(walks[request]["stages"] for request in asked)
    served = walks["kmalloc(64, GFP_KERNEL)"]
    assert served["outcome"].startswith("cache kmalloc-64,")
    assert served["stages"]
    assert served["ns"] > 0


def test_a_large_kmalloc_takes_the_time_of_a_compound_page(machine: Path) -> None:
    asked = ("kmalloc(4MiB, GFP_KERNEL)", "alloc_pages(GFP_KERNEL | __GFP_COMP, 10)", "alloc_pages(GFP_KERNEL, 10)")
    freed = ("kfree()", "free_pages()", "free_pages()")
    large, compound, plain = (counted_ns("fresh", pair, machine) for pair in zip(asked, freed, strict=True))
    assert large == compound
    assert large[0] > plain[0]


def test_the_walk_of_a_kmalloc_that_needs_a_new_slab(tmp_path: Path) -> None:
    done = in_own_process("walk", "kmalloc(5000, GFP_KERNEL)", "kfree()", folder=tmp_path)
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("kmalloc(5000, GFP_KERNEL): cache kmalloc-8k, address 0x")
    words = [line.split(":")[0].strip() for line in lines]
    unwrapped = " ".join(done.out.split())
    why = "the smallest of kmalloc's caches that holds 5,000 bytes; 4 objects of 8KiB in a slab of order 3"
    assert f"slab_alloc_node: kmalloc-8k: {why}" in unwrapped
    assert "the head of a block of order 10 of type Movable, split down to order 3 try_to_steal_block" in unwrapped
    path = ["slab_alloc_node", "__slab_alloc", "__alloc_pages", "zone_watermark_fast", "rmqueue_bulk", "allocate_slab"]
    assert [words.index(function) for function in path] == sorted(words.index(function) for function in path)
    assert any("holding zone Normal" in line for line in lines)
    assert any("rmqueue_bulk: 7 blocks of order 3" in line for line in lines)
    assert "prices, in ns" in lines


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("kmaloc(3)", "did you mean 'kmalloc'"),
        ("kmalloc()", "must be a request: kmalloc(size, gfp)"),
        ("kmalloc(x, GFP_KERNEL)", "a whole number as size"),
        ("kfree()", "after a request of kmalloc or kzalloc"),
        ("alloc_pages(GFP_KERNL)", "is not a GFP flag"),
        ("alloc_pages(GFP_KERNEL, 99)", "an order is 0 to 10"),
        ("__import__('os').system('x')", "one such as kmalloc(5000, GFP_KERNEL)"),
        ("kmalloc(1", "one such as kmalloc(5000, GFP_KERNEL)"),
        ("kmalloc(" + "(" * 150 + ")", "one such as kmalloc(5000, GFP_KERNEL)"),
        ("kmalloc(" + "1" * 300 + ")", "at most 200 characters"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(
    call: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kmsim.study.walk.is_compiled", lambda: False)  # refused before, or by, the simulated CPU
    done = Shell(tmp_path, monkeypatch, capsys)("walk", call)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("kmsim walk: REQUEST: must be a request")
    assert message in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--cpu", "8", "0 to 7"),
        ("--machine", "nosuch", "shipped name"),
        ("--state", "nosuch", "--state nosuch: machine.state: must be fresh"),
        ("--state", "{aged: {order: 99, unusable_index: 1}}", "unusable_index: 1}}: machine.state.aged.order: must"),
        ("--state", "{", "--state {: must be YAML"),
        ("--set", "machine.state=nosuch", "--set machine.state=nosuch: machine.state: must be fresh"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(option: str, value: str, message: str, tmp_path: Path) -> None:
    done = in_own_process("walk", "kmalloc(5)", option, value, folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert message in line


def test_the_help_calls_a_request_what_the_messages_call_it(tmp_path: Path) -> None:
    done = in_own_process("walk", "--help", folder=tmp_path)
    assert "REQUEST..." in done.out
    assert "CALL" not in done.out


def test_a_free_gives_back_the_last_that_is_left_of_its_kind() -> None:
    calls = ["kmalloc(8)", "alloc_pages(GFP_KERNEL)", "kfree()", "free_pages()"]
    assert [request.name for request in requests_of(calls)] == ["kmalloc", "alloc_pages", "kfree", "free_pages"]
    with pytest.raises(ConfigError, match="after a request of kmalloc"):
        requests_of([*calls, "kfree()"])
    with pytest.raises(ConfigError, match="must be a request: one of at most 100, found '101 requests'"):
        requests_of(["kmalloc(8)"] * 101)


def test_from_python_it_is_a_table() -> None:
    table = kmsim.walk("alloc_pages(GFP_KERNEL)", "free_pages()")
    assert set(table["request"]) == {"alloc_pages(GFP_KERNEL)", "free_pages()"}
    assert "<td>alloc_pages(GFP_KERNEL)</td>" in table._repr_html_(), "what Jupyter shows"
    assert "__alloc_pages" in set(table["function"])
    prices = table[table["price"] != ""]
    assert (prices["source"] != "").all()
    assert prices["ns"].gt(0).all()
    with pytest.raises(ValueError, match="REQUEST: must be a request"):
        kmsim.walk("kmaloc(8)")


@pytest.mark.slow
def test_from_python_each_request_has_its_outcome_in_whatever_it_ends() -> None:
    """Served, failed at the marks, and refused without a stage; overrides are those of a run."""
    table = kmsim.walk(
        *("kmalloc(64, GFP_ATOMIC)", "alloc_pages(GFP_NOWAIT)", "kmalloc(1GiB, GFP_KERNEL)"),
        machine="x86-612-4k-256M-c2",
        state=FEW,
        overrides={"machine.sysctl.min_free_kbytes": 20_000},
    )
    outcomes = table.groupby("request", sort=False)["outcome"].unique()
    assert [list(one)[1:] for one in outcomes] == [[], [], []], "one outcome of each request"
    assert outcomes["kmalloc(64, GFP_ATOMIC)"][0].startswith("cache kmalloc-64, address 0x")
    assert outcomes["alloc_pages(GFP_NOWAIT)"][0] == "failed: there is no memory for it"
    assert outcomes["kmalloc(1GiB, GFP_KERNEL)"][0] == REFUSED
    rows = table["request"].value_counts()
    assert rows["alloc_pages(GFP_NOWAIT)"] > 5
    assert rows["kmalloc(1GiB, GFP_KERNEL)"] == 1
    (refused,) = table[table["request"] == "kmalloc(1GiB, GFP_KERNEL)"].to_dict("records")
    assert (refused["function"], refused["price"], refused["depth"]) == ("", "", 0)
    assert table["stage"].isna().sum() == table["times"].isna().sum() == 1
    for key, value in (("machine.cpuz", 3), ("machine.cpus", 0)):
        with pytest.raises(ValueError, match=r"--set machine\.cpu"):
            kmsim.walk("kmalloc(8)", overrides={key: value})
    with pytest.raises(ConfigError, match=r"machine\.cpus"):
        kmsim.walk("kmalloc(8)", overrides={"machine.cpus": object()})


BUILD = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10)
WHY = {
    "kmalloc(5000, GFP_KERNEL)": ("kmalloc-8k", "the smallest of kmalloc's caches that holds 5,000 bytes"),
    "kmalloc(65, GFP_KERNEL)": ("kmalloc-96", "the smallest of kmalloc's caches that holds 65 bytes"),
    "kvzalloc(8KiB, GFP_KERNEL)": ("kmalloc-8k", "the smallest of kmalloc's caches that holds 8,192 bytes"),
    "kmalloc(8, GFP_KERNEL | __GFP_RECLAIMABLE)": (
        "kmalloc-rcl-8",
        "the smallest of kmalloc's caches for __GFP_RECLAIMABLE that holds 8 bytes",
    ),
    "kmalloc(8, GFP_DMA | __GFP_RECLAIMABLE)": (
        "dma-kmalloc-8",
        "the smallest of kmalloc's caches for __GFP_DMA that holds 8 bytes",
    ),
    "kmalloc(8, GFP_KERNEL_ACCOUNT)": (
        "kmalloc-cg-8",
        "the smallest of kmalloc's caches for __GFP_ACCOUNT that holds 8 bytes",
    ),
}


@pytest.mark.parametrize("call", WHY)
def test_a_cache_is_named_with_its_size_and_the_flag_that_chose_its_set(call: str) -> None:
    caches = Caches(replace(BUILD, memcg=True))
    (request,) = requests_of([call])
    ((number, why),) = why_of(request, caches).items()
    assert (caches.geometries[number].name, why) == WHY[call]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("kmalloc(40KiB)", {OF_PAGES: "40,960 bytes are more than the largest of kmalloc's caches holds, 8KiB"}),
        ("kmalloc(8MiB)", {}),
        ("kmalloc(0)", {}),
        ("vmalloc(5000)", {}),
        ("kmalloc(8, GFP_KERNL)", {}),
    ],
)
def test_a_request_that_takes_no_object_has_no_reason_for_a_cache(call: str, why: dict[int, str]) -> None:
    (request,) = requests_of([call])
    assert why_of(request, Caches(BUILD)) == why


@pytest.mark.slow
def test_the_reason_for_pages_is_said_once_of_the_request_s_own_block(machine: Path) -> None:
    """kvmalloc asks for a block, and then for single pages, some of which are of slabs."""
    state = "{aged: {order: 9, unusable_index: 1}}"
    table = kmsim.walk("kvmalloc(2MiB)", machine=str(machine), state=state)
    said = table[table["says"].str.contains("more than the largest")]
    assert len(said) == 1
    assert "order 9" in said["says"].iloc[0]
    assert (table["function"] == "alloc_pages_bulk").any()


# From free memory of another type, of one order: what a request for order 2 says of the block that it gets.
OF_ANOTHER_TYPE = {
    "a claimed block": (
        ("Movable", 10, "GFP_KERNEL"),
        ["__rmqueue_claim: page frame @, the head of a block of order 10 of type Movable, split down to order 2"],
    ),
    "a claimed pageblock": (
        ("Movable", 8, "GFP_KERNEL"),
        [
            "__rmqueue_claim: page frame @, from the pageblock of a block of order 8 of type Movable",
            "__rmqueue_smallest: page frame @, the head of a block of order 8 of type Unmovable, split down to order 2",
        ],
    ),
    "a stolen block": (
        ("Unmovable", 3, "GFP_HIGHUSER_MOVABLE"),
        [
            "__rmqueue_claim: no block of another type to be claimed",
            "__rmqueue_steal: page frame @, the head of a block of order 3 of type Unmovable, split down to order 2",
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", OF_ANOTHER_TYPE)
def test_a_block_of_another_type_is_said_with_its_order_and_the_one_it_is_split_to(way: str) -> None:
    (type_, order, gfp), said = OF_ANOTHER_TYPE[way]
    free = [0] * 11
    free[order] = 4096 >> order
    lists = f"[{{zone: DMA, free: {{}}}}, {{zone: DMA32, free: {{{type_}: {free}}}}}]"
    request = f"alloc_pages({gfp}, 2)"
    table = kmsim.walk(request, machine="x86-612-4k-256M-c2", state=f"{{free_lists: {lists}}}")
    steps = [f"{step.function}: {step.says}" for step in table[table["function"] != ""].itertuples()]
    frames = {re.sub(r"0x[0-9a-f]+", "@", step) for step in steps}
    assert [words for words in said if words not in frames] == []


def test_words_are_of_functions_that_stand_for_the_kernel_s() -> None:
    for module, name in WORDS:
        function = getattr(import_module(f"kmsim.mm.{module}"), name)
        doc = getattr(function, "py_func", function).__doc__
        assert "(kernel:" in doc, (module, name)


def test_an_amount_keeps_its_parts() -> None:
    a, b = price_of("a", 3), price_of("b", 5)
    total = np.int64(4) * a + 2 * b + a - b + 7
    assert isinstance(total, Amount)
    assert total == 4 * 3 + 2 * 5 + 3 - 5 + 7
    assert total.counts == {"a": 5, "b": 1, "": 7}
    assert max(np.int64(2), a) is a
    assert (a < b, a > np.int64(2), a <= 3, b >= 6) == (True, True, True, False)
    record = np.zeros(1, np.int64)
    record[0] = total
    assert record[0] == 27
