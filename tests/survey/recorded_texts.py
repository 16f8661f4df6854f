"""The /proc files of recordings, as `kmsim machine` would be given them."""

from pathlib import Path

from kmsim.procfs import recorded
from kmsim.procfs.recorded import Recording
from kmsim.procfs.topology import is_numa
from kmsim.survey.texts import BY_NAME, SYSCTLS, Text

RECORDINGS = Path(__file__).parents[1] / "validation" / "recordings"
OF_LAB = {"thp_enabled": "thp"}
NOT_THERE = ("", "(cannot open)")  # what the recorder wrote of files that an older kernel does not have


def recordings() -> list[Path]:
    """Every recording of the project that has such files."""
    parts = RECORDINGS / "parts"
    return [path for path in sorted(RECORDINGS.rglob("*.json.gz")) if parts not in path.parents]


def moments(recording: Recording) -> list[str]:
    """The moments at which all the files were read."""
    names = [name.rpartition(".") for name in recording.files]
    return [moment for moment, _, name in names if name == "pagetypeinfo"]


def texts(recording: Recording, moment: str) -> list[Text]:
    """The files of one moment."""
    found = []
    for name, content in recording.files.items():
        at, _, base = name.rpartition(".")
        kind = base if base in SYSCTLS else OF_LAB.get(base, BY_NAME.get(base))
        if at == moment and kind is not None and content.strip() not in NOT_THERE:
            found.append(Text(name, kind, content))
    for n, node in enumerate(recording.lab["topology"]["nodes"] if is_numa(recording) else ()):
        folder = f"sys/devices/system/node/node{n}"
        found.append(Text(f"{folder}/cpulist", "cpulist", ",".join(map(str, node["cpus"]))))
        found.append(Text(f"{folder}/distance", "distance", " ".join(map(str, node["distance"]))))
    consts = recording.consts
    return [*found, Text("uname", "uname", f"Linux lab {consts['release']} {consts['machine']}\n")]


def read(path: Path) -> Recording:
    """A recording."""
    return recorded.read(path)
