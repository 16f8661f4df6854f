"""The identity of a run: its name among the results of all studies, the same on every computer.

Two runs with the same identity have the same bytes, so that a result may be used again instead of being
computed. It is a hash of the resolved config of the point (not of how the study around it is called or
drawn), of the content of the files that the config names, of the seed, and of everything that could
compute differently: kmsim's model, the packages below it, the kind of computer, and how tables are laid out.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import zlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kmsim.config import Study
from kmsim.config.parts import remembered
from kmsim.config.quantities import Model
from kmsim.config.state import FILE_KEYS
from kmsim.config.study import PARTS
from kmsim.input_file import sha256_of
from kmsim.procfs.recorded import BYTES_MAX
from kmsim.study.store import SCHEMA_VERSION, NotAResult, versions

NR_DIGITS = 32
IDENTITY = re.compile(f"[0-9a-f]{{{NR_DIGITS}}}")

_PACKAGE = Path(__file__).parents[1]
# Whose sources decide the bytes of a run's result; in `study` only what makes its tables.
_MODEL = ("mm", "procfs", "metrics", "config", "workload", "sim")
_TABLES = (
    *("archive.py", "checksums.py", "identity.py", "largest.py", "members.py", "model_error.py"),
    *(
        "npy_table.py",
        "parquet_file.py",
        "process_table.py",
        "reclaim_table.py",
        "rows.py",
        "runner.py",
        "simulate.py",
        "single_operations.py",
        "slab_tables.py",
        "statistics.py",
        "store.py",
        "tables.py",
    ),
    *("timeline_file.py", "warm_up.py"),
)


@cache
def model_hash() -> str:
    """A hash of the sources that decide what a run's result holds."""
    digest = hashlib.sha256()
    paths = [path for layer in _MODEL for path in (_PACKAGE / layer).rglob("*.py")]
    paths += [_PACKAGE / "study" / name for name in _TABLES] + list(_PACKAGE.glob("jit*.py")) + [_PACKAGE / "units.py"]
    for path in sorted(paths):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _place() -> dict[str, Any]:
    """The software and computer that compute, apart from the model."""
    return {
        "kmsim": version("kmsim"),
        "model": model_hash(),
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "host": [platform.system(), platform.machine()],
    }


def identity_facts(study: Study) -> dict[str, Any]:
    """What the identity of a run is a hash of beside its config; `study` is a resolved study of one run. JSON-ready."""
    return {**_place(), "files": {key: hash_of_file(path) for key, path in files_of(study).items()}}


def identity_of(study: Study) -> str:
    """The identity of a run, 32 hexadecimal digits."""
    facts = json.dumps({**identity_facts(study), "seed": study.seed}, sort_keys=True)
    texts = [facts, *(_text_of(getattr(study, part)) for part in PARTS)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:NR_DIGITS]


@remembered
def _text_of(part: Model) -> str:
    """A part of a config as one line."""
    return json.dumps(part.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))


def files_of(study: Study) -> dict[str, Path]:
    """The files that the config names, by their keys: those of a state, and those in place of policies."""
    paths = {key: getattr(study.machine.state, key, None) for key in FILE_KEYS}
    policies = study.machine.policies
    paths |= {f"policies.{noun}": one.file for noun, one in (policies.files if policies else {}).items()}
    return {key: path for key, path in paths.items() if path is not None}


def hash_of_file(path: Path) -> str:
    """A hash of a file that a config names. NotAResult where it cannot be read."""
    try:
        return sha256_of(path, BYTES_MAX)
    except OSError as error:
        raise NotAResult(f"{path}: must be a file that can be read; {error.strerror or error}") from error
