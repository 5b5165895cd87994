"""What tests of several packages share."""

from __future__ import annotations

import os
import shutil

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
