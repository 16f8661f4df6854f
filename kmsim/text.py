"""What is text: characters that a terminal, a page and a file can show as they are.

Names, notes, paths and questions may be anybody's. A config that holds anything else is refused; what comes from
elsewhere is shown with it spelt out. Line feeds and tabs are text; where a line has to stay one, `in_one_line` spells
them out as well. What a font lacks is not asked here.
"""

import re

# Control characters (a terminal obeys them) but line feeds and tabs, marks that turn the direction of writing,
# separators of lines and paragraphs, spaces without width, unpaired surrogates (no file in UTF-8 can hold them),
# and what is no character.
NOT_TEXT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_ENDS_A_LINE = re.compile(f"[\n\t]|{NOT_TEXT.pattern}")


def is_text(text: str) -> bool:
    """Can all of it be shown as it is?"""
    return NOT_TEXT.search(text) is None


def harmless(text: str) -> str:
    """The text with what is none spelt as in Python."""
    return NOT_TEXT.sub(_spelt, text)


def in_one_line(text: str) -> str:
    """The same, with line feeds and tabs spelt, too."""
    return _ENDS_A_LINE.sub(_spelt, text)


def _spelt(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def nr_of(number: int, what: str) -> str:
    """A number of things, one or several."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
