"""HTML pages: style, frame, and the parts of a page.

sections → `page` → self-contained HTML without scripts

A content security policy allows the page's own style alone: injected markup could run nothing.

Source: W3C, Content Security Policy Level 3; W3C, WCAG 2.2, success criterion 1.4.3: contrast of
text at least 4.5:1, light and dark.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from mlsecops.errors import UsageError
from mlsecops.reports.rendering.markup import Child, Markup, escape, tag

Tone: TypeAlias = Literal["good", "warn", "bad", "info", "none"]
"""Meaning of a colour; a word or a sign always repeats it (WCAG 2.2, success criterion 1.4.1)."""

SIGNS: Final[dict[Tone, str]] = {"good": "✓", "warn": "!", "bad": "✕", "info": "i", "none": "-"}

NONE: Final = "\u2013"
"""Table cell without a value."""

PALETTE: Final = """
:root{color-scheme:light dark;--page:#f4f5f2;--surface:#fff;--ink:#17201c;--muted:#58635d;
--line:#d9ded9;--grid:#e8ebe7;--good:#0b7a53;--good-soft:#e0f2ea;--warn:#8f5200;--warn-soft:#fbefd9;
--bad:#b3261e;--bad-soft:#fbe6e3;--info:#1f57a8;--info-soft:#e5edf9;--none:#5d6762;
--none-soft:#eceeeb}
@media (prefers-color-scheme:dark){:root{--page:#0f1412;--surface:#171e1b;--ink:#e7ece9;
--muted:#9caaa3;--line:#2c3732;--grid:#232d29;--good:#58c99b;--good-soft:#12322a;--warn:#e7b057;
--warn-soft:#362a14;--bad:#f2928a;--bad-soft:#3b1e1c;--info:#8cb4f4;--info-soft:#1a2a44;
--none:#98a49e;--none-soft:#232b28}}
"""

FONT: Final = (
    "Inter,system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',Arial,sans-serif"
)

DRAWING: Final = """
svg text{font-variant-numeric:tabular-nums;fill:var(--ink)}
svg .muted{fill:var(--muted)}svg .small{font-size:12px}svg .text{font-size:13px}
svg .strong{font-size:13px;font-weight:600}svg .grid-line{stroke:var(--grid);stroke-width:1}
svg .axis{stroke:var(--line);stroke-width:1}
svg .floor{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4}
svg .track{fill:var(--grid)}
svg .good{fill:var(--good);stroke:var(--good)}svg .warn{fill:var(--warn);stroke:var(--warn)}
svg .bad{fill:var(--bad);stroke:var(--bad)}svg .info{fill:var(--info);stroke:var(--info)}
svg .none{fill:var(--none);stroke:var(--none)}
svg text.good,svg text.warn,svg text.bad,svg text.info,svg text.none{stroke:none}
svg .halo{paint-order:stroke;stroke:var(--surface);stroke-width:5px;stroke-linejoin:round}
svg .soft{fill-opacity:.22;stroke:none}svg .hollow{fill:var(--surface)}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
"""

FILE_STYLE: Final = (
    PALETTE
    + f"svg text{{font-family:{FONT};font-size:13px}}svg .backdrop{{fill:var(--surface)}}"
    + DRAWING
)
"""Style of an SVG file, which has no page around it."""

_BLOCKS: Final = """
.scroll table,.scroll tbody,.scroll tr,.scroll td{display:block}
.scroll thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.scroll tr{padding:10px 0;border-bottom:1px solid var(--grid)}.scroll td{padding:2px 0;border:0}
.scroll td code{white-space:normal}.scroll .num{text-align:left}
.scroll td::before{content:attr(data-label);display:block;font-size:12px;color:var(--muted)}
"""
"""Rows of a table as blocks, each cell with the heading of its column."""
_MANY: Final = 6  # columns; chosen: more do not fit a tablet

STYLE: Final = (
    PALETTE
    + DRAWING
    + f"*{{box-sizing:border-box}}body,svg text{{font-family:{FONT}}}"
    + """
body{margin:0;background:var(--page);color:var(--ink);font-size:15px;line-height:1.5;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere;-webkit-font-smoothing:antialiased}
main,header>div{max-width:1160px;margin:0 auto;padding:0 28px}
header{background:var(--surface);border-bottom:1px solid var(--line);padding:34px 0 26px}
main{padding-top:26px;padding-bottom:56px}
.kicker{margin:0 0 6px;font-size:12px;font-weight:600;letter-spacing:.08em;text-transform:uppercase;
color:var(--muted)}
h1{margin:0;font-size:29px;line-height:1.2;font-weight:650;letter-spacing:-.015em}
.lead{margin:9px 0 0;max-width:76ch;color:var(--muted)}
h2{margin:0 0 12px;font-size:17px;font-weight:650;letter-spacing:-.005em}
section{margin:0 0 22px;padding:22px 24px;background:var(--surface);border:1px solid var(--line);
border-radius:10px}
section>p:first-of-type{margin-top:0}section>p:last-child{margin-bottom:0}
.note{color:var(--muted);font-size:13.5px;max-width:88ch}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(215px,1fr));gap:14px 26px;
margin:20px 0 0}
dl.facts div{min-width:0}dl.facts div:has(code){grid-column:span 2}dl.facts code{font-size:12px}
dt{font-size:12px;color:var(--muted)}
dd{margin:1px 0 0;font-weight:550}
code,.mono{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;
font-size:.88em;font-weight:400}
.badge{display:inline-flex;align-items:center;gap:7px;padding:2px 11px 2px 4px;border-radius:999px;
font-size:13px;font-weight:600;line-height:20px;max-width:100%}
.badge b{flex:none}.card h2 .badge{flex:0 0 auto;max-width:60%}
.badge b{display:inline-grid;place-items:center;width:16px;height:16px;border-radius:50%;
font-size:10.5px;line-height:1;background:currentColor}
.badge b i{font-style:normal;color:var(--surface)}
.badge.good{color:var(--good);background:var(--good-soft)}
.badge.warn{color:var(--warn);background:var(--warn-soft)}
.badge.bad{color:var(--bad);background:var(--bad-soft)}
.badge.info{color:var(--info);background:var(--info-soft)}
.badge.none{color:var(--none);background:var(--none-soft)}
.verdict{border-left:5px solid var(--none)}.verdict.good{border-left-color:var(--good)}
.verdict.warn{border-left-color:var(--warn)}.verdict.bad{border-left-color:var(--bad)}
.verdict.info{border-left-color:var(--info)}
.verdict h2{display:flex;gap:12px;align-items:center;flex-wrap:wrap;font-size:19px;
margin-bottom:6px}
.verdict p+p{margin-top:7px}.verdict p{margin:0;max-width:88ch}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{overflow-wrap:break-word}
th{padding:0 16px 8px 0;text-align:left;font-size:12px;font-weight:600;color:var(--muted);
border-bottom:1px solid var(--line);vertical-align:bottom}
td{padding:9px 16px 9px 0;border-bottom:1px solid var(--grid);vertical-align:top}
td code{white-space:nowrap}
tr:last-child td{border-bottom:0}th:last-child,td:last-child{padding-right:0}
.num{text-align:right;white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(332px,1fr));gap:18px;
margin-bottom:22px}
.grid>section{margin:0;display:flex;flex-direction:column;min-width:0}
.grid.wide{grid-template-columns:repeat(auto-fill,minmax(470px,1fr))}
.card h2{display:flex;justify-content:space-between;align-items:flex-start;gap:12px;margin:0 0 6px}
.card p{margin:0 0 14px}.card ul{list-style:none;margin:auto 0 0;padding:12px 0 0;display:flex;
flex-wrap:wrap;gap:6px 16px;border-top:1px solid var(--grid)}
a{color:var(--info);text-decoration-thickness:1px;text-underline-offset:2px}
a:focus-visible{outline:2px solid var(--info);outline-offset:2px;border-radius:3px}
.grid.wide svg{width:100%}figure{margin:0}
figcaption{margin-top:10px;color:var(--muted);font-size:13px;max-width:96ch}
svg{display:block;max-width:100%;height:auto}.narrow{display:none}
@media (max-width:900px){figure .broad{display:none}figure .narrow{display:block}}
@media (max-width:560px){.broad{display:none}.narrow{display:block}
dl.facts div:has(code){grid-column:auto}
.grid.wide,.grid{grid-template-columns:1fr}main,header>div{padding-inline:16px}
section{padding:18px 16px}}
"""
    + f"@media (max-width:560px){{{_BLOCKS}}}"
    + f"@media (max-width:900px){{{_BLOCKS.replace('.scroll', '.many')}}}"
    + """
