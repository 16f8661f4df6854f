"""What `kmsim machine` does: reads what there is of a machine, and writes a config file of it and its state."""

from __future__ import annotations

from pathlib import Path

from kmsim.config import ConfigError, Problem, loads
from kmsim.config.errors import must
from kmsim.input_file import InputFileError
from kmsim.output import check_file, write_file
from kmsim.session.console import stdout
from kmsim.survey.facts import ARCHES, facts_of
from kmsim.survey.machine_file import Found, Wishes, found_machine, text_of
from kmsim.survey.texts import SurveyError, of_host, of_paths
from kmsim.text import nr_of
from kmsim.units import parse_size


def wishes_of(node: int | None, memory: str | None, arch: str | None) -> Wishes:
    """What the user says of the machine; ConfigError where it cannot be."""
    nr_bytes = None
    if memory is not None:
        try:
            nr_bytes = parse_size(memory)
        except ValueError:
            raise ConfigError([Problem("size", "--memory", None, "", must("size"), memory)]) from None
    if arch is not None and arch not in ARCHES:
        raise ConfigError([Problem("one_of", "--arch", None, "", must("one_of", choices=", ".join(ARCHES)), arch)])
    return Wishes(node, nr_bytes, None if arch is None else ARCHES[arch])


def machine_and_show(paths: list[Path], out: Path, which: int | None, wishes: Wishes) -> None:
    """Write the machine's file, and say where it came from and what is assumed; ConfigError where it cannot be read."""
    check_file(out)
    found = surveyed(paths, which, wishes)
    content = text_of(found)
    check_simulated(found, content)
    write_file(out, content.encode())
    for line in lines_of(found, out):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)


def surveyed(paths: list[Path], which: int | None, wishes: Wishes) -> Found:
    """The machine that the texts describe."""
    try:
        texts = of_paths(paths) if paths else of_host()
        return found_machine(facts_of(texts, which), wishes)
    except SurveyError as error:
        raise ConfigError([Problem("survey", error.path, error.line, "", error.must, error.found)]) from None
    except InputFileError as error:
        path = str(error.filename)
        raise ConfigError([Problem(f"file_{error.rule}", path, None, "", error.must, error.strerror or "")]) from None


def lines_of(found: Found, out: Path) -> list[str]:
    """What is said of the machine, and all that is assumed."""
    machine = found.machine
    release = f"Linux {machine['recorded_release']}" if "recorded_release" in machine else "a kernel without a name"
    lines = [f"{machine['arch']}, {machine['page_size']} pages, {nr_of(machine['cpus'], 'CPU')}, {release}"]
    for zone in machine.get("state", {}).get("free_lists", []):
        free = {name: sum(n << order for order, n in enumerate(blocks)) for name, blocks in zone["free"].items()}
        said = ", ".join(f"{name} {pages:,}" for name, pages in free.items()) or "none"
        lines.append(f"zone {zone['zone']}: free pages by type: {said}")
    lines += [f"note: {note}" for note in found.notes]
    return [*lines, f"written to {out}; `kmsim check {out}`, `kmsim run {out}`"]


def check_simulated(found: Found, content: str) -> None:
    """Refuse a file that the config door would refuse, before it is written, by what the machine was read from."""
    try:
        loads(content)
    except ConfigError as error:
        first, *others = found.sources
        path = f"{first} and {nr_of(len(others), 'other')}" if others else first
        raise ConfigError(
            Problem(
                "survey", path, None, "", f"be of a machine that is simulated: its {one.key} must {one.must}", one.found
            )
            for one in error.problems
        ) from None
