"""The one door: from a file, a text or a mapping to a resolved ``Study``, or to everything wrong with it.

The order: read and merge the files, lay the overrides over them, translate what has an old name, then check
each key alone (pydantic), then the keys of one noun against each other, then nouns against each other.
A broken key hides only what follows from it, so that one run shows as much as it can.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kmsim.config.between import findings, machine_context, partly_valid
from kmsim.config.extends import Includes
from kmsim.config.machine import MachineConfig
from kmsim.config.node import Node, Place, Problems, from_python, scalar
from kmsim.config.overrides import apply_sets
from kmsim.config.state import absolute_files
from kmsim.config.study import Study
from kmsim.config.translation import translated
from kmsim.config.validation import add_errors, add_finding
from kmsim.config.yaml_file import parse, read_file

DEFAULT_COSTS = "xeon-gold-5320"


def load(path: str | os.PathLike[str], sets: Iterable[str] = (), seed: int | None = None) -> Study:
    """The study in a YAML file, with ``--set`` overrides and a seed laid over it.

    Raises ConfigError with every problem found, each with its file and line.
    """
    problems = Problems()
    name = os.fspath(path)
    node = read_file(Path(name), name, problems)
    return _resolve(node, problems, sets, seed, stem=Path(name).stem, chain=(os.path.realpath(name),))


def loads(text: str, sets: Iterable[str] = (), seed: int | None = None, *, name: str = "config") -> Study:
    """The study in a YAML text; paths in it are relative to the current directory."""
    problems = Problems()
    return _resolve(parse(text, Place(name), problems), problems, sets, seed)


def from_mapping(config: Mapping[str, Any], sets: Iterable[str] = (), seed: int | None = None) -> Study:
    """The study in a Python mapping of the same keys and spellings as the YAML file's."""
    problems = Problems()
    return _resolve(from_python(config, Place("config"), problems), problems, sets, seed)


def _resolve(
    node: Node,
    problems: Problems,
    sets: Iterable[str],
    seed: int | None,
    *,
    stem: str = "study",
    chain: tuple[str, ...] = (),
) -> Study:
    includes = Includes(problems)
    node = includes.study(node, chain)
    node = apply_sets(node, tuple(sets), problems)
    if seed is not None:
        node = node.with_keys(seed=scalar(seed, Place(f"--seed {seed}")))
    node = _named(node, stem)
    node = includes.parts(node)
    if includes.missing:
        raise problems.error()  # every key of a missing file would be reported as missing, too
    machine = node.keys.get("machine")
    if machine is not None and machine.keys:
        node = node.with_keys(machine=absolute_files(translated(machine, problems), problems))
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
    try:
        study = Study.model_validate(data, context=machine_context(machine))
    except ValidationError as error:
        add_errors(error, Study, node, problems)
    for found in findings(data, machine):
        add_finding(found, node, problems)
    problems.stop()
    assert study is not None, "a study without problems is valid"
    return study
