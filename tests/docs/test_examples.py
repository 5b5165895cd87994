"""Examples, links and tables of the documentation pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mlsecops.cli.main import COMMANDS
from tests.docs.examples import PAGES, ROOT, Step, steps

_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
_ANCHOR = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)#([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)
WITH_STEPS = [name for name in _NAMES if list(steps((ROOT / name).read_text("utf-8")))]


def run_python(step: Step, page: Path, names: dict[str, Any]) -> None:
    """Run a block; a traceback shows the line of the page."""
    text = "\n" * (step.line - 1) + step.text
    exec(compile(text, str(page), "exec"), names)  # noqa: S102 - running the page is the test


def run_command(step: Step, page: Path) -> None:
    """Run a command line in a shell, with this interpreter's `mlsecops`."""
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.text],
        env={**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == step.status, f"{page.name}:{step.line}: {step.text}\n{done.stderr}"


@pytest.mark.parametrize("name", WITH_STEPS)
def test_every_example_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    for step in steps(page.read_text("utf-8")):
        if step.kind == "python":
            run_python(step, page, names)
        else:
            run_command(step, page)


@pytest.mark.parametrize("name", _NAMES)
def test_every_link_of_a_page_leads_to_a_file(name: str) -> None:
    page = ROOT / name
    targets = _LINK.findall(page.read_text("utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page."""
    plain = (re.sub(r"[^\w\s-]", "", each) for each in _HEADING.findall(page.read_text("utf-8")))
    return {re.sub(r"\s+", "-", each.strip().lower()) for each in plain}


@pytest.mark.parametrize("name", _NAMES)
def test_every_link_into_a_page_leads_to_a_heading(name: str) -> None:
    page = ROOT / name
    links = _ANCHOR.findall(page.read_text("utf-8"))
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors(page.parent / target if target else page)
    ]
    assert not missing


def test_the_page_of_the_command_line_names_every_command_and_no_other() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    named = set(re.findall(r"^\| `mlsecops (\w+)", text, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_table_of_extras_names_every_extra_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", text.partition("\n## Extras\n")[2], flags=re.MULTILINE)
    named = re.findall(r"`([\w-]+)`", " ".join(rows))
    assert sorted(named) == sorted(project["optional-dependencies"])


def test_every_page_stands_in_the_navigation_and_nothing_else_does() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
    named = re.findall(r"[\w/-]+\.md", str(nav))
    pages = (ROOT / "docs").rglob("*.md")
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in pages)


def test_the_page_of_errors_draws_the_whole_tree() -> None:
    from mlsecops import errors  # noqa: PLC0415 - read here only

    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    kinds = {name for name, each in vars(errors).items() if isinstance(each, type)}
    kinds = {name for name in kinds if issubclass(getattr(errors, name), errors.MLSecOpsError)}
    assert kinds <= set(re.findall(r"\w+", text))


def test_an_example_that_fails_is_noticed(tmp_path: Path) -> None:
    page = "text\n\n```python\nassert 1 == 2\n```\n\n```console\n$ mlsecops nonsense\n```\n"
    failing, command = steps(page)
    with pytest.raises(AssertionError):
        run_python(failing, tmp_path / "page.md", {})
    with pytest.raises(AssertionError, match="nonsense"):
        run_command(command, tmp_path / "page.md")


def test_an_exempt_block_and_only_that_is_left_out() -> None:
    page = "<!-- no-run: needs a GPU -->\n```python\na\n```\n\n```python\nb\n```\n"
    assert [step.text for step in steps(page)] == ["b"]
