"""A study from its design to its folder: `run_whole_study`, and `merge` for one that was run in shards.

The order in the folder: what there was of another version of the study goes, its inputs are written, its runs,
its tables, design.json, which says that the study is finished, and last the checksums. study.yaml and
provenance.json say nothing of the command or of who runs it: any way to run a study leaves the same bytes.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kmsim.config.design import Design, load_design, study_text
from kmsim.study.campaign import ALL, Campaign, Counts, Outcome, Report, Shard, Stopped, say_nothing
from kmsim.study.checksums import CHECKSUMS_FILE, REPORT_FILE, TIMING_FILE, sums_in
from kmsim.study.cluster import SchedulerLost
from kmsim.study.collect import collect
from kmsim.study.executors import Executor
from kmsim.study.identity import hash_of_file, model_hash
from kmsim.study.results import load_study
from kmsim.study.store import SCHEMA_VERSION, NotAResult, timing, versions
from kmsim.study.study_folder import (
    DESIGN_FILE,
    FAILURES,
    PROVENANCE_FILE,
    STUDY_FILE,
    TABLE_FILES,
    NotWritten,
    StudyFolder,
    check_free,
    is_study_folder,
    verified,
)

FIGURES = "figures"

Prepared = Callable[[Counts], None]
Finish = Callable[[Path], None]


def draw_nothing(out: Path) -> None:
    """What is made of the results of a study that is not to be drawn."""


def run_whole_study(
    design: Design,
    out: Path,
    executor: Executor,
    report: Report = say_nothing,
    *,
    shard: Shard = ALL,
    prepared: Prepared = say_nothing,
    finish: Finish = draw_nothing,
) -> Outcome:
    """Run what is not yet there of a study, collect it, and `finish` it; a shard is left to `merge`.

    `prepared` is told what is to be done. Raises Stopped where it could not be finished, NotAResult where the
    folder is not ours or cannot be written.
    """
    start = time.perf_counter()
    check_free(out)
    with executor, StudyFolder(out) as folder:  # a scheduler that does not answer leaves no folder behind
        campaign = Campaign(design, folder, report, shard)
        with _keeping(campaign):
            outcome = finished(design, folder) if shard.of == 1 else None
            if outcome is None:
                write_inputs(design, folder)
                campaign.prepare()
                prepared(campaign.counts)
                outcome = campaign.work(executor)
                if shard.of == 1:
                    collect(design, folder, outcome)
                else:
                    folder.seal()
            else:
                prepared(outcome.counts)
                report(outcome.counts)
            if shard.of == 1:
                finish(out)
            folder.write(TIMING_FILE, timing(total_s=time.perf_counter() - start, reused=outcome.counts.reused))
    return outcome


def finished(design: Design, folder: StudyFolder) -> Outcome | None:
    """The outcome of a study that is finished already; None of one that is not, or in which a run failed.

    Its inputs are those that stand in the folder, so its runs are those of the folder's tables: nothing is resolved,
    unpacked or computed again, but every file is verified.
    """
    if any(folder.text(name) != text for name, text in _inputs(design).items()):
        return None
    try:
        study = load_study(folder.path)
        if study.runs["failed"].any() or any(hash_of_file(Path(name)) != of for name, of in study.files.items()):
            return None
        names = set(study.runs["file"])
        identities = {study.run_path(name).stem for name in names}
        if any(folder.run(identity) is None for identity in identities):
            return None
    except NotAResult:
        return None
    kept, others = folder.kept()
    counts = Counts(total=len(study.runs), done=len(study.runs), reused=len(identities), other_files=others)
    counts.stuck = int((study.runs["stuck"] != "").sum())
    counts.nr_earlier, counts.capped = len(kept - identities), study.imprecise
    return Outcome((), counts, {})


def merge(out: Path, shards: Sequence[Path], report: Report = say_nothing, finish: Finish = draw_nothing) -> Outcome:
    """The folder of a whole study from those of its shards: the same bytes as if it had been run at once."""
    check_free(out)
    sums = [_verified_shard(shard) for shard in shards]
    design = _design_of_all(shards)
    with StudyFolder(out) as folder:
        sources = [StudyFolder(shard) for shard in shards]
        campaign = Campaign(design, folder, report, ALL, sources)
        with _keeping(campaign):
            campaign.prepare()
            _take_failures(campaign, folder, list(zip(sources, sums, strict=True)))
            _check_complete(campaign, out)
            write_inputs(design, folder)
            outcome = campaign.outcome()
            collect(design, folder, outcome)
            finish(out)
    return outcome


@contextmanager
def _keeping(campaign: Campaign) -> Iterator[None]:
    """If a campaign ends early, say what was kept."""
    try:
        yield
    except (KeyboardInterrupt, SchedulerLost) as error:
        raise Stopped(f"{str(error) or 'interrupted'}; {_kept(campaign)}; the same command goes on") from error
    except NotWritten as error:
        raise NotWritten(f"{error}; {_kept(campaign)}") from error


def write_inputs(design: Design, folder: StudyFolder) -> None:
    """Write what is known before the first run; what shows another version of the study is removed before."""
    inputs = _inputs(design)
    if any(folder.text(name) != text for name, text in inputs.items()):
        drawn = [f"{FIGURES}/{name}" for name in (*_drawn(folder.path / FIGURES), CHECKSUMS_FILE)]
        for name in (CHECKSUMS_FILE, DESIGN_FILE, *TABLE_FILES, REPORT_FILE, *drawn):
            folder.remove(name)
        for name, text in inputs.items():
            folder.write(name, text)
        folder.seal()


def _inputs(design: Design) -> dict[str, str]:
    """The files that say what a study is, and their texts."""
    return {PROVENANCE_FILE: json.dumps(facts_of(design), indent=2) + "\n", STUDY_FILE: study_text(design)}


def _drawn(figures: Path) -> tuple[str, ...]:
    """The figures that kmsim has drawn into a folder; none where their checksums are damaged."""
    try:
        return tuple(sums_in(figures))
    except (OSError, ValueError):
        return ()


def facts_of(design: Design) -> dict[str, Any]:
    """The provenance of a study: what is needed to make it again, and nothing of when and how it was made."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": design.name,
        "seed": design.seed,
        "versions": versions() | {"scipy": version("scipy")},  # which draws samples and tests
        "python": platform.python_version(),
        "host": {"system": platform.system(), "machine": platform.machine()},
        "model": model_hash(),
        "nr_points": len(design.points),
        "nr_dropped": len(design.dropped),
    }


