from __future__ import annotations

import random
import re
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
from tests.ceilings import answered

GOOD = "good.example"
FILTER = OutputFilter(links=[GOOD], images=[GOOD])
RAW = OutputFilter(links=[GOOD], images=[GOOD], code="filter")
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
        self.code = 0

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag == "code"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.code += tag == "code"
        for name, value in attrs:
            if name in {"alt", "title", "class", "start", "align"}:
                continue
            if name == "style" and re.fullmatch(r"text-align:\w+", value or ""):
                continue  # of a table, by the renderer
            if tag.startswith("https:") and value is None:
                continue  # an autolink, read as HTML: names without values do nothing
            self.urls.append(value or name)

    def handle_data(self, data: str) -> None:
        self.words.append("" if self.code > 0 else data)


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
    host = re.sub("[\u3002\uff0e\uff61]", ".", host).removesuffix(":443").removesuffix(".")
    return f"http://{host}" if found and found[0].lower().startswith("http:") else host or plain


def reached(text: str, *, raw: bool) -> Iterator[str]:
    """Every host or odd URL that an answer reaches, rendered, or also as HTML and text."""
    pages = [renderer.render(text) for renderer in RENDERERS]
    for page in [*pages, text] if raw else pages:
        parser = Reached()
        parser.feed(page)
        parser.close()
        yield from (browsed(url) for url in parser.urls)
        yield from parser.tags & {"script", "style", "svg", "iframe", "form", "base", "meta"}
        for found in WRITTEN.findall("".join(parser.words) + ("\n" + text if raw else "")):
            url = found if ":" in found else f"https://{found}"
            core = (
                re.split(r"[)\]]", url)[0] if f"]({url}" in text else url.rstrip(")].,;:!?'\"*_~>")
            )
            yield browsed(core)


def others(text: str, *, raw: bool = False) -> set[str]:
    found = reached(text, raw=raw)
    return {each for each in found if each != GOOD and not re.fullmatch(r"#[\w-]*", each)}


@pytest.mark.parametrize("leak", LEAKS)
def test_no_answer_leads_where_it_may_not(leak: str) -> None:
    for text in (LEAKS[leak], f"Sure:\n\n{LEAKS[leak]}\n\nDone.", f"> - {LEAKS[leak]}"):
        cleaned = RAW.clean(text)
        assert cleaned.changed
        assert not others(cleaned.text, raw=True)
        assert not others(FILTER.clean(text).text)


def test_the_judge_sees_what_the_leaks_reach() -> None:
    seen = {leak for leak in LEAKS if others(LEAKS[leak], raw=True)}
    # An element of no known name does nothing, until somebody takes the unseen character out.
    assert set(LEAKS) - seen == {"script element, unseen"}


@pytest.mark.parametrize("leak", LEAKS)
def test_cleaning_twice_changes_nothing_more(leak: str) -> None:
    for keeper in (FILTER, RAW):
        once = keeper.clean(LEAKS[leak]).text
        again = keeper.clean(once)
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


@settings(max_examples=100, deadline=None)
@given(PIECES)
def test_no_mixture_leads_where_it_may_not(text: str) -> None:
    once = RAW.clean(text).text
    assert not others(once, raw=True)
    assert RAW.clean(once).text == once
    assert not others(FILTER.clean(text).text)


@settings(max_examples=40, deadline=None)
@given(PIECES, st.sampled_from(["", " word" * 900, "x" * 5_000, "\n- a `b`" * 300]), st.integers())
def test_a_long_mixture_leads_nowhere_and_a_stream_gives_what_the_whole_gives(
    text: str, filling: str, seed: int
) -> None:
    long = (text + filling) * 2
    whole = FILTER.clean(long).text
    assert not others(whole)
    stream, shown, place = FILTER.stream(), "", 0
    rng = random.Random(seed)  # noqa: S311 - repeatable
    most = rng.choice((5, 100, 3_000))
    while place < len(long):
        step = rng.randint(1, most)
        shown += stream.feed(long[place : place + step])
        place += step
    assert shown + stream.close() == whole


def test_a_stream_holds_back_less_than_four_kibibytes() -> None:
    for text in (
        "word " * 4_000,
        "x" * 20_000,
        "\u5b57" * 9_000,
        "- a\n  b\n" * 2_000,
        "```\n" + "y" * 20_000,
    ):
        stream, shown = FILTER.stream(), ""
        for place in range(0, len(text), 50):
            shown += stream.feed(text[place : place + 50])
            assert len(text[: place + 50].encode()) - len(shown.encode()) <= 4096
        assert shown + stream.close() == FILTER.clean(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "Then call `handlers[0](event)` in your code.",
        "```html\n<img src='https://evil.example/x'>\n\n[a](https://evil.example)\n```\n\nDone.",
        "1. Run\n\n   ```sh\n   curl https://evil.example/x\n   ```\n2. Done",
        "See https://good.example/Mercury_(planet), [M](https://good.example/a_(b)) and more.",
        "https://good.example/stra\u00dfe \u8be6\u89c1\uff1ahttps://good.example/page\u3002",
        "We use node.js/express and next.js/react; and/or.",
        "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u5427\uff1f\uff11\uff12",
        "one\r\ntwo\r\n\r\nthree",
        "| a | b |\n|---|---|\n| `x|y` | 2 |\n",
    ],
)
def test_code_and_prose_are_left_as_they_are(text: str) -> None:
    cleaned = FILTER.clean(text)
    assert (cleaned.text, cleaned.changed, dict(cleaned.removed)) == (text, False, {})


def test_code_is_kept_where_a_link_goes() -> None:
    text = "Call `handlers[0](event)` and see [this](https://evil.example/?q=1)."
    cleaned = FILTER.clean(text)
    assert "`handlers[0](event)`" in cleaned.text
    assert "evil" not in cleaned.text


@pytest.mark.parametrize(
    "text",
    [
     "[" * 20_000, "![a](" * 5_000, "<a" * 10_000, "a." * 10_000, "a" * 50_000, "[a\n" * 5_000,
     "https:/" * 5_000, "//" * 10_000, "&#58" * 9_000, "](" * 9_000, "[\\[" * 5_000, "x:" * 9_000],
)  # fmt: skip
def test_long_answers_do_not_take_long(text: str) -> None:
    answered(FILTER.clean, text)


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
    assert below.allow("https://a.good.example:443/x")
    assert Hosts.of(["a.example:443"]).allow("https://a.example/x")
    assert not below.allow("https://a.good.example:4430/x")
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


@pytest.mark.parametrize(
    "kept",
    [
        "[![a badge](https://good.example/b.svg)](https://good.example/a_(b))",
        "[a label over\ntwo lines](https://good.example/x)",
        "[`code`](https://good.example/x)",
    ],
)
def test_an_allowed_link_stays_where_another_goes(kept: str) -> None:
    cleaned = FILTER.clean(f"See {kept} and [this](https://evil.example/?q=1) too.")
    assert kept in cleaned.text
    assert "evil" not in cleaned.text
