"""A page that explains one report of a kernel log: each zone's free pages drawn against its marks, and what is said.

One HTML file that needs nothing else, of plain elements and SVG; it draws what `study.explain.facts` says and decides
nothing. Names in a log come from anybody, so all text is made readable and escaped.
"""

from __future__ import annotations

from html import escape
from typing import Any

from kmsim.plots.report_text import readable

WIDTH, BAR, ROW = 720, 22, 92  # pixels
LEFT = 8
SHADES = {"usable": "#4a6fa5", "block": "#c8a951", "highatomic": "#b0645a", "cma": "#8a8a8a"}
WORDS = {
    "usable": "free pages that it may use",
    "block": "the block itself",
    "highatomic": "kept for high-order atomic requests",
    "cma": "CMA",
}
MARKS = (("min", "#222222"), ("low", "#666666"), ("high", "#999999"))
LINE_MAX = 2000  # characters of one line of the explanation
HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body{{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}}
pre{{white-space:pre-wrap;background:#f4f4f2;padding:1em}} svg{{max-width:100%;height:auto}}
.key span{{display:inline-block;width:1em;height:1em;vertical-align:middle;margin:0 .3em 0 1em}}
</style></head><body>"""


def page_of(found: dict[str, Any], lines: list[str]) -> str:
    """The page of an explanation: `found` as `facts` gives it, `lines` as the terminal shows them."""
    title = f"{found['command']}: order {found['order']}" if found["has_failed"] else "Memory as it was"
    parts = [HEAD.format(title=_text(title)), f"<h1>{_text(title)}</h1>"]
    if found["zones"]:
        key = "".join(f'<span style="background:{SHADES[name]}"></span>{_text(words)}' for name, words in WORDS.items())
        marks = "".join(f'<span style="background:{shade}"></span>{name}' for name, shade in MARKS)
        parts.append(f'<p class="key">{key}</p><p class="key">marks, with the boost in them: {marks}</p>')
        parts += [_zone(zone, found["order"]) for zone in found["zones"]]
    said = "\n".join(_text(line) for line in lines)
    return "".join([*parts, f"<pre>{said}</pre></body></html>\n"])


def _text(text: str) -> str:
    return escape(readable(text, LINE_MAX))


def _zone(zone: dict[str, Any], order: int) -> str:
    """One zone: a bar of its free pages, the marks, and what the request needs more than."""
    most = max(zone["free"], zone["needed"], zone["high"], 1)
    scale = (WIDTH - 2 * LEFT) / most
    taken = {"block": (1 << order) - 1, "highatomic": zone["highatomic"], "cma": zone["cma"]}
    pieces, at = [], 0
    for name, wanted in [("usable", max(zone["free"] - sum(taken.values()), 0)), *taken.items()]:
        pages = min(wanted, zone["free"] - at)
        place = f'x="{LEFT + at * scale:.1f}" y="26" width="{pages * scale:.1f}" height="{BAR}"'
        pieces.append(f'<rect {place} fill="{SHADES[name]}"><title>{WORDS[name]}: {pages:,} pages</title></rect>')
        at += pages
    for name, shade in MARKS:
        x = LEFT + zone[name] * scale
        pieces.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="54" stroke="{shade}" stroke-width="2">'
            f"<title>{name}: {zone[name]:,} pages</title></line>"
        )
    x = LEFT + zone["needed"] * scale
    anchor = "end" if x > WIDTH / 2 else "start"
    needed = f"more than {zone['needed']:,} are needed"
    pieces.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="16" y2="60" stroke="#c02020" stroke-width="2" stroke-dasharray="4 3"/>'
        f'<text x="{x:.1f}" y="74" font-size="12" fill="#c02020" text-anchor="{anchor}">{needed}</text>'
    )
    name = _text(f"node {zone['node']}, zone {zone['zone']}: {zone['free']:,} pages free")
    head = f'<text x="{LEFT}" y="13" font-size="13">{name}; {_text(zone["why"])}</text>'
    box = f'width="{WIDTH}" height="{ROW}" viewBox="0 0 {WIDTH} {ROW}"'
    return f'<svg role="img" aria-label="{name}, {needed}" {box}>{head}{"".join(pieces)}</svg>'
