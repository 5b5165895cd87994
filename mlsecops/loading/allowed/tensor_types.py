"""Sizes of tensor types, from the tables of the packages that define them.

`scripts/list_tensor_types.py` writes `tensor_types.txt` from the installed `gguf`, `safetensors`
and `torch`: type → elements in a block and bytes of a block, or bits of an element.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final


def _table(kind: str) -> dict[str, tuple[int, ...]]:
    text = Path(__file__).with_name("tensor_types.txt").read_text(encoding="utf-8")
    words = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name: tuple(map(int, rest)) for home, name, *rest in words if home == kind}


GGML_TYPES: Final = {int(kind): (sizes[0], sizes[1]) for kind, sizes in _table("ggml").items()}
"""Tensor type of ggml → elements in a block, bytes of a block."""
SAFETENSORS_BITS: Final = {name: bits for name, (bits,) in _table("safetensors").items()}
"""Data type of safetensors → bits of an element."""
