from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.releases import Release, make_release


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path)
