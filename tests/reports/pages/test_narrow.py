"""Pages on a phone and a tablet, laid out by a browser: nothing wider, no text too small."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import program
from tests.reports.pages import test_pages as pages
from tests.reports.pages.test_accessibility import COLLECT, shown

LEAST = 9.0  # pixels of a phone's screen
MEASURE = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  const sizes = [...document.querySelectorAll("svg text")].filter(each => each.getClientRects()[0])
    .map(each => parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a);
  const boxes = [...document.querySelectorAll("*")].filter(each =>
    ["auto", "scroll"].includes(getComputedStyle(each).overflowX)
    && each.scrollWidth > each.clientWidth + 1);
  parent.postMessage({name: %s, violations: {wider: root.scrollWidth - root.clientWidth,
    smallest: Math.min(99, ...sizes), scrolled: boxes.length}}, "*");
});</script></body>"""


def measured(place: Path, shown: dict[str, str], width: int) -> dict[str, Any]:
    """Page → by how much it is wider than the screen, its smallest drawn text, boxes to scroll."""
    frames = []
    for name, text in shown.items():
        bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        content = html.escape(bare.replace("</body>", MEASURE % json.dumps(name)), quote=True)
        frames.append(f'<iframe width="{width}" height="900" srcdoc="{content}"></iframe>')
    (place / "all.html").write_text(f"<body>{COLLECT % len(frames)}{''.join(frames)}</body>")
    done = subprocess.run(
        [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         "--virtual-time-budget=20000", f"--user-data-dir={place / 'browser'}",
         (place / "all.html").as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, "a frame did not answer"
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


@pytest.mark.parametrize("width", [320, 390, 768])
def test_pages_fit_a_narrow_screen_with_text_of_a_size_to_read(tmp_path: Path, width: int) -> None:
    for name, found in measured(tmp_path, shown(), width).items():
        assert found["wider"] <= 0, name
        assert found["scrolled"] == 0, name
        assert found["smallest"] >= LEAST * min(1, width / 390), (name, found["smallest"])


def test_a_name_without_a_space_does_not_widen_a_page(tmp_path: Path) -> None:
    long = {page.__name__: page("m" * 300) for page in pages.PAGES}
    assert {found["wider"] <= 0 for found in measured(tmp_path, long, 390).values()} == {True}


def test_small_text_and_wide_pages_are_found(tmp_path: Path) -> None:
    text = '<html><body><svg width="800" viewBox="0 0 1600 9"><text>a</text></svg></body></html>'
    found = measured(tmp_path, {"faulty": text}, 390)["faulty"]
    assert found["wider"] > 0
    assert found["smallest"] < LEAST
