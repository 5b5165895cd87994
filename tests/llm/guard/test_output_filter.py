from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mlsecops.errors import UsageError
from mlsecops.llm import OutputFilter
from mlsecops.llm.guard.link_hosts import Hosts, host_of
from tests.attackers.llm_guard import LEAKS, in_tags, with_zero_width

GOOD = "good.example"
FILTER = OutputFilter(links=[GOOD], images=[GOOD])
RENDERERS = [
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("default", {"html": True, "typographer": True}).enable(["table", "strikethrough"]),
]
for _renderer in RENDERERS:
    _renderer.validateLink = lambda _: True  # type: ignore[method-assign] # not every renderer asks
# What a program may make a link of in running text (GFM, section 6.9).
WRITTEN = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:[\\/]{2}|(?<![a-z0-9])www[.\u3002\uff0e](?=[a-z0-9-]+[.\u3002]))[^\s<]*",
    re.IGNORECASE,
)


class Reached(HTMLParser):
    """Everything that a page fetches, opens or runs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.urls: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"alt", "title", "class", "start", "align"}:
                continue
            if name == "style" and re.fullmatch(r"text-align:\w+", value or ""):
                continue  # of a table, by the renderer
            if tag.startswith("https:") and value is None:
                continue  # an autolink, read as HTML: names without values do nothing
            self.urls.append(value or name)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def browsed(url: str) -> str:
    """Host that a browser goes to (WHATWG URL Standard), or the whole URL if there is none."""
    plain = re.sub(r"[\t\n\r]", "", url).strip().replace("\\", "/")
    found = re.match(r"(?:https?|wss?|ftp):/*", plain, re.IGNORECASE)
    plain = f"//{plain[found.end() :]}" if found else plain
    if re.match("[a-z][a-z0-9+.-]*:", plain, re.IGNORECASE) and not found:
        return plain
    try:
        place = urlsplit(plain)
        host = (place.netloc.rpartition("@")[2]).lower()
    except ValueError:
        return plain
    host = re.sub("[\u3002\uff0e\uff61]", ".", host).removesuffix(":443")
    return f"http://{host}" if found and found[0].lower().startswith("http:") else host or plain


def reached(text: str) -> Iterator[str]:
    """Every host or odd URL that a rendered answer reaches, in any of the programs."""
    pages = [renderer.render(text) for renderer in RENDERERS]
    for page in [*pages, text]:
        parser = Reached()
        parser.feed(page)
        parser.close()
        yield from (browsed(url) for url in parser.urls)
        yield from parser.tags & {"script", "style", "svg", "iframe", "form", "base", "meta"}
        for found in WRITTEN.findall("".join(parser.words) + "\n" + text):
            url = found if ":" in found else f"https://{found}"
            core = (
                re.split(r"[)\]]", url)[0] if f"]({url}" in text else url.rstrip(")].,;:!?'\"*_~>")
            )
            yield browsed(core)


def others(text: str) -> set[str]:
    return {each for each in reached(text) if each != GOOD and not re.fullmatch(r"#[\w-]*", each)}


@pytest.mark.parametrize("leak", LEAKS)
def test_no_answer_leads_where_it_may_not(leak: str) -> None:
    for text in (LEAKS[leak], f"Sure:\n\n{LEAKS[leak]}\n\nDone.", f"> - {LEAKS[leak]}"):
        cleaned = FILTER.clean(text)
        assert cleaned.changed
        assert not others(cleaned.text)


def test_the_judge_sees_what_the_leaks_reach() -> None:
    seen = {leak for leak in LEAKS if others(LEAKS[leak])}
    # An element of no known name does nothing, until somebody takes the unseen character out.
    assert set(LEAKS) - seen == {"script element, unseen"}


@pytest.mark.parametrize("leak", LEAKS)
def test_cleaning_twice_changes_nothing_more(leak: str) -> None:
    once = FILTER.clean(LEAKS[leak]).text
    again = FILTER.clean(once)
    assert again.text == once
    assert not again.changed


@pytest.mark.parametrize(
    "text",
    [
        "See [the manual](https://good.example/a?b=c&d=e#f).",
        "![a picture](https://good.example/i.png), and so on",
        '[the manual](https://good.example/a "its title")',
        "[the manual][m]\n\n[m]: https://good.example/a",
        "<https://good.example/a>, (https://good.example/b), **https://good.example/c**.",
        "good.example/ and good.example/a?b=c",
        "[below](#a-heading), [1] and [x]: 3",
        "if a < b: x: list[int] = f(y)[1:2]  # vector<int>, <b>bold</b>, a/b, C:\\\\x",
        "Tom &amp; Jerry &lt;3 &copy; AT&T",
        "Grüße, \u041f\u0440\u0438\u0432\u0435\u0442, \u4f60\u597d: 1/2",
        "README.md, e.g. os.path, 10:30",
        "```python\nprint(f'{x}')\n```",
    ],
)
def test_an_answer_that_leads_where_it_may_is_left_as_it_is(text: str) -> None:
    cleaned = FILTER.clean(text)
    assert cleaned.text == text
    assert not cleaned.changed


def test_links_and_images_have_lists_of_their_own() -> None:
    url = "https://good.example/"
    text = f"[a]({url}) ![b]({url}) [c][d]\n\n[d]: {url}"
    links = OutputFilter(links=[GOOD]).clean(text)
    assert links.removed == {"image": 1, "definition": 1}
    images = OutputFilter(images=[GOOD]).clean(text)
    assert "![b](https://good.example/)" in images.text
    assert images.removed["link"] >= 1
    assert images.removed["definition"] == 1


def test_what_was_removed_is_counted_by_kind() -> None:
    text = f"a{in_tags('b')} ![x](https://evil.example/) <img src=x> [y](//evil.example/)"
    assert FILTER.clean(text).removed == {"hidden": 1, "image": 1, "html": 1, "link": 1}


def test_a_domain_with_a_path_is_a_link_to_some_programs() -> None:
    assert "evil" not in FILTER.clean("go to evil.example/?q=SECRET now").text
    assert "evil" not in FILTER.clean("go to secret.evil.example/x now").text


def test_unseen_characters_do_not_hide_a_link() -> None:
    assert "evil" not in FILTER.clean(f"go to {with_zero_width('https://evil.example/x')}").text


PIECES = st.lists(
    st.sampled_from(
        [
            "[", "]", "(", ")", "!", "<", ">", "\\", "`", "```\n", "\n", "\n\n", " ",
            "    ", "> ", "- ", ":", "/", "//", "https://", "http:", "www.", "@", "#",
            "?", "&", ";", "'", '"', "*", "_", "|", "good.example", "evil.example",
            "https://good.example/", "https://evil.example/x", "[a](", "![a](", "](",
            "]:", "[a]:", "[a]", "\t", "\r", "&#58;", "&sol;", "&lt;", "img src=",
            "<img src=", "<a href=", "script", "<!--", "-->", "<![CDATA[", "style=",
            "\u200b", "\u3002", "\u2028", "\x00", "\ud800", "1. ", "=", "{", "}", "^",
            "~", "a", "x.y",
        ]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=1_500, deadline=None)
@given(PIECES)
def test_no_mixture_leads_where_it_may_not(text: str) -> None:
    once = FILTER.clean(text).text
    assert not others(once)
    assert FILTER.clean(once).text == once


@pytest.mark.parametrize(
    "text",
    [
     "[" * 20_000, "![a](" * 5_000, "<a" * 10_000, "a." * 10_000, "a" * 50_000, "[a\n" * 5_000,
     "https:/" * 5_000, "//" * 10_000, "&#58" * 9_000, "](" * 9_000, "[\\[" * 5_000, "x:" * 9_000],
)  # fmt: skip
def test_long_answers_do_not_take_long(text: str) -> None:
    start = time.process_time()
    FILTER.clean(text)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    "wrong",
    ["", "*", "*.", "https://good.example", "good.example/", "a@b.example", "g\u00f6.example",
     "good..example", "good.example.", " good.example"],
)  # fmt: skip
def test_what_is_no_host_cannot_be_allowed(wrong: str) -> None:
    with pytest.raises(UsageError, match="hosts"):
        OutputFilter(links=[wrong])


def test_one_text_in_place_of_several_hosts_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a list of"):
        OutputFilter(links="good.example")


def test_a_star_allows_what_is_below_and_nothing_else() -> None:
    below = Hosts.of(["*.good.example", "other.example:8443"])
    assert below.allow("https://a.good.example/")
    assert below.allow("https://a.b.good.example")
    assert below.allow("https://other.example:8443/x")
    assert not below.allow("https://good.example/")
    assert not below.allow("https://notgood.example/")
    assert not below.allow("https://other.example/")


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example/\ud800",
        "https://good.example/&colon;x",
        "https://",
        "https://good.example/https://evil.example/",
        "https://good.example?u=//evil.example",
    ],
)
def test_a_url_that_readers_could_differ_on_has_no_host(url: str) -> None:
    assert host_of(url) is None
