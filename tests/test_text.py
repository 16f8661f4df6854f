"""What is text: one definition, for the door, terminals, pages and recordings."""

from pathlib import Path

import pytest

import kmsim
from kmsim.config import ConfigError, from_mapping
from kmsim.plots.report_text import readable
from kmsim.text import harmless, in_one_line, is_text
from tests.studies import mapping

NO_TEXT = ("\x00", "\x07", "\r", "\x1b", "\x7f", "\x9b", "\u061c", "\u200b", "\u200e", "\u2028", "\u202e", "\u2066")
NO_FILE_HOLDS = ("\ud800", "\udfff", "\ufeff", "\uffff")


@pytest.mark.parametrize("character", [*NO_TEXT, *NO_FILE_HOLDS], ids=ascii)
def test_what_is_no_text_is_refused_at_the_door_and_spelt_everywhere_else(character: str) -> None:
    text = f"a{character}b"
    assert not is_text(text)
    with pytest.raises(ConfigError, match="be text without"):
        from_mapping(mapping() | {"name": text})
    assert harmless(text) == in_one_line(text) == f"a{ascii(character)[1:-1]}b"
    assert readable(text) == f"a⟨U+{ord(character):04X}⟩b"


@pytest.mark.parametrize("text", ["", "tab\tand\nline", "±é😀", "עברית", "ภาษา"])
def test_what_is_text_stays_as_it_is(text: str) -> None:
    assert is_text(text)
    assert harmless(text) == readable(text) == text


def test_a_line_stays_one() -> None:
    assert in_one_line("a\tb\nc\u2028d é") == "a\\tb\\nc\\u2028d é"


def test_no_other_file_says_what_is_no_text() -> None:
    root = Path(kmsim.__file__).parent
    says = [path.name for path in root.rglob("*.py") if r"\x9f" in path.read_text(encoding="utf-8")]
    assert says == ["text.py"]
