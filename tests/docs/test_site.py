"""The documentation site: an API entry for each public name, and no dead link."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.docs.examples import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import api_pages


class Links(HTMLParser):
    """Targets of a page's links, and the anchors that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given.get("id") or "", given.get("name") or ""}
        target = given.get("href" if tag in {"a", "link"} else "src")
        if target and not re.match(r"[a-z]+:|//", target):
            self.targets.add(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from copies of the pages."""
    place = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", place / "docs")
    text = (ROOT / "zensical.toml").read_text("utf-8")
    (place / "zensical.toml").write_text(text.replace('paths = ["."]', f'paths = ["{ROOT}"]'))
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    built = subprocess.run(command, cwd=place, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return place / "site"


def test_the_api_pages_are_current() -> None:
    written = {page.name: page.read_text("utf-8") for page in api_pages.FOLDER.glob("*.md")}
    assert written == api_pages.pages(), "run: python scripts/api_pages.py"


def test_every_public_name_of_the_face_is_documented_once() -> None:
    import mlsecops  # noqa: PLC0415 - its names are asked for here only

    places = [name for names in api_pages.documented().values() for name in names]
    assert set(mlsecops.__all__) - {"__version__"} <= set(places)


def test_every_public_name_has_an_entry_on_the_site(site: Path) -> None:
    entries = {
        anchor for page in (site / "api").rglob("index.html") for anchor in Links(page).anchors
    }
    wanted = {
        f"mlsecops.{module}.{name}"
        for module, names in api_pages.documented().items()
        for name in names
    }
    assert len(wanted) > 200
    assert sorted(wanted - entries) == []


def test_no_link_of_the_site_is_dead(site: Path) -> None:
    pages = {page: Links(page) for page in site.rglob("*.html")}
    dead = []
    for page, links in pages.items():
        for target in links.targets:
            path, anchor = urldefrag(unquote(target))
            place = (
                site / path.lstrip("/") if path.startswith("/") else page.parent / path
            ).resolve()
            place = place / "index.html" if place.is_dir() else place
            place = page if not path else place
            if not place.exists() or (place in pages and anchor not in pages[place].anchors):
                dead.append(f"{page.relative_to(site)} -> {target}")
    assert len(pages) > 30
    assert dead == []
