"""The configs that are shipped with kmsim: their folder and their names.

In a source checkout they are the folder ``configs`` beside the package; in an installed wheel they
are inside it. A shipped file is named by its kind (machines, costs, workloads, bench) and its stem.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

KINDS = ("machines", "costs", "workloads", "bench")


def configs_folder() -> Path:
    """The folder that holds the shipped configs."""
    packed = _PACKAGE / "configs"
    return packed if packed.is_dir() else _PACKAGE.parent / "configs"


def shipped_names(kind: str) -> list[str]:
    """Names of the shipped files of one kind, sorted."""
    assert kind in KINDS, kind
    return sorted(path.stem for path in (configs_folder() / kind).glob("*.yaml"))


def shipped_file(kind: str, name: str) -> Path:
    """The path of a shipped file; the name must be one of ``shipped_names(kind)``."""
    return configs_folder() / kind / f"{name}.yaml"
