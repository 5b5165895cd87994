from __future__ import annotations

from tests.robustness.conftest import samples, two_class

__all__ = ["samples", "two_class"]