def _kept(campaign: Campaign) -> str:
    return f"{campaign.nr_kept} of {campaign.counts.total} runs are kept"


def _verified_shard(shard: Path) -> dict[str, str]:
    """The checksums of a shard's folder, by which it is whole."""
    if not is_study_folder(shard):
        raise NotAResult(f"{shard}: must be the result folder of a shard")
    return verified(shard)


def _design_of_all(shards: Sequence[Path]) -> Design:
    """The design of which all these are shards."""
    texts = set()
    for shard in shards:
        texts.add(StudyFolder(shard).text(STUDY_FILE))
        if len(texts) > 1:
            raise NotAResult(f"{shard}: must be a shard of the same study as {shards[0]}; its study.yaml differs")
    return load_design(shards[0] / STUDY_FILE)


def _take_failures(
    campaign: Campaign, folder: StudyFolder, sources: Sequence[tuple[StudyFolder, Mapping[str, str]]]
) -> None:
    """Copy why runs failed, where a checksum lists it: a failure may call for further replications."""
    found = True
    while found:
        found = False
        for identity in dict.fromkeys(run.identity for run in campaign.missing):
            file = f"{FAILURES}/{identity}.txt"
            texts = (source.failure(identity) for source, sums in sources if file in sums)
            text = next((text for text in texts if text is not None), None)
            if text is not None:
                folder.keep_failure(identity, text)
                campaign.fail(identity)
                found = True


def _check_complete(campaign: Campaign, out: Path) -> None:
    missing = campaign.missing
    if missing:
        first = f"point {missing[0].point.number}, replication {missing[0].replication}"
        text = f"{out}: must be merged from all shards, each finished; {len(missing)} runs are missing, first {first}"
        raise NotAResult("; ".join([text, *campaign.counts.bad_files[:3]]))
