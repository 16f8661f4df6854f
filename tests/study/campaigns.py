"""Small studies of several runs for tests, and workers that misbehave."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmsim.compile_watch import watching
from kmsim.config import Design, Study, design_of
from kmsim.study.archive import IDENTITY_FILE, pack, unpack
from kmsim.study.campaign import Outcome
from kmsim.study.checksums import TIMING_FILE
from kmsim.study.executors import Executor, Serial
from kmsim.study.identity import identity_facts, identity_of
from kmsim.study.simulate import simulate
from kmsim.study.whole_study import run_whole_study
from tests.patience import until
from tests.studies import lock_prices_only, mapping

RESPONSES = ["latency_mean", "failed_share", "lock_wait_share"]
LIVE = "workload.threads[0].live"
DIFFERS = (TIMING_FILE, "lock")  # of equal studies
TRACES = "KMSIM_TEST_TRACES"  # the folder in which workers leave what they did


def small_design(*live: int, replications: Any = 2, **others: Any) -> Design:
    """A design of one axis, how many blocks a thread holds; 40 operations on each of 2 CPUs."""
    config: Mapping[str, Any] = mapping({"operations": 40, "requests": [{"order": 0}, {"order": 4}]})
    sweep = {"axes": [{"key": LIVE, "name": "live", "values": list(live or (8, 16, 32))}]}
    asked = {"sweep": sweep, "replications": replications, "responses": RESPONSES}
    return design_of({**config, **asked, **others})


def flooded_design(*every: str) -> Design:
    """A design of one axis, how often interrupts come to a CPU whose thread has 40 operations; each takes 20 us."""
    page = {"gfp": "GFP_ATOMIC", "order": 0}
    irq = {"name": "nic", "kind": "irq", "cpus": [0], "arrivals": {"constant": "1ms"}, "requests": [page]}
    slow = {name: {"value": "10us", "source": "for a test"} for name in ("alloc_fast", "free_fast")}
    thread, irq = {"operations": 40, "cpus": [0]}, irq | {"lifetime": "immediate"}
    config = mapping(thread, costs=lock_prices_only() | slow, interrupts=[irq], run={"sample_every": "5ms"})
    axis = {"key": "workload.interrupts[0].arrivals.constant", "name": "every", "values": list(every)}
    asked = {"sweep": {"axes": [axis]}, "responses": RESPONSES, "comparisons": [{"axis": "every"}]}
    return design_of({**config, **asked})


def run(design: Design, out: Path, executor: Executor | None = None, **others: Any) -> Outcome:
    """Run a design, in this process unless told."""
    return run_whole_study(design, out, executor or Serial(), **others)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a study that must be the same however it was run."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in DIFFERS)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def archives(folder: Path) -> list[Path]:
    """The files of the runs."""
    return sorted((folder / "runs").glob("*.zip"))


def traced(study: Study) -> bytes:
    """Simulate, and leave a trace of it."""
    leave_trace(study)
    return simulate(study)


def leave_trace(study: Study) -> int:
    """Leave a trace; how many there are of this run."""
    folder = Path(os.environ[TRACES])
    live = study.workload.threads[0].live
    number = sum(path.name.startswith(f"{live}-{study.seed}-") for path in folder.iterdir())
    (folder / f"{live}-{study.seed}-{number}").write_text(str(os.getpid()))
    return number + 1


def met_another(study: Study) -> bytes:
    """A run that is over only when another one is under way."""
    leave_trace(study)
    until(lambda: len(list(Path(os.environ[TRACES]).iterdir())) > 1, "another run has begun")
    return simulate(study)


def killed_once(study: Study) -> bytes:
    """A worker that is killed in the first attempt of every run."""
    if leave_trace(study) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return simulate(study)


def killed_with_16(study: Study) -> bytes:
    """A worker that is killed by every run of 16 blocks."""
    leave_trace(study)
    if study.workload.threads[0].live == 16:
        os.kill(os.getpid(), signal.SIGKILL)
    return simulate(study)


def wrong_with_16(study: Study) -> bytes:
    """A model that has a bug with 16 blocks."""
    if study.workload.threads[0].live == 16:
        raise AssertionError("two records disagree")
    return simulate(study)


def stuck_with_16(study: Study) -> bytes:
    """A model whose machine cannot go on with 16 blocks."""
    archive = simulate(study)
    if study.workload.threads[0].live != 16:
        return archive
    members = unpack(archive, identity_of(study), "")
    del members[IDENTITY_FILE]
    end = json.loads(members["end.json"]) | {"stuck": "livelock: for 100ms no thread has finished an operation"}
    return pack({**members, "end.json": json.dumps(end).encode()}, identity_of(study), identity_facts(study))


def of_another_version(study: Study) -> bytes:
    """A worker that runs something else than it was asked for."""
    return simulate(study.model_copy(update={"seed": study.seed + 1000}))


def watched(study: Study) -> bytes:
    """Simulate, and note what was compiled for it."""
    with watching(print, 0.0) as watch:
        archive = simulate(study)
    (Path(os.environ[TRACES]) / f"{os.getpid()}-{study.seed}").write_text("\n".join(watch.names))
    return archive
