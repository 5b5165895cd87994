from __future__ import annotations

from tests.digits import digits

__all__ = ["digits"]
