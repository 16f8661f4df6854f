"""The rules between keys, also of a noun some of whose keys are broken.

The broken keys of a machine or a thread are left out and the rest is checked; what follows from a
broken key is not reported, because it would be a guess.
"""

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from kmsim.config.machine import MachineConfig
from kmsim.config.quantities import Finding, Model, finding
from kmsim.config.workload import ThreadConfig

M = TypeVar("M", bound=Model)

# Stand-ins for required keys that are broken or missing; nothing is reported that follows from them.
_STAND_IN: dict[type[Model], dict[str, Any]] = {
    MachineConfig: {"arch": "x86-64", "cpus": 1, "memory": "16GiB"},
    ThreadConfig: {"name": "thread"},
}


class Partly(NamedTuple, Generic[M]):
    """A noun without its broken keys."""

    noun: M
    broken: frozenset[str]

    def sound(self, key: str) -> Any:
        """The value of a key, or None if the key is broken."""
        return None if key in self.broken else getattr(self.noun, key)

    def reported(self, found: Finding) -> bool:
        """Whether a finding follows from sound keys alone."""
        return not self.broken & {str(found.loc[0]), *found.needs}


def partly_valid(kind: type[M], data: Any, context: dict[str, int] | None = None) -> Partly[M] | None:
    """A noun from what is sound in the data; None if that is not enough."""
    try:
        return Partly(kind.model_validate(data, context=context), frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False)
    if not isinstance(data, dict):
        return None
    broken = {str(detail["loc"][0]) for detail in details if detail["type"] != "default_factory_not_called"}
    sound = {key: value for key, value in data.items() if key not in broken}
    noun = kind.model_validate({**_STAND_IN[kind], **sound}, context=context)
    return Partly(noun, frozenset(broken))


def machine_context(machine: Partly[MachineConfig] | None) -> dict[str, int]:
    """What a thread's ``cpus: all`` has to know."""
    return {"cpus": machine.noun.cpus if machine is not None else 1}


def findings(data: dict[str, Any], machine: Partly[MachineConfig] | None) -> Iterator[Finding]:
    """What is wrong between keys of the machine, of each thread, and of both."""
    if machine is not None:
        for found in filter(machine.reported, machine.noun.findings()):
            yield found._replace(loc=("machine", *found.loc))
    workload = data.get("workload")
    threads = workload.get("threads") if isinstance(workload, dict) else None
    names: set[str] = set()
    for n, entry in enumerate(threads if isinstance(threads, list) else []):
        thread = partly_valid(ThreadConfig, entry, machine_context(machine))
        if thread is not None:
            for found in filter(thread.reported, _thread_findings(thread, machine, names)):
                yield found._replace(loc=("workload", "threads", n, *found.loc))


def _thread_findings(
    thread: Partly[ThreadConfig], machine: Partly[MachineConfig] | None, names: set[str]
) -> Iterator[Finding]:
    yield from thread.noun.findings()
    if machine is not None:
        order = None if machine.broken & {"page_size", "arch"} else machine.sound("max_page_order")
        yield from thread.noun.machine_findings(machine.sound("cpus"), order)
    name = thread.sound("name")
    if name in names:
        yield finding(("name",), "name_twice")
    names.add(name)
