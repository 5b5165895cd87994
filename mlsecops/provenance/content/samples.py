"""What the content of a stream of samples is: a torch Dataset or a tf.data.Dataset.

Samples come in one at a time and none is kept, so memory is bounded whatever the data set's size.
Each value of a sample (by its place in a tuple or its key in a mapping) is a column; the digest of
some rows of it is over the digests of the single values, whose types and shapes may differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.content.arrays import array_of, write_array
from mlsecops.provenance.content.rows import part_name
from mlsecops.provenance.digest import Digest, Hash, new_hash
from mlsecops.provenance.entry import Entry

WHOLE: Final = "sample"
"""Column of a stream whose samples are single values."""

_STREAMS: Final = ("torch.utils.data", "tensorflow.python.data.ops")


def is_stream(data: Any) -> bool:
    """Whether data is a torch Dataset or a tf.data.Dataset; imports neither."""
    return any(
        base.__name__.startswith(("Dataset", "IterableDataset"))
        and base.__module__.startswith(_STREAMS)
        for base in type(data).__mro__
    )


def sample_entries(
    data: Any, *, algorithm: str, stop_after: Callable[[int], int]
) -> Iterator[Entry]:
    """Entries of a stream: for each run of samples, one for each column.

    Args:
        data: The data set. It must give the same samples in the same order each time.
        algorithm: Digest algorithm.
        stop_after: Where the run that begins at a sample ends at the latest.

    Raises:
        UsageError: Samples differ in their columns, or hold something that is no plain value.
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
        raise UsageError("the data set gives no sample: there is nothing to hash")
    yield from _close(columns, start, at + 1, algorithm)


def _samples(data: Any) -> Iterator[Any]:
    """Samples in order; a torch map-style data set has no end of its own to iterate to."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    return iter(data)


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
    array: Any = _array(value)
    if array is not None and array.dtype.kind == "O" and array.ndim == 0:
        array, value = None, array.item()  # how TensorFlow gives text
    if array is not None:
        write_array(running.update, array, column=key)
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


def _array(value: Any) -> Any:
    """The array that a value is or gives (pictures give one too); else None."""
    array = array_of(value)
    if array is None and hasattr(value, "__array_interface__"):
        return sys.modules["numpy"].asarray(value)
    return array
