"""No recording, however damaged, makes kmsim crash, hang or accept what it has not compared."""

import json

import numpy as np
import pytest

from kmsim.procfs.recorded import RecordingError, parse
from kmsim.validate.files import sections_of
from tests.mutations import mutated
from tests.taken import as_a_command

from .recording_documents import documents

DOCUMENTS = dict(documents())


def validate(content: object) -> str:
    """What comes of a document: why it is refused, or the sections that do not agree."""
    try:
        recording = parse(json.dumps(content).encode())
    except RecordingError as error:
        return str(error)
    sections = list(sections_of(recording))
    for section in sections:
        assert 0 <= section.equal <= section.rows
        assert section.agrees or section.why, section
        assert len(section.why.splitlines()) <= 1, section
    return ", ".join(section.name for section in sections if not section.agrees)


def crashes(name: str, seed: int, nr_mutations: int) -> list[str]:
    """What made kmsim raise what it should not: the change and the error."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(nr_mutations):
        content, what = mutated(DOCUMENTS[name], rng)
        try:
            with as_a_command():
                said = validate(content)
            assert len(said.splitlines()) <= 1, "a reason of several lines"
        except Exception as error:
            found.append(f"{what}: {type(error).__name__}: {error}")
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_value_changed_at_random_is_refused_or_compared(name: str) -> None:
    assert crashes(name, seed=1, nr_mutations=12) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_many_values_changed_at_random_are_refused_or_compared(name: str) -> None:
    assert crashes(name, seed=2, nr_mutations=120) == []