@media print{body{background:#fff}section{break-inside:avoid}.scroll{overflow:visible}}
"""
)


def page(
    title: str, *body: Child, kicker: str, lead: str = "", facts: Child = None, style: str = ""
) -> str:
    """An HTML document: `kicker` is above the heading, `lead` and `facts` are below it."""
    rules = STYLE + style
    allowed = base64.b64encode(hashlib.sha256(rules.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        Markup(f"<style>{rules}</style>"),
    )
    intro = tag("p", lead, class_="lead") if lead else None
    top = tag(
        "header",
        tag("div", tag("p", kicker, class_="kicker"), tag("h1", title), intro, facts),
    )
    document = tag("html", head, tag("body", top, tag("main", *body)), lang="en")
    return f"<!doctype html>\n{document}\n"


def broad_or_narrow(broad: Markup, narrow: Markup) -> list[Markup]:
    """Content for a screen, and that for a phone in its place; a browser shows one of them.

    Source: W3C, WCAG 2.2, success criterion 1.4.10: no content is lost at 320 CSS pixels.
    """
    return [tag("div", broad, class_="broad"), tag("div", narrow, class_="narrow")]


def section(title: str, *body: Child) -> Markup:
    """A section with a heading."""
    return tag("section", tag("h2", title), *body)


def verdict(title: str, *body: Child, word: str, tone: Tone) -> Markup:
    """The conclusion of a page: badge, heading and sentence."""
    return tag("section", tag("h2", badge(word, tone), title), *body, class_=f"verdict {tone}")


def badge(word: str, tone: Tone) -> Markup:
    """A word with the colour and sign of its tone."""
    sign = tag("b", tag("i", SIGNS[tone]), aria_hidden="true")
    return tag("span", sign, word, class_=f"badge {tone}")


def facts(*pairs: tuple[str, Child]) -> Markup:
    """A list of names and values."""
    return tag(
        "dl",
        [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs],
        class_="facts",
    )


def code(text: object) -> Markup:
    """A digest, path or id in a monospaced font."""
    return tag("code", escape(text))


def table(
    head: Sequence[str], rows: Sequence[Sequence[Child]], *, numeric: tuple[int, ...] = ()
) -> Markup:
    """A table; the columns in `numeric` are aligned to the right.

    On a narrow screen a row becomes a block, and each cell bears the heading of its column.
    """

    def cells(kind: str, values: Sequence[Child]) -> list[Markup]:
        return [
            tag(
                kind,
                value,
                class_="num" if index in numeric else None,
                data_label=head[index] if kind == "td" else None,
            )
            for index, value in enumerate(values)
        ]

    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", cells("th", head))),
            tag("tbody", [tag("tr", cells("td", row)) for row in rows]),
        ),
        class_="scroll many" if len(head) > _MANY else "scroll",
    )


_RELATIVE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?")


def link(target: str) -> Markup:
    """A link to a file in the page's folder or below it; any other target is refused."""
    if _RELATIVE.fullmatch(target) is None:
        raise UsageError(f"link: expected a relative path below the page, got {target[:80]!r}")
    return tag("a", target, href=target)
