"""One run of a study as a function of its config: what executors move about and workers call.

Its bytes depend on the config and the seed alone: not on what the study is called, who runs it, or when. So
the command line is not part of them, as it is of a plain run's result: the options of one command would differ
between executors. A study's own folder says how to make it again: `kmsim run OUT/study.yaml`.
"""

from __future__ import annotations

from kmsim.config import Study, dump
from kmsim.study.archive import pack
from kmsim.study.compiled_once import compiled_once
from kmsim.study.identity import identity_facts, identity_of
from kmsim.study.runner import result_of_run, run_point
from kmsim.study.store import packed_members_of, proc_files, provenance

NAME = "run"  # of every run; a study calls it by its point


def simulate(study: Study) -> bytes:
    """Simulate a resolved study of one run; its archive. Raises what the model raises where it is wrong."""
    study = study.model_copy(update={"name": NAME})
    with compiled_once(study):
        simulation = run_point(study)
        result = result_of_run(simulation, dump(study), provenance(study, []))
        members = packed_members_of(result, proc_files(simulation))
        simulation.free()
    return pack(members, identity_of(study), identity_facts(study))
