"""The one door: from a file, a text or a mapping to a resolved ``Study``, or to everything wrong with it.

The order: read and merge the files, lay the overrides over them, translate what has an old name, then check
each key alone (pydantic), then the keys of one noun against each other, then nouns against each other.
A broken key hides only what follows from it, so that one run shows as much as it can.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kmsim.config.between import findings, machine_context, partly_valid
from kmsim.config.extends import Includes
from kmsim.config.inquiry import FigureConfig, Inquiry
from kmsim.config.machine import MachineConfig
from kmsim.config.node import Node, Place, Problems, from_python, mapping, scalar
from kmsim.config.overrides import apply_sets, keys_of
from kmsim.config.policies import with_policy_files
from kmsim.config.shipped import study_file
from kmsim.config.state import absolute_files
from kmsim.config.study import Study
from kmsim.config.translation import translated
from kmsim.config.validation import add_errors, add_finding
from kmsim.config.yaml_file import parse, read_file

DEFAULT_COSTS = "xeon-gold-5320"
ASKED = tuple(Inquiry.model_fields)  # keys that no point has


@dataclass(frozen=True)
class Base:
    """A study's file as it was read: what its points share, and what it asks; nothing of it is resolved yet."""

    node: Node
    asked: Node
    includes: Includes
    problems: Problems  # found so far
    overrides: tuple[tuple[str, Place], ...] = ()  # the keys of overrides, and where these stand

    def new_problems(self) -> Problems:
        """What is wrong so far, for a check of its own to go on with."""
        return Problems(list(self.problems.found))


def load(path: str | os.PathLike[str], sets: Iterable[str] = (), seed: int | None = None) -> Study:
    """The study of one run in a YAML file, with ``--set`` overrides and a seed laid over it.

    Raises ConfigError with every problem found, each with its file and line; also for a study of several
    runs, which ``load_design`` reads.
    """
    return _single(base_of_file(path, sets, seed))


def loads(text: str, sets: Iterable[str] = (), seed: int | None = None, *, name: str = "config") -> Study:
    """The study of one run in a YAML text; paths in it are relative to the current directory."""
    problems = Problems()
    return _single(_base(parse(text, Place(name), problems), problems, sets, seed))


def from_mapping(config: Mapping[str, Any], sets: Iterable[str] = (), seed: int | None = None) -> Study:
    """The study of one run in a Python mapping of the same keys and spellings as the YAML file's."""
    return _single(base_of_mapping(config, sets, seed))


def base_of_file(path: str | os.PathLike[str], sets: Iterable[str] = (), seed: int | None = None) -> Base:
    """What a file says, with what it extends and the overrides."""
    problems = Problems()
    name = os.fspath(study_file(os.fspath(path)))
    node = read_file(Path(name), name, problems)
    return _base(node, problems, sets, seed, stem=Path(name).stem, chain=(os.path.realpath(name),))


def base_of_mapping(config: Mapping[str, Any], sets: Iterable[str] = (), seed: int | None = None) -> Base:
    """What a mapping says, with what it extends and the overrides."""
    problems = Problems()
    return _base(from_python(config, Place("config"), problems), problems, sets, seed)


def _base(
    node: Node,
    problems: Problems,
    sets: Iterable[str],
    seed: int | None,
    *,
    stem: str = "study",
    chain: tuple[str, ...] = (),
) -> Base:
    includes, sets = Includes(problems), tuple(sets)
    node = includes.study(node, chain)
    node = apply_sets(_named(node, stem), sets, problems)
    if seed is not None:
        node = node.with_keys(seed=scalar(seed, Place(f"--seed {seed}")))
    node = _named(node, stem)  # again: a null among the overrides takes away what was there
    asked = mapping({key: entry for key, entry in node.keys.items() if key in ASKED}, node.place)
    return Base(node.without(*ASKED), asked, includes, problems, tuple(keys_of(sets)))


def _single(base: Base) -> Study:
    """The one run of a study that has no more."""
    problems = base.new_problems()
    inquiry = checked_inquiry(base, problems)
    if inquiry.sweep.axes or inquiry.replications.most > 1:
        key = "sweep" if inquiry.sweep.axes else "replications"
        problems.add("one_run", base.asked.keys[key].place, (key,))
        problems.stop()
    return resolved(base.node, base.includes, problems)


def checked_inquiry(base: Base, problems: Problems) -> Inquiry:
    """What a study asks, each key alone and the keys against each other; ConfigError says what is wrong.

    Then it says what is wrong with the config, too, if that is whole without a sweep.
    """
    inquiry = _inquiry(base.asked, problems)
    if problems.found and "sweep" not in base.asked.keys:
        resolved(base.node, base.includes, problems)
    problems.stop()
    assert inquiry is not None, "an inquiry without problems is valid"
    return inquiry


def _inquiry(asked: Node, problems: Problems) -> Inquiry | None:
    try:
        inquiry = Inquiry.model_validate(asked.python())
    except ValidationError as error:
        add_errors(error, Inquiry, asked, problems)
        return None
    for found in inquiry.findings():
        add_finding(found, asked, problems)
    return inquiry


def figure_of_mapping(config: Mapping[str, Any]) -> FigureConfig:
    """A figure that is asked for from Python, by the keys that it has in a file. ConfigError says what is wrong."""
    problems = Problems()
    node = from_python(config, Place("figure"), problems)
    try:
        return FigureConfig.model_validate(node.python())
    except ValidationError as error:
        add_errors(error, FigureConfig, node, problems)
    raise problems.error()


def resolved(node: Node, includes: Includes, problems: Problems) -> Study:
    """The config of one run: machine and prices by name filled in, translated, and checked.

    Raises ConfigError with all that ``problems`` holds by then.
    """
    study = right_by_keys(node, includes, problems)
    problems.stop()
    return study


def right_by_keys(node: Node, includes: Includes, problems: Problems) -> Study:
    """The same of a config whose keys may be wrong against each other, which is noted; ConfigError where one is alone.

    What is noted is of the machine or of the workload.
    """
    node = includes.parts(node, problems)
    if includes.missing:
        raise problems.error()  # every key of a missing file would be reported as missing, too
    machine = node.keys.get("machine")
    if machine is not None and machine.keys:
        machine = with_policy_files(translated(machine, problems), problems)
        node = node.with_keys(machine=absolute_files(machine, problems))
    return _checked(node, problems)


def _named(node: Node, stem: str) -> Node:
    """The study with its name and its prices filled in."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")[:64] or "study"
    defaults = {"name": scalar(name, node.place), "costs": scalar(DEFAULT_COSTS, node.place)}
    return node.with_keys(**{key: value for key, value in defaults.items() if key not in node.keys})


def _checked(node: Node, problems: Problems) -> Study:
    data = node.python()
    machine = partly_valid(MachineConfig, data.get("machine"))
    study: Study | None = None
    checked = {"machine": machine.noun} if machine is not None and not machine.broken else {}  # not twice: it is slow
    try:
        study = Study.model_validate({**data, **checked}, context=machine_context(machine))
    except ValidationError as error:
        add_errors(error, Study, node, problems)
    problems.nr_alone = len(problems.found)
    for found in findings(data, machine):
        add_finding(found, node, problems)
    if problems.nr_alone:
        raise problems.error()
    assert study is not None, "a study without problems is valid"
    return study
