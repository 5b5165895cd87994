"""Fixtures and hooks for all tests."""

from __future__ import annotations

import os
import shutil
import sqlite3  # noqa: F401 - before TensorFlow, whose own SQLite lacks modules
import sys
from collections.abc import Iterator

import pytest

# Each worker of a run has one core: threads that wait for a core that another worker uses spin,
# which made small fits of trees twenty times as costly. Read when a library is loaded.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")


def program(name: str) -> str:
    """Path of an installed program; without it, the test is skipped, and in CI it fails."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{message}; install it in CI")
        pytest.skip(message)
    return found


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what readers cache out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove modules that a test imported from its own folder (`nets.py`) before the next test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        place = getattr(sys.modules[name], "__file__", None) or ""
        if f"{os.sep}pytest-of-" in place:
            del sys.modules[name]


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """The umask that a test names by `parametrize("umask", …, indirect=True)`."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI if a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped; in CI all must run", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
