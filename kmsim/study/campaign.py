"""Running a study: which runs are wanted, which are done already, and how the others are run.

Whatever stops a campaign, what is done is kept, and the same command goes on with it to the same bytes: a run
is used again if its file verifies and is of the identity that is wanted, and computed otherwise. Long runs start
first. Replications "until" are decided point by point, each time on all replications of the point with numbers
below some n: so how many there are does not depend on which run was done first.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kmsim.config.design import Design
from kmsim.config.errors import Refused
from kmsim.config.points import Point
from kmsim.study.archive import Damaged, Foreign, check, unpack
from kmsim.study.executors import Done, Executor
from kmsim.study.expected_cost import expected_cost
from kmsim.study.identity import files_of, hash_of_file, identity_of
from kmsim.study.responses import WHOLE_RUN, responses_of
from kmsim.study.statistics import sequential_done
from kmsim.study.store import END_FILE, NotAResult, result_of
from kmsim.study.study_folder import StudyFolder


class Shard(NamedTuple):
    """The points of a study that one of several computers runs: every `of`-th, from `number` (1 ... of) on."""

    number: int
    of: int

    def points(self, design: Design) -> tuple[Point, ...]:
        """The points that belong to this shard; all replications of a point are in one shard."""
        return design.points[self.number - 1 :: self.of]


ALL = Shard(1, 1)


class Stopped(Exception):
    """The study is not finished, but what is done is kept; the message says how much, and how to go on."""


class Wanted(NamedTuple):
    """One run of the study."""

    point: Point
    replication: int
    identity: str
    seed: int
    page_size: int
    max_page_order: int
    pageblock_order: int


@dataclass
class Counts:
    """The progress of a campaign."""

    total: int = 0
    done: int = 0  # have a result, reused ones included
    reused: int = 0
    failed: int = 0
    running: int = 0
    stuck: int = 0
    seconds_left: float = 0.0  # expected, on one core, of all that are not done
    seconds_done: float = 0.0  # expected, on one core, of those that were computed
    bad_files: list[str] = field(default_factory=list)  # what was damaged or foreign, and is computed again
    other_files: list[str] = field(default_factory=list)  # what is not a run's file at all, and is left
    nr_earlier: int = 0  # runs that are kept but not wanted: of an earlier version of the study
    capped: list[int] = field(default_factory=list)  # points that had the most replications and not the precision


Report = Callable[[Counts], None]


def say_nothing(counts: Counts) -> None:
    """The report of a quiet campaign."""


class Outcome(NamedTuple):
    """How a campaign ended."""

    runs: tuple[Wanted, ...]  # all, those that failed included, by point and replication; none if all was done before
    counts: Counts
    files: dict[str, str]  # hashes of the files that the configs of runs name, by path


class Campaign:
    """The runs of one study, or of one shard of it, on their way into a folder that is locked by us."""

    def __init__(
        self,
        design: Design,
        folder: StudyFolder,
        report: Report = say_nothing,
        shard: Shard = ALL,
        sources: Sequence[StudyFolder] = (),
    ) -> None:
        self.counts = Counts()
        self._design = design
        self._folder = folder
        self._sources = sources  # other folders where results may be
        self._report = report
        self._points = shard.points(design)
        self._runs: dict[str, list[Wanted]] = {}  # by identity: points may be equal
        self._ended: set[str] = set()  # have a result, or failed
        self._failed: set[str] = set()
        self._value: dict[str, float] = {}  # of the response that decides how many replications
        self._replications: dict[int, list[Wanted]] = {}  # by point, ascending
        self._seconds: dict[str, float] = {}  # expected, of those that are not done
        self._files: dict[str, str] = {}  # hashes of those that configs name, by path
        self._nr_begun = 0  # runs that the executor has
        self._queue: list[tuple[float, int, str]] = []  # the longest first, then as they were wanted

    def prepare(self) -> None:
        """Find out which runs are wanted, and which of them are there."""
        for point in self._points:
            for replication in range(self._design.inquiry.replications.first):
                self._want(point, replication)
            self._decide(point)
            self._report(self.counts)
        kept, self.counts.other_files = self._folder.kept()
        self.counts.nr_earlier = len(kept - set(self._runs))

    def work(self, executor: Executor) -> Outcome:
        """Do all runs that are not there, by an executor that has been entered."""
        while self._queue or self._nr_begun:
            self._fill(executor)
            self.counts.running = min(self._nr_begun, executor.nr_workers)
            self._report(self.counts)
            self._end(executor.next())
        self.counts.running = 0
        self._report(self.counts)
        return self.outcome()

    @property
    def nr_kept(self) -> int:
        """How many of its runs have a result; the count may lack one that was written when all was broken off."""
        written, _ = self._folder.kept()
        done = written - set(self._seconds) - self._failed
        return sum(len(runs) for identity, runs in self._runs.items() if identity in done)

    @property
    def missing(self) -> list[Wanted]:
        """The runs that are wanted and were not done yet."""
        return [run for runs in self._runs.values() for run in runs if run.identity not in self._ended]

    def outcome(self) -> Outcome:
        """All runs, in the order of points and replications."""
        runs = (run for point in self._points for run in self._replications[point.number])
        return Outcome(tuple(runs), self.counts, self._files)

    # ---- one run

    def _want(self, point: Point, replication: int) -> None:
        """Note a run that the study needs: take its result if it is there already, else queue it."""
        study = self._design.study_of(point, replication)
        machine = study.machine
        self._files |= {str(path): hash_of_file(path) for path in files_of(study).values()}
        orders = machine.max_page_order, machine.pageblock_order
        run = Wanted(point, replication, identity_of(study), study.seed, machine.page_size, *orders)
        self._replications.setdefault(point.number, []).append(run)
        twins = self._runs.setdefault(run.identity, [])
        twins.append(run)
        self.counts.total += 1
        if len(twins) > 1:
            self.counts.done += run.identity in self._ended - self._failed
            return
        archive = self._found(run.identity)
        if archive is not None:
            self.counts.reused += 1
            self._keep(run.identity, archive)
            return
        self._seconds[run.identity] = expected_cost(study).seconds
        self.counts.seconds_left += self._seconds[run.identity]
        heapq.heappush(self._queue, (-self._seconds[run.identity], len(self._runs), run.identity))

    def _found(self, identity: str) -> bytes | None:
        """The file of a run that is done already; one that cannot be used is noted."""
        for folder in (self._folder, *self._sources):
            try:
                archive = folder.run(identity)
            except (Damaged, Foreign) as error:
                self.counts.bad_files.append(str(error))
                continue
            if archive is not None:
                if folder is not self._folder:
                    self._folder.keep(identity, archive)
                return archive
        return None

    def _fill(self, executor: Executor) -> None:
        """Submit queued runs while the executor has free slots."""
        nr_slots = executor.nr_slots
        while self._queue and self._nr_begun < nr_slots:
            _, _, identity = heapq.heappop(self._queue)
            run = self._runs[identity][0]
            executor.submit(identity, self._design.study_of(run.point, run.replication))
            self._nr_begun += 1

    def _end(self, done: Done) -> None:
        """A run has come back."""
        self._nr_begun -= 1
        seconds = self._seconds.pop(done.key)
        self.counts.seconds_left -= seconds
        self.counts.seconds_done += seconds
        if isinstance(done.error, Refused):
            raise NotAResult(done.error)
        if done.archive is None:
            self._folder.keep_failure(done.key, done.error)
            self.fail(done.key)
        else:
            try:
                check(done.archive, done.key, "a worker's answer")
            except (Damaged, Foreign) as error:
                raise NotAResult(f"{error}; has it the same versions of kmsim, Python and packages as here?") from error
            self._folder.keep(done.key, done.archive)
            self._keep(done.key, done.archive)
            self._decide_all(done.key)

    def _keep(self, identity: str, archive: bytes) -> None:
        self._ended.add(identity)
        self.counts.done += len(self._runs[identity])
        where = str(self._folder.run_path(identity))
        is_stuck = bool(json.loads(unpack(archive, identity, where, END_FILE)[END_FILE])["stuck"])
        self.counts.stuck += len(self._runs[identity]) if is_stuck else 0
        until = self._design.inquiry.replications.until
        if until is not None and not is_stuck:  # its numbers are no estimate of anything
            config = tuple(one for one in self._design.inquiry.responses if one.name == until.response)
            values = responses_of(result_of(unpack(archive, identity, where)), config)
            self._value[identity] = next(one.value for one in values if one.batch == WHOLE_RUN)  # perhaps NaN

    def fail(self, identity: str) -> None:
        """Note a run that failed because of a bug in kmsim: it has no result."""
        self._ended.add(identity)
        self._failed.add(identity)
        self.counts.failed += len(self._runs[identity])
        self._decide_all(identity)

    # ---- how many replications

    def _decide_all(self, identity: str) -> None:
        for run in self._runs[identity]:
            self._decide(run.point)

    def _decide(self, point: Point) -> None:
        """Queue a point's next replication, and one more wherever that has a result already, until there are enough."""
        until = self._design.inquiry.replications.until
        runs = self._replications[point.number]
        while until is not None and all(run.identity in self._ended for run in runs):
            values = [self._value[run.identity] for run in runs if run.identity in self._value]
            if sequential_done(values, until.half_width, until.at_least):
                return
            if len(runs) >= until.at_most:
                self.counts.capped.append(point.number)
                return
            self._want(point, len(runs))
