"""Accessibility of every page by axe-core in a browser: wide, on a phone, light and dark.

One page holds a frame of each page and width, with axe-core in it; the frames' findings come back
in its document.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from mlsecops.reports import evidence_map, evidence_page
from tests.conftest import program
from tests.reports.pages import test_pages as pages

WIDTHS = (1280, 390)  # pixels of a laptop and of a phone
COLLECT = """
<pre id="found"></pre><script>
const found = {}; let left = %d;
addEventListener("message", event => {
  found[event.data.name] = event.data.violations; left -= 1;
  if (!left) document.getElementById("found").textContent = JSON.stringify(found);
});</script>"""
RUN = """<script>%s</script><script>
axe.run(document, {resultTypes: ["violations"]}).then(result => parent.postMessage({name: %s,
  violations: result.violations.map(each => [each.id, each.impact,
    each.nodes.slice(0, 3).map(node => node.target.join(" "))])}, "*"));
</script></body>"""


def shown() -> dict[str, str]:
    made = {page.__name__: page("a name") for page in pages.PAGES}
    digest = "sha256:" + "0" * 64
    value = evidence_map("eu-ai-act", {"playbook.json": b'{"steps": [1]}'}, digest=digest)
    return {**made, "evidence": evidence_page(value, model="a name")}


def audited(place: Path, *, dark: bool) -> dict[str, list[Any]]:
    """Findings of axe-core by page and width."""
    script = files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    frames = []
    for name, text in shown().items():
        for width in WIDTHS:
            # Their policy allows no script, which is what the pages owe; only here it goes.
            bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
            run = RUN % (script, json.dumps(f"{name} {width}"))
            content = html.escape(bare.replace("</body>", run), quote=True)
            frames.append(f'<iframe width="{width}" height="900" srcdoc="{content}"></iframe>')
    (place / "all.html").write_text(f"<body>{COLLECT % len(frames)}{''.join(frames)}</body>")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000",
             f"--user-data-dir={place / 'browser'}", "--window-size=1400,1000"]  # fmt: skip
    words += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [program("chromium"), *words, "--dump-dom", (place / "all.html").as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, "a frame did not answer"
    found: dict[str, list[Any]] = json.loads(html.unescape(match[1]))
    assert len(found) == len(frames)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_a_finding(tmp_path: Path, *, dark: bool) -> None:
    found = audited(tmp_path, dark=dark)
    assert {name: each for name, each in found.items() if each} == {}


def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty() -> dict[str, str]:
        return {"faulty": '<html><body><img src="x"><p style="color:#eee">pale</p></body></html>'}

    monkeypatch.setattr("tests.reports.pages.test_accessibility.shown", faulty)
    faults = {each[0] for each in audited(tmp_path, dark=False)["faulty 1280"]}
    assert {"image-alt", "color-contrast"} <= faults
