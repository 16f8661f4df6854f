"""Every valid file loads, resolves to what its head says, and survives being written and read back."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.config import ConfigError, Study, dump, from_mapping, load, loads, shipped, starter
from kmsim.config.shipped import KINDS, configs_folder, shipped_file, shipped_names

VALID = Path(__file__).parent / "valid"
FILES = sorted(path.name for path in VALID.glob("*.yaml"))
THREADS = "workload: {threads: [{name: a}]}\n"


def resolved(study: Study, path: str) -> Any:
    value: Any = study
    for step in re.findall(r"\w+", path):
        if isinstance(value, dict):
            value = value[step]
        else:
            value = value[int(step)] if step.isdigit() else getattr(value, step)
    return value


@pytest.mark.parametrize("name", FILES)
def test_a_valid_file_resolves_to_what_its_head_says(name: str) -> None:
    study = load(VALID / name)
    text = (VALID / name).read_text(encoding="utf-8")
    for path, expected in re.findall(r"^\ufeff?# resolved: (\S+) = (.*)$", text, re.MULTILINE):
        assert resolved(study, path) == eval(expected), path


@pytest.mark.parametrize("name", FILES)
def test_a_study_written_and_read_back_is_equal(name: str) -> None:
    study = load(VALID / name)
    assert loads(dump(study)) == study


def test_every_shipped_file_loads() -> None:
    loaded = {"starter.yaml"}
    loads(starter())
    for kind, text in {
        "machines": "machine: NAME\n" + THREADS,
        "costs": "machine: x86-laptop\ncosts: NAME\n" + THREADS,
        "workloads": "extends: NAME\nmachine: x86-laptop\n",
        "bench": "",
    }.items():
        for name in shipped_names(kind):
            loads(text.replace("NAME", name)) if text else load(shipped_file(kind, name))
            loaded.add(f"{kind}/{name}.yaml")
    there = {str(path.relative_to(configs_folder())) for path in configs_folder().rglob("*.y*ml")}
    assert {name for name in there if name.split("/")[0] in (*KINDS, "starter.yaml")} == loaded
    for name in there - loaded - {"caches.yaml"}:
        load(configs_folder() / name)


def test_a_shipped_file_is_named_as_it_names_itself() -> None:
    for name in shipped_names("machines"):
        assert loads(f"machine: {name}\n" + THREADS).machine.name == name
    for name in shipped_names("costs"):
        assert loads(f"machine: x86-laptop\ncosts: {name}\n" + THREADS).costs.name == name


def test_a_mapping_means_what_the_same_file_means() -> None:
    config = {"machine": {"extends": "x86-laptop", "cpus": 2}, "workload": {"threads": ({"name": "a"},)}}
    text = "machine: {extends: x86-laptop, cpus: 2}\n" + THREADS
    assert from_mapping(config) == loads(text)


def test_a_study_cannot_be_changed() -> None:
    study = loads("machine: x86-laptop\n" + THREADS)
    with pytest.raises(ValueError, match="frozen"):
        study.machine.cpus = 2


def test_overrides_are_laid_over_in_order_and_the_seed_over_all() -> None:
    sets = [
        "machine.cpus=4",
        "machine.cpus=2",
        "workload.threads[0].think=2us",
        "seed=3",
        "run.validate_every=9",
    ]
    study = loads("machine: x86-laptop\n" + THREADS, sets=sets, seed=7)
    assert (study.machine.cpus, study.seed, study.run.validate_every) == (2, 7, 9)
    assert study.workload.threads[0].think.mean_ps == 2_000_000


def test_an_override_replaces_a_name_and_changes_what_a_name_stands_for() -> None:
    text = "machine: x86-laptop\n" + THREADS
    assert loads(text, sets=["machine=arm64-server"]).machine.arch == "arm64"
    assert loads(text, sets=["machine.thp.enabled=never"]).machine.thp.enabled == "never"
    assert loads(text, sets=["machine.thp.enabled=never"]).machine.memory == 16 << 30


def test_an_override_enters_lists_in_lists() -> None:
    text = "machine: x86-laptop\nworkload: {threads: [{name: a, requests: [{order: 1}, {order: 2}]}]}\n"
    study = loads(text, sets=["workload.threads[0].requests[1].order=3"])
    assert [request.order for request in study.workload.threads[0].requests] == [1, 3]


def test_a_study_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "my first study.yaml"
    path.write_text("machine: x86-laptop\n" + THREADS)
    assert load(path).name == "my-first-study"


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "buddyinfo").write_text("")
    (tmp_path / "base" / "base.yaml").write_text("machine: {extends: x86-laptop, state: {buddyinfo: buddyinfo}}\n")
    (tmp_path / "study.yaml").write_text("extends: base/base.yaml\n" + THREADS)
    monkeypatch.chdir("/")
    state = load(tmp_path / "study.yaml").machine.state
    assert state.model_dump()["buddyinfo"] == tmp_path / "base" / "buddyinfo"


@given(st.text())
def test_no_text_ends_in_anything_but_a_study_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text)


YAML_LIKE = st.lists(
    st.sampled_from(
        [*"[]{},:-?&*!|>'\"%@#\n \t", "a", "&a ", "*a ", "<<", "machine: ", "- ", ": ", "0x", ".nan", "---\n"]
    )
)


@given(YAML_LIKE)
def test_nothing_that_looks_like_yaml_does_either(parts: list[str]) -> None:
    with pytest.raises(ConfigError):
        loads("".join(parts))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    "name", "seed", "machine", "costs", "workload", "run", "extends", "machine.arch", "machine.page_size",
    "machine.memory_map", "machine.reserved", "machine.released", "machine.thp", "machine.sysctl",
    "machine.state", "machine.state.aged", "machine.MAX_ORDER", "machine.notes",
    "machine.sysctl.lowmem_reserve_ratio",
    "machine.kernel_release", "machine.written_for", "machine.memory", "machine.memory_map[0].size", "machine.extends",
    "machine.max_page_order", "costs.alloc_fast", "workload.threads", "workload.threads[0]",
    "workload.threads[0].cpus", "workload.threads[0].think", "workload.threads[0].requests",
    "machine.pcp", "machine.timeslice", "costs.cache_lines", "workload.interrupts", "workload.interrupts[0]",
    "workload.interrupts[0].arrivals", "workload.interrupts[0].operations", "workload.threads[0].lifetime",
    "workload.threads[0].arrivals", "workload.threads[0].operations", "workload.threads[0].freed_by",
    "workload.threads[0].phases", "workload.threads[0].phases[0]", "workload.threads[0].phases[0].do",
    "workload.threads[0].phases[0].lifetime", "workload.threads[0].requests[0].bytes",
    "workload.threads[0].requests[0].gfp", "workload.threads[0].requests[0].weight", "run.sample_every",
    "workload.threads[0].requests[0].api", "workload.threads[0].requests[0].cache",
    "workload.threads[0].requests[0].pages", "workload.threads[0].requests[0].bytes.table",
    "workload.threads[0].requests[0].bytes.uniform.low", "workload.threads[0].remote_frees", "machine.slab",
    "machine.vmalloc", "machine.vmalloc.size", "machine.caches", "machine.caches[0].object_size",
    "machine.caches[0].align", "machine.caches[0].flags", "machine.caches[0].name",
]  # fmt: skip


def problems_of(config: Any) -> list[str]:
    try:
        from_mapping(config)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_key_is_a_study_or_a_config_error(place: str, value: object) -> None:
    config: Any = {
        "machine": {
            "arch": "arm64", "cpus": 2, "written_for": "6.1", "page_size": "4KiB", "thp": {}, "sysctl": {},
            "memory_map": [{"start": "1GiB", "size": "1GiB"}],
            "caches": [{"name": "mine", "object_size": "96B"}],
        },
        "costs": {"extends": "xeon-gold-5320"},
        "workload": {
            "threads": [{"name": "a", "requests": [{}], "phases": [{"do": "fill"}]}],
            "interrupts": [{"name": "i", "kind": "irq", "arrivals": {"poisson": "1ms"}}],
        },
        "run": {},
    }  # fmt: skip
    *steps, last = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", place)]
    inner = config
    for step in steps:
        inner = inner[step] if isinstance(inner, list) else inner.setdefault(step, {})
    inner[last] = value
    assert all(len(line) < 2000 for line in problems_of(config))


def test_a_shipped_study_is_found_by_its_path_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "experiments/page_size_and_max_order/small.yaml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "kmsim").mkdir()
    (tmp_path / "kmsim" / "configs").symlink_to(configs_folder())
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "kmsim")
    assert shipped.study_file(name) == name
    packed = tmp_path / "kmsim" / name
    packed.parent.mkdir(parents=True)
    packed.write_text("extends: study.yaml\n")
    (packed.parent / "study.yaml").write_text("machine: x86-laptop\nworkload: {threads: [{name: packed}]}\n")
    assert shipped.study_file(name) == packed
    assert shipped.study_file("experiments/../kmsim") == "experiments/../kmsim"
    assert shipped.study_file("small.yaml") == "small.yaml"
    assert load(name).workload.threads[0].name == "packed"
    mine = tmp_path / "elsewhere" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("machine: x86-laptop\nworkload: {threads: [{name: mine}]}\n")
    assert load(name).workload.threads[0].name == "mine"
