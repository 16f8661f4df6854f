"""Random bytes and mutated dumps into every reader of `kmsim machine` and `kmsim explain`, in the default suite a few.

Each is read, or refused in one line of printable text that names the line of the text; none ends in a traceback.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kmsim.procfs import mem_report
from kmsim.survey.facts import READERS, facts_of
from kmsim.survey.machine_file import Wishes, found_machine
from kmsim.survey.texts import SurveyError, Text
from tests.mutations import mutated_text
from tests.survey.recorded_texts import RECORDINGS, read, texts

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"
RECORDED = RECORDINGS / "x86-612-4k-256M-c2-full.json.gz"
PATHS = {"cpulist": "node/node0/cpulist", "distance": "node/node0/distance"}
ONE_ZONE = Text(
    "free",
    "buddyinfo",
    "Node 0, zone   Normal      1      2      3      0      0      0      0      0      0      0      4\n",
)
# A machine can be wrong although each line of its texts is right: that has no line.
WHOLE = ("be of one machine", "have pages of 4 KiB on x86-64", "say what memory there is", "have 14 orders")
ALONE = ("zoneinfo", "pagetypeinfo", "buddyinfo", "log")
KINDS = sorted(kind for kind in READERS if kind != "page_size")  # which is this host's own number
WORDS = (
    b"Node zone Normal pages free min low high present : 0 1 7 99 - / . ( ) * kB \n \n \n CONFIG_ =y vm. = MemTotal: "
    b"order: mode: type Page block node 0 cpus: invoked oom-killer page allocation failure"
).split(b" ")


def noise(rng: np.random.Generator, nr_bytes: int) -> Iterator[bytes]:
    """So many bytes in texts of up to 4 KiB: of any bytes, of printable ones, or of words that readers look for."""
    while nr_bytes > 0:
        length = min(int(rng.integers(1, 4096)), nr_bytes)
        kind = rng.integers(3)
        if kind == 0:
            text = rng.bytes(length)
        elif kind == 1:
            text = bytes(rng.integers(9, 127, length).astype(np.uint8))
        else:
            text = b" ".join(WORDS[n] for n in rng.integers(len(WORDS), size=length // 4 + 1))[:length]
        nr_bytes -= length
        yield text


def said_wrong(kind: str, content: bytes) -> str:
    """What is wrong with what came of a text; nothing where it is read, or refused with its line."""
    text = Text(PATHS.get(kind, kind), kind, content.decode("utf-8", "replace"))
    try:
        found_machine(facts_of([text] if kind in ALONE else [text, ONE_ZONE], None), Wishes())
    except SurveyError as error:
        if not str(error).isprintable():
            return f"not one line: {error!s}"
        if error.line is None and error.path == text.path and not error.must.startswith(WHOLE):
            return f"without a line: {error}"
        lines = text.content.count("\n") + text.content.count("\r") + 1  # what is cut off lacks the next one
        return f"line {error.line} of {lines}: {error}" if error.line is not None and error.line > lines + 1 else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def wrong(kind: str, seed: int, nr_bytes: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [said for content in noise(rng, nr_bytes) if (said := said_wrong(kind, content))]


@pytest.mark.parametrize("kind", KINDS)
def test_random_bytes_are_read_or_refused_with_their_line(kind: str) -> None:
    assert wrong(kind, 1, 20_000) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_random_bytes_are_read_or_refused_with_their_line(kind: str) -> None:
    assert wrong(kind, 2, 1_000_000) == []


def wrong_dumps(kind: str, seed: int, nr_texts: int) -> list[str]:
    rng = np.random.default_rng(seed)
    recorded = {text.kind: text.content for text in texts(read(RECORDED), "fresh")}
    found = []
    for _ in range(nr_texts):
        changed, what = mutated_text(recorded[kind].encode(), rng)
        said = said_wrong(kind, changed)
        found += [f"{what}: {said}"] if said else []
    return found


DUMPS = ("zoneinfo", "pagetypeinfo", "buddyinfo", "slabinfo", "meminfo", "iomem", "min_free_kbytes", "version")


@pytest.mark.parametrize("kind", DUMPS)
def test_mutated_dumps_are_read_or_refused_with_their_line(kind: str) -> None:
    assert wrong_dumps(kind, 3, 10) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", DUMPS)
def test_many_mutated_dumps_are_read_or_refused_with_their_line(kind: str) -> None:
    assert wrong_dumps(kind, 4, 500) == []


def wrong_reports(seed: int, nr_bytes: int, nr_texts: int) -> list[str]:
    """The same of reports, as `kmsim explain` reads them."""
    rng = np.random.default_rng(seed)
    whole = [path.read_bytes() for path in sorted(REPORTS.iterdir())]
    contents = [
        whole[int(rng.integers(len(whole)))][: int(rng.integers(1, 2000))] + text for text in noise(rng, nr_bytes)
    ]
    contents += [mutated_text(whole[n % len(whole)], rng)[0] for n in range(nr_texts)]
    found = []
    for content in contents:
        try:
            mem_report.parse(content.decode("utf-8", "replace"))
        except ValueError as error:
            if not str(error).startswith("line ") or not str(error).isprintable():
                found.append(f"{type(error).__name__}: {error}")
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def test_reports_with_random_bytes_behind_them_are_read_or_refused_with_their_line() -> None:
    assert wrong_reports(5, 20_000, 30) == []


@pytest.mark.slow
def test_a_million_random_bytes_behind_reports_are_read_or_refused_with_their_line() -> None:
    assert wrong_reports(6, 1_000_000, 1000) == []
