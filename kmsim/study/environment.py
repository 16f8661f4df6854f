"""The environment that a result was made in, for pip: the versions of all packages, and kmsim itself as a wheel."""

from __future__ import annotations

import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from kmsim.config.shipped import configs_folder

PROJECT = "kmsim"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the date of every member of the wheel


def pins() -> list[str]:
    """The installed versions of all packages that kmsim needs to run, theirs included: `numpy==2.1.0`."""
    found: dict[str, str] = {}
    wanted = _needs(PROJECT)
    while wanted:
        name = wanted.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or another Python
        found[key] = version
        wanted += _needs(name)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _needs(name: str) -> list[str]:
    """The names of the packages that one needs, without those of its extras."""
    asked = importlib.metadata.requires(name) or []
    needed = [text.partition(";") for text in asked]
    return [found[0] for text, _, marker in needed if "extra" not in marker and (found := _NAME.match(text))]


def wheel_name() -> str:
    """The file name of kmsim's wheel."""
    return f"{PROJECT}-{importlib.metadata.version(PROJECT)}-py3-none-any.whl"


def wheel() -> bytes:
    """kmsim as it runs here, for pip."""
    info = f"{PROJECT}-{importlib.metadata.version(PROJECT)}.dist-info"
    metadata = importlib.metadata.distribution(PROJECT).read_text("METADATA")
    assert metadata is not None, "kmsim is installed without its metadata"
    members = dict(_sources()) | {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: kmsim bundle\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nkmsim = kmsim.cli:main\n",
    }
    record = f"{info}/RECORD"
    members[record] = "".join(f"{name},,\n" for name in sorted([*members, record])).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    """The files of the package, and the configs that are shipped with it."""
    package = Path(__file__).parents[1]
    for root, place in ((package, PROJECT), (configs_folder(), f"{PROJECT}/configs")):
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{place}/{path.relative_to(root)}", path.read_bytes()
