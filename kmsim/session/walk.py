"""What `kmsim walk` does: requests on a machine that does nothing else, step by step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kmsim.session.console import stdout

if TYPE_CHECKING:
    from kmsim.study.walk import Walk


def walk_and_show(requests: list[str], machine: str, sets: list[str], cpu: int, *, as_json: bool) -> None:
    """Take the requests one after the other and print their walks."""
    from kmsim.config import ConfigError
    from kmsim.config.asked import refused
    from kmsim.plots.walks import walk_lines
    from kmsim.study.limits import study_named
    from kmsim.study.walk import walks_of
    from kmsim.study.walk_requests import requests_of

    asked = requests_of(requests)
    study = study_named(machine, sets, command="walk", argument="--machine")
    if not 0 <= cpu < study.machine.cpus:
        last = study.machine.cpus - 1
        raise ConfigError([refused("cpu_machine", str(cpu), "walk", "--cpu", last=str(last))])
    walks = walks_of(study, asked, cpu)
    if as_json:
        print(json.dumps([_as_dict(walk) for walk in walks], indent=2))
        return
    for line in walk_lines(walks):
        stdout.print(line, markup=False, soft_wrap=True)


def _as_dict(walk: Walk) -> dict[str, Any]:
    """A walk with all that it holds, for programs."""
    stages = [
        {
            "lock": stage.lock,
            "ns": stage.ns,
            "steps": [step._asdict() for step in stage.steps],
            "parts": [part._asdict() for part in stage.parts],
        }
        for stage in walk.stages
    ]
    return {"request": walk.request, "outcome": walk.outcome, "ns": walk.ns, "stages": stages}
