"""The configs that are shipped with kmsim: their folder and their names; and the study of README's first lines.

In a source checkout they are the folders ``configs`` and ``experiments`` beside the package; in an installed wheel they
are inside it. A shipped config is named by its kind (machines, costs, workloads, bench) and its stem, a study by its
path in the checkout. Leaves out the other experiments: a wheel has only what README's first lines run.
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

EXPERIMENTS = "experiments"
KINDS = ("machines", "costs", "workloads", "bench")


def configs_folder() -> Path:
    """The folder that holds the shipped configs."""
    return _folder("configs")


def study_file(name: str) -> str | Path:
    """The file of a study: the one at that path, or, where there is none, the shipped one that a checkout has there."""
    path = Path(name)
    if path.parts[:1] == (EXPERIMENTS,) and ".." not in path.parts and not os.path.lexists(path):
        shipped = _folder(EXPERIMENTS).joinpath(*path.parts[1:])
        if shipped.is_file():
            return shipped
    return name


def _folder(name: str) -> Path:
    packed = _PACKAGE / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


def shipped_names(kind: str) -> list[str]:
    """Names of the shipped files of one kind, sorted."""
    assert kind in KINDS, kind
    return sorted(path.stem for path in (configs_folder() / kind).glob("*.yaml"))


def shipped_file(kind: str, name: str) -> Path:
    """The path of a shipped file; the name must be one of ``shipped_names(kind)``."""
    return configs_folder() / kind / f"{name}.yaml"
