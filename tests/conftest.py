"""What tests of several packages share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import pytest


def program(name: str) -> str:
    """Path of a program that tests need; missing, they skip, and in CI they fail."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{message}, and in CI it must be")
        pytest.skip(message)
    return found


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test's own modules (``nets.py`` in its folder) are not the next test's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        place = getattr(sys.modules[name], "__file__", None) or ""
        if f"{os.sep}pytest-of-" in place:
            del sys.modules[name]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test proves nothing, so it fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped, and in CI none may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
