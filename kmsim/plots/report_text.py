"""Text of others on its way into a page: what is not seen is made visible, and nothing ends the element it is in.

Names, notes and questions come from files that anybody may have written. All text of a report passes
`readable`, and all data `encoded`; the page itself makes text nodes of them and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from kmsim.text import NOT_TEXT

CELL_MAX = 200  # characters of a table's cell
_MARKUP = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def readable(text: str, most: int = CELL_MAX) -> str:
    """The text with a name in place of each character that is not seen, cut after `most` characters."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
    return NOT_TEXT.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", cut)


def encoded(data: Any) -> str:
    """JSON that may stand in a script element; ValueError of a number that JSON has not."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_MARKUP)


def nr_bytes(data: Any) -> int:
    """What the data take in the page."""
    return len(encoded(data).encode())


def fitted(text: str, most_bytes: int) -> str:
    """As much of a text's beginning, made readable, as takes no more than `most_bytes` in the page."""
    shown = readable(text[:most_bytes], most_bytes)
    while (size := nr_bytes(shown)) > most_bytes:
        shown = shown[: int(0.98 * len(shown) * most_bytes / size)]
    return shown
