"""Patterns of everything in an answer that can lead somewhere, wherever it stands.

markdown, HTML or text → links, images, definitions, tags, entities and written addresses replaced,
without regard to code: for text of which nobody knows where code begins.

Source: CommonMark 0.31.2, sections 4.7 (definitions), 6.3 to 6.6 (links, images, autolinks, HTML);
GitHub Flavored Markdown, section 6.9 (extended autolinks); Rehberger, "Embrace the Red" (2023, data
exfiltration through markdown images).
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from mlsecops.llm.guard.link_hosts import Hosts
from mlsecops.llm.text.unicode import sanitise

__all__ = ["REMOVED", "LinkRules"]

_PASSES: Final = 12  # passes; chosen: nested constructs take 2 or 3, more are refused as a whole
REMOVED: Final = "\u2039{} removed\u203a"
"""What stands in the place of something that was removed."""
_DESTINATION: Final = r"(?P<{0}>[^\s<>()\[\]\\\"'`|{{}}]+)"
_TITLE: Final = r"(?:[ ]+\"[^\"<>\[\]\\&\n`]*\")?"
_LABEL: Final = r"[^\[\]\\`<>!&\n]*"
_SCHEME: Final = r"[A-Za-z0-9+.\-]"
_URL: Final = (
    rf"(?:(?<!{_SCHEME})(?:{_SCHEME}+\\?:(?:/[\\/]|\\/)|{_SCHEME}{{2,}}\\?:\\\\)"  # C:\\ is a path
    r"|(?<![\w:/\\])[\\/]{2}(?=[^\s/\\*]+\.\w)"
    r"|(?<![A-Za-z0-9])[wW]{3}\\?[.\u3002\uff0e\uff61])[^\s<]*"
)
# Endings of files that are no top-level domain: node.js/express is no address.
_FILES: Final = (
    "js|mjs|cjs|ts|jsx|tsx|vue|rb|json|yaml|yml|toml|txt|html|htm|css|scss|csv|xml|java|jar|kt|cpp"
    "|hpp|php|sql|ipynb|log|cfg|ini|conf|lock|exe|dll"
)
_DOMAIN: Final = (
    rf"(?<![\w./@\\-])(?:[\w-]+\.)+(?!(?:{_FILES})\b)[A-Za-z]{{2,24}}"
    r"(?::[0-9]+)?(?:/(?=\S)|\?(?=\w))[^\s<]*"
)
_DEFINED: Final = r"^[ \t>*+\-0-9.)]*\[(?:[^\[\]\\]|\\[\s\S]){1,999}?\]:"
_MARKED: Final = re.compile(
    "|".join(
        (
            rf"(?P<image>!\[(?P<alt>{_LABEL})\]\({_DESTINATION.format('source')}{_TITLE}\))",
            rf"(?P<link>\[(?P<label>{_LABEL})\]\({_DESTINATION.format('target')}{_TITLE}\))",
            r"(?P<inline>\]\()",
            rf"(?P<definition>{_DEFINED}(?:[ ]*{_DESTINATION.format('defined')}{_TITLE}[ ]*$)?)",
            r"(?P<autolink><(?P<address>https://[^\s<>]*)>)",
            r"(?P<bare></?(?P<tag>[A-Za-z][A-Za-z0-9]*)[ ]?/?>)",
            r"(?P<markup><(?=[A-Za-z/!?]))",
            r"(?P<entity>&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]{1,31});)",
            rf"(?P<url>{_URL})",
            rf"(?P<domain>{_DOMAIN})",
        )
    ),
    flags=re.MULTILINE,
)
_ESCAPED: Final = {"inline": ("]\\(", "link"), "markup": ("&lt;", "html")}
_TRAILING: Final = (
    ")].,;:!?'\"*_~>}\u203a\u3001\u3002\uff0c\uff0e\uff1a\uff1b\uff01\uff1f\uff09\u300d\u300f\u3011"
    "\u300b\u201d\u2019"
)
_WRITTEN: Final = re.compile(f"{_URL}|{_DOMAIN}")
# Elements that fetch, run or style by themselves, or change how the rest is parsed.
_ACTIVE: Final = frozenset(
    {
        "applet", "audio", "base", "body", "button", "embed", "form", "frame", "frameset",
        "head", "html", "iframe", "image", "img", "input", "link", "listing", "marquee",
        "math", "meta", "noembed", "noframes", "noscript", "object", "picture", "plaintext",
        "portal", "pre", "script", "select", "source", "style", "svg", "template", "textarea",
        "title", "track", "video", "xmp"
    }
)  # fmt: skip
_SIGNIFICANT: Final = frozenset(":/.@\\[]()!#?`%-_\u3002\uff0e\uff61\t\n\r")


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Hosts to which links may lead, and from which images may come.

    Attributes:
        links: Hosts of links.
        images: Hosts of images.
    """

    links: Hosts
    images: Hosts

    def cleaned(self, text: str, removed: Counter[str]) -> str:
        """Text without anything that leads elsewhere; what was removed is added to `removed`."""
        shown = text
        for _ in range(_PASSES):
            after = _MARKED.sub(lambda found: self._replaced(found, removed), shown)
            after = sanitise(after, plain=False).text
            if after == shown:
                return shown
            shown = after
        # It changes in every pass, so that its final form is unknown.
        removed["answer"] += 1
        return REMOVED.format("answer")

    def allows(self, text: str) -> bool:
        """Whether a text, in which no markdown is read, has only allowed addresses and tags."""
        removed: Counter[str] = Counter()
        plain = text.replace("[", " ").replace("]", " ")
        return self._once(plain, removed) == plain

    def allows_written(self, text: str) -> bool:
        """Whether all addresses in running text are allowed."""
        return all(self._written(found[0])[0] == found[0] for found in _WRITTEN.finditer(text))

    def _once(self, text: str, removed: Counter[str]) -> str:
        return _MARKED.sub(lambda found: self._replaced(found, removed), text)

    def _replaced(self, found: re.Match[str], removed: Counter[str]) -> str:
        construct = str(found.lastgroup)  # the outermost group, which closes last
        text, kind = _ESCAPED.get(construct) or getattr(self, f"_{construct}")(found)
        if text != found[0]:
            removed[kind] += 1
        return str(text)

    def _image(self, found: re.Match[str]) -> tuple[str, str]:
        allowed = self.images.allow(found["source"]) and not _WRITTEN.search(found["alt"])
        return (found[0] if allowed else REMOVED.format("image")), "image"

    def _link(self, found: re.Match[str]) -> tuple[str, str]:
        if self.allows_target(found["target"]) and not _WRITTEN.search(found["label"]):
            return found[0], "link"
        return f"{found['label']} {REMOVED.format('link')}", "link"

    def allows_target(self, target: str) -> bool:
        """Whether a link may lead to a target: a heading of the answer, or an allowed host."""
        return bool(re.fullmatch(r"#[\w-]*", target, flags=re.ASCII)) or self.links.allow(target)

    def _definition(self, found: re.Match[str]) -> tuple[str, str]:
        target = found["defined"]
        if target and self.allows_definition(target):
            return found[0], "definition"
        head, _, rest = found[0].rpartition("]:")
        return f"{head}]\\:{rest}", "definition"

    def allows_definition(self, target: str) -> bool:
        """Whether a definition, which can serve links and images, may lead to a target."""
        return self.links.allow(target) and self.images.allow(target)

    def _autolink(self, found: re.Match[str]) -> tuple[str, str]:
        address = found["address"]
        if not self.links.allow(address):
            return REMOVED.format("link"), "link"
        # Parsed as HTML it is an element, and the part in front of = an attribute.
        return (address if "=" in address else found[0]), "html"

    def _bare(self, found: re.Match[str]) -> tuple[str, str]:
        active = found["tag"].lower() in _ACTIVE
        return (f"&lt;{found[0][1:]}" if active else found[0]), "html"

    def _entity(self, found: re.Match[str]) -> tuple[str, str]:
        meant = html.unescape(found[0])
        forged = any(each in _SIGNIFICANT or each.isalnum() for each in meant)
        return (f"&amp;{found[0][1:]}" if forged else found[0]), "entity"

    def _url(self, found: re.Match[str]) -> tuple[str, str]:
        return self._written(found[0])

    def _domain(self, found: re.Match[str]) -> tuple[str, str]:
        return self._written(found[0])

    def _written(self, text: str) -> tuple[str, str]:
        """A URL in running text, which renderers turn into a link."""
        if "](" in text:  # markdown reads a link inside of it
            return REMOVED.format("link"), "link"
        core = text.rstrip(_TRAILING)
        bare = "://" not in core and "//" not in core[:2] and "\\" not in core
        address = f"https://{core}" if bare else core
        return (text if self.links.allow(address) else REMOVED.format("link")), "link"
