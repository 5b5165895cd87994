"""Content digests of sample streams: torch `Dataset` and `tf.data.Dataset`.

    samples, one at a time → columns (tuple index or mapping key) → digests of runs of samples

Memory is bounded, since no sample is kept. A run's digest is over the digests of its values, whose
types and shapes may differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.provenance.content.arrays import Update, array_of, header, write_array
from mlsecops.provenance.content.rows import part_name
from mlsecops.provenance.content.sparse import sparse_column, sparse_kind
from mlsecops.provenance.digest import Digest, Hash, new_hash
from mlsecops.provenance.entry import Entry

WHOLE: Final = "sample"
"""Name of the column of a stream of single values."""

_STREAMS: Final = ("torch.utils.data", "tensorflow.python.data.ops")


def is_stream(data: Any) -> bool:
    """Whether data is a torch `Dataset` or a `tf.data.Dataset`; imports neither."""
    return any(
        base.__name__.startswith(("Dataset", "IterableDataset"))
        and base.__module__.startswith(_STREAMS)
        for base in type(data).__mro__
    )


def sample_entries(
    data: Any, *, algorithm: str, stop_after: Callable[[int], int]
) -> Iterator[Entry]:
    """Entries of a stream: one for each column of each run of samples.

    `stop_after` maps the start of a run to its latest end.

    Raises:
        UsageError: Samples differ in their columns, or a value is not a plain one.
    """
    columns: dict[str, Hash] = {}
    start, at = 0, -1
    for at, sample in enumerate(_samples(data)):
        if at == stop_after(start):
            yield from _close(columns, start, at, algorithm)
            start, columns = at, _begin(columns, algorithm)
        values = dict(_leaves(sample, ""))
        columns = columns or _begin(values, algorithm)
        if values.keys() != columns.keys():
            raise UsageError(
                f"sample {at}: expected the columns {', '.join(columns)}, got {', '.join(values)}"
            )
        for key, value in values.items():
            columns[key].update(_value_digest(key, value, algorithm))
    if at < 0:
        raise UsageError("data: expected at least one sample, got none")
    yield from _close(columns, start, at + 1, algorithm)


def _samples(data: Any) -> Iterator[Any]:
    """Samples in order; iteration over a torch map-style data set would not end."""
    at = -1
    try:
        iterable = any(base.__name__ == "IterableDataset" for base in type(data).__mro__)
        if not iterable and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            samples: Iterator[Any] = (data[index] for index in range(len(data)))
        else:
            samples = iter(data)
        for at, sample in enumerate(samples):  # noqa: B007 - for the message
            yield sample
    except (MLSecOpsError, MemoryError):
        raise
    except Exception as error:  # the data set's own code may fail in any way
        raise UsageError(
            f"sample {at + 1} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _begin(names: Mapping[str, object], algorithm: str) -> dict[str, Hash]:
    columns = {}
    for name in names:
        columns[name] = new_hash(algorithm)
        columns[name].update(json.dumps({"column": name, "samples": True}).encode() + b"\n")
    return columns


def _close(columns: dict[str, Hash], start: int, stop: int, algorithm: str) -> Iterator[Entry]:
    for name, running in columns.items():
        yield Entry(part_name(name, start, stop), Digest(algorithm, running.digest()))


def _leaves(sample: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(sample, Mapping):
        items = [(str(key), value) for key, value in sample.items()]
    elif isinstance(sample, (tuple, list)):
        items = [(str(index), value) for index, value in enumerate(sample)]
    else:
        yield prefix or WHOLE, sample
        return
    for key, value in items:
        yield from _leaves(value, f"{prefix}.{key}" if prefix else key)


def _value_digest(key: str, value: Any, algorithm: str) -> bytes:
    running = new_hash(algorithm)
    array: Any = _array(value, key)
    if array is not None and array.dtype.kind == "O" and array.ndim == 0:
        array, value = None, array.item()  # TensorFlow text
    sparse = sparse_column(key, value) if array is None else None
    if array is not None:
        write_array(running.update, array, column=key)
    elif sparse is not None:
        sparse.write(running.update, 0, sparse.rows)
    elif hasattr(value, "nested_row_splits"):
        _write_ragged(running.update, value, key)
    elif isinstance(value, bytes):
        running.update(b'{"dtype": "bytes"}\n' + value)
    elif value is None or isinstance(value, (bool, int, float, str)):
        running.update(b'{"dtype": "json"}\n' + json.dumps(value).encode())
    else:
        raise UsageError(
            f"column {key!r} of a sample is a {type(value).__name__}: expected a tensor, an array, "
            "a number or text; add a transform that makes it one"
        )
    return running.digest()


def _write_ragged(update: Update, value: Any, key: str) -> None:
    """Hash a `tf.RaggedTensor`: the ends of its rows at each depth, then its values."""
    splits = value.nested_row_splits
    update(header(key, "ragged", [len(splits)]))
    for each in (*splits, value.flat_values):
        write_array(update, _array(each, key), column=key)


def _array(value: Any, key: str) -> Any:
    array = array_of(value, column=key) if sparse_kind(value) is None else None
    if array is None and hasattr(value, "__array_interface__"):
        return sys.modules["numpy"].asarray(value)
    return array
