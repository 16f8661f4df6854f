"""Of several workers that need the same compiled code, one makes it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from kmsim.study import compiled_once
from kmsim.study.executors import Processes
from tests.patience import PATIENCE_S
from tests.studies import study
from tests.study.campaigns import TRACES, small_design

SLAB = {"cache": "skbuff_head_cache"}
AREA, EXACT = ({"api": api, "bytes": "9KiB"} for api in ("vmalloc", "exact"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of compiled code, in which nothing is yet; as if code were compiled."""
    monkeypatch.setattr(compiled_once, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(compiled_once, "is_compiled", lambda: True)
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("requests", "state", "kind"),
    [
        ([{"order": 0}], None, "pages-fresh"),
        ([SLAB], None, "pages-slabs-fresh"),
        ([AREA], None, "pages-slabs-vmalloc-fresh"),
        ([EXACT], None, "pages-lists-fresh"),
        ([{"order": 0}], {"aged": {"order": 9, "unusable_index": 0.5}}, "pages-aged"),
        ([{"order": 0}], {"filled": {"page_cache": "40%"}}, "pages-reclaims-filled"),
        ([{"api": "file_read", "file_size": "8MiB"}], None, "pages-reclaims-fresh"),
    ],
)
def test_a_kind_is_what_decides_what_is_compiled(requests: list[dict[str, str]], state: object, kind: str) -> None:
    others = {} if state is None else {"state": state}
    assert compiled_once.kind_of(study({"operations": 40, "requests": requests}, **others)) == kind


def test_runs_that_keep_single_operations_are_of_a_kind_of_their_own() -> None:
    keeping = study({"operations": 40, "requests": [SLAB]}, run={"operations": 5})
    assert compiled_once.kind_of(keeping) == "pages-slabs-singles-fresh"
    assert compiled_once.expected_compile_s(keeping) == compiled_once.COMPILE_S["pages-slabs"]


def test_runs_that_reclaim_take_longer_to_compile() -> None:
    reclaiming = study({"operations": 40, "requests": [SLAB]}, state={"filled": {"page_cache": "40%"}})
    plain = study({"operations": 40, "requests": [SLAB]})
    more = compiled_once.expected_compile_s(reclaiming) - compiled_once.expected_compile_s(plain)
    assert more == compiled_once.RECLAIMS_S + compiled_once.STATE_S


def test_runs_of_a_new_kind_wait_for_the_first_and_not_any_more_then(cache: Path) -> None:
    log: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with compiled_once.compiled_once(study()):
            log.append("first begins")
            begun.set()
            may_end.wait(PATIENCE_S)
            log.append("first ends")

    def second() -> None:
        begun.wait(PATIENCE_S)
        with compiled_once.compiled_once(study(seed=2)):
            log.append("second runs")

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    begun.wait(PATIENCE_S)
    with compiled_once.compiled_once(study({"operations": 40, "requests": [SLAB]})):
        log.append("another kind runs")
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert log == ["first begins", "another kind runs", "first ends", "second runs"]
    assert sorted(path.name.split(".")[0] for path in cache.glob("*.compiled")) == ["pages-fresh", "pages-slabs-fresh"]


def test_a_run_that_fails_leaves_the_compiling_to_the_next(cache: Path) -> None:
    with pytest.raises(ZeroDivisionError), compiled_once.compiled_once(study()):
        assert 1 / 0
    assert not list(cache.glob("*.compiled"))
    with compiled_once.compiled_once(study()):
        pass
    assert len(list(cache.glob("*.compiled"))) == 1


def test_where_nothing_can_be_kept_nobody_waits(cache: Path) -> None:
    cache.write_text("a file in the way")
    with compiled_once.compiled_once(study()), compiled_once.compiled_once(study()):
        assert cache.read_text() == "a file in the way"


@pytest.mark.slow
def test_two_workers_that_start_together_compile_each_entry_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    monkeypatch.setenv(TRACES, str(traces))
    monkeypatch.setenv("KMSIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    design = small_design(8, replications=6)
    with Processes(2, "tests.study.campaigns:watched") as executor:
        for replication in range(6):
            executor.submit(str(replication), design.study_of(design.points[0], replication))
        assert all(executor.next().archive for _ in range(6))
    compiled = Counter(name for path in traces.iterdir() for name in path.read_text().split())
    workers = {path.name.split("-")[0] for path in traces.iterdir()}
    print(f"{len(workers)} workers compiled {dict(compiled)}")
    assert len(workers) == 2
    assert "run_until" in compiled
    assert set(compiled.values()) == {1}
