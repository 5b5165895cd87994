"""Older ggml model scanner: Whisper's settings, filters, tokens and tensors; others by name.

Source: whisper.cpp `src/whisper.cpp`; ggml `docs/gguf.md`, "Historical State of Affairs".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.errors import FormatRefused
from mlsecops.loading.allowed.tensor_types import GGML_TYPES
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_WHISPER: Final = b"lmgg"
"""`ggml`, little endian; the other magics are of language models and adapters."""
_SETTINGS: Final = 11  # numbers; whisper.cpp, `whisper_hparams`
_MOST_FILTERS: Final = 1 << 20  # numbers; whisper.cpp: 80 or 128 mels of 201 frequencies
_DIMENSIONS: Final = 4  # dimensions; ggml.h, GGML_MAX_DIMS


def examine_ggml(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check a model of Whisper; the others do not say what they are."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        magic = cursor.take(4)
        try:
            if magic == _WHISPER:
                _require_whisper(cursor, limits, source.name)
                return Examination()
        except FormatRefused as error:
            return not_checked(source.name, f"an older ggml model, not of Whisper: {error}")
    return not_checked(source.name, f"an older ggml model ({magic[::-1].decode('ascii')})")


def _require_whisper(cursor: Cursor, limits: Limits, where: str) -> None:
    cursor.skip(4 * _SETTINGS)
    mels, frequencies = cursor.numbers("<ii")
    if min(mels, frequencies) < 1 or mels * frequencies > _MOST_FILTERS:
        raise cursor.malformed("filters of a usual size")
    cursor.skip(mels * frequencies * 4)
    tokens = cursor.number("<i")
    if not 0 <= tokens <= cursor.left:
        raise cursor.malformed("tokens")
    limits.require("opcodes", tokens, where=where)
    for _ in range(tokens):
        cursor.skip(cursor.number("<I"))
    count = 0
    while cursor.left:
        count += 1
        limits.require("tensors", count, where=where)
        dimensions, length, kind = cursor.numbers("<iii")
        if not 0 <= dimensions <= _DIMENSIONS or length < 0 or kind not in GGML_TYPES:
            raise cursor.malformed("a tensor of a known type")
        shape = [cursor.number("<I") for _ in range(dimensions)]
        cursor.skip(length)
        block, size = GGML_TYPES[kind]
        elements = element_count(shape, most=cursor.left * block)
        cursor.skip(elements // block * size)
