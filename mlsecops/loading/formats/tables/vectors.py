"""Word vector scanners: fastText models and word2vec's binary tables, sizes against the file.

Source: fastText `src/fasttext.cc`, `loadModel`; `src/args.cc`, `src/dictionary.cc`; word2vec
`word2vec.c`, output with `-binary 1`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.errors import FormatRefused
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_VERSION: Final = 12  # fasttext.h, FASTTEXT_VERSION
_LONGEST_WORD: Final = 4096  # bytes; chosen: longer than any token
_ENTRY: Final = 9  # bytes; dictionary.cc: count and type behind a word's zero
_PAIR: Final = 8  # bytes; dictionary.cc, pruned indices
_FLOAT: Final = 4  # bytes


def examine_fasttext(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check settings, dictionary and matrices; quantised matrices are not looked into."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        _magic, version = cursor.numbers("<ii")
        if not 0 < version <= _VERSION:
            return not_checked(source.name, f"fastText of version {version}")
        dimension, *_rest = cursor.numbers("<12id")
        size, words, labels, _tokens, pruned = cursor.numbers("<iiiqq")
        if min(dimension, size, words, labels) < 0 or words + labels != size:
            raise cursor.malformed("a dictionary whose words and labels add up")
        for _number in range(size):
            cursor.until(b"\0", most=_LONGEST_WORD)
            cursor.skip(_ENTRY)
        cursor.skip(max(pruned, 0) * _PAIR)
        for _matrix in range(2):
            if cursor.number("<?"):
                return not_checked(source.name, "a quantised matrix of fastText")
            rows, columns = cursor.numbers("<qq")
            if rows < 0 or columns < 0:
                raise cursor.malformed("a matrix of some rows and columns")
            cursor.skip(rows * columns * _FLOAT)
        cursor.require_end()
    return Examination()


def examine_word2vec(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check that the table has the rows and columns that its first line says."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        rows, columns = map(int, cursor.until(b"\n", most=64).split())
        if rows * (columns * _FLOAT + 2) > source.size:
            raise FormatRefused(f"{source.name}: {rows} rows of {columns} numbers do not fit")
        for _row in range(rows):
            cursor.until(b" ", most=_LONGEST_WORD)
            cursor.skip(columns * _FLOAT)
        if cursor.left > 1:
            raise cursor.malformed("the end of the file")
    return Examination()
