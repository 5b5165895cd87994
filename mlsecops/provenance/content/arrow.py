"""Canonical bytes of Arrow columns, independent of their layout in memory.

    rows of an Arrow column → header lines + values

Chunks, slices, offsets, 32-bit, 64-bit and view layouts, dictionaries and the library that holds
the column make no difference. Encoding by type:

- numbers, booleans, dates, timestamps without a zone, durations: the type's numpy name
  (`<f4`, `|b1`, `<M8[D]`, `<m8[us]`), values little-endian, booleans a byte each;
- timestamps with a zone `<M8[us] Europe/Oslo`; `decimal(scale)` as 256-bit integers, whatever their
  precision, which only bounds them; times of day (`time`) as nanoseconds, whatever their unit, in
  64-bit integers;
- `string` and `binary`: the lengths as 64-bit integers, then the bytes;
- `list`: the lengths, then the items; `struct`: each field; both as separate columns; maps are
  lists of structs; lists of one fixed length are further dimensions of the shape;
- extension types as what they store, after a line with their name, but for those of a plain
  meaning: `arrow.json`, `arrow.uuid`, `arrow.bool8`, tensors of one shape, arrays of `datasets`.

If values are null, the header has their number, a byte for each row says whether it is valid, and
only valid values follow. In floating-point columns null is NaN: pandas does not distinguish them,
and conversions between libraries swap them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.provenance.content.arrays import Update, header, write_array

_NUMBERS: Final = {
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
}
_STORED: Final = frozenset({"arrow.json", "arrow.uuid"})
"""Extension types whose storage says all."""
_DECIMAL_BYTES: Final = 32  # bytes; width of Arrow's decimal256, the widest decimal


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """Column of a data set in an Arrow array, of one chunk or many."""

    name: str
    values: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values.

        Raises:
            UsageError: The type has no canonical content in every library.
        """
        arrow = require("pyarrow")
        part = self.values.slice(start, stop - start)
        try:
            return _write(update, _joined(part, arrow), self.name, [len(part)], arrow)
        except (arrow.ArrowException, NotImplementedError) as error:
            raise _unsupported(self.name, part.type) from error


def _joined(part: Any, arrow: Any) -> Any:
    if not isinstance(part, arrow.ChunkedArray):
        return part
    chunks = [_plain(chunk, arrow) for chunk in part.chunks]
    return arrow.concat_arrays(chunks) if chunks else arrow.array([], type=part.type)


def _unsupported(column: str, kind: object) -> UsageError:
    return UsageError(
        f"column {column!r} cannot be hashed (Arrow type {kind}): convert it to numbers, text, "
        "dates, decimals, lists or structs first"
    )


def _write(update: Update, values: Any, column: str, shape: list[int], arrow: Any) -> int:
    if isinstance(values.type, arrow.BaseExtensionType):
        values = _stored(update, values, column, arrow)
    values = _plain(values, arrow)
    kinds = arrow.types
    kind = values.type
    if kinds.is_floating(kind):  # numpy turns null into NaN
        floats = values.to_numpy(zero_copy_only=False)
        return write_array(update, floats.reshape(shape), column=column)
    if kinds.is_fixed_size_list(kind) and values.null_count == 0:
        inner = _plain(values.flatten(), arrow)
        if inner.null_count == 0 or kinds.is_floating(inner.type):
            return _write(update, inner, column, [*shape, kind.list_size], arrow)
    update(header(column, _type_name(kind, column, kinds), shape, nulls=values.null_count))
    if values.null_count:
        _put(update, values.is_valid().cast(arrow.uint8()), 1)
        values = values.drop_null()
    return _write_present(update, values, column, arrow)


def _stored(update: Update, values: Any, column: str, arrow: Any) -> Any:
    """The storage of an extension array, or the array if `_plain` knows it."""
    kind = values.type
    name = str(getattr(kind, "extension_name", ""))
    if name == "arrow.fixed_shape_tensor":
        return values
    if name == "arrow.bool8":
        return values.storage.cast(arrow.bool_())
    if name not in _STORED and not type(kind).__module__.startswith("datasets."):
        inner = kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else b""
        update(header(column, f"extension {name} {inner.hex()}", [len(values)]))
    return values.storage


def _write_present(update: Update, values: Any, column: str, arrow: Any) -> int:
    kinds, kind = arrow.types, values.type
    if kinds.is_large_string(kind) or kinds.is_large_binary(kind):
        return _put_texts(update, values, arrow)
    if _is_list(kind, kinds):
        if not kinds.is_fixed_size_list(kind):
            _put(update, values.value_lengths().cast(arrow.int64()), 8)
        items = values.flatten()
        return _write(update, items, f"{column}[]", [len(items)], arrow)
    if kinds.is_struct(kind):
        fields = zip(kind, values.flatten(), strict=True)
        return sum(
            _write(update, items, f"{column}.{field.name}", [len(items)], arrow)
            for field, items in fields
        )
    if kinds.is_null(kind):
        return 0
    return _put_fixed(update, values, arrow)


def _put_fixed(update: Update, values: Any, arrow: Any) -> int:
    kinds, kind = arrow.types, values.type
    if kinds.is_boolean(kind):
        return _put(update, values.cast(arrow.uint8()), 1)
    if kinds.is_decimal(kind):
        wide = values.cast(arrow.decimal256(kind.precision, kind.scale))
        return _put(update, wide, _DECIMAL_BYTES)
    if kinds.is_integer(kind):
        return _put(update, values, kind.bit_width // 8)
    if kinds.is_time(kind):
        values = values.cast(arrow.time64("ns"))
    elif kinds.is_date32(kind):
        values = values.cast(arrow.int32())
    return _put(update, values.cast(arrow.int64()), 8)


def _plain(values: Any, arrow: Any) -> Any:
    kinds = arrow.types
    if isinstance(values, arrow.FixedShapeTensorArray):
        _require_row_order(values.type)
        shape = values.type.shape
        values = values.storage
        for size in reversed(shape[1:]):
            values = _split_items(values, size, arrow)
    if kinds.is_dictionary(values.type):
        words = _plain(values.dictionary, arrow)  # views do not decode
        values = arrow.DictionaryArray.from_arrays(values.indices, words).dictionary_decode()
    if kinds.is_run_end_encoded(values.type):
        values = require("pyarrow.compute").run_end_decode(values)
    wanted = _laid_out(values.type, arrow)
    return values if wanted == values.type else values.cast(wanted)


def _laid_out(kind: Any, arrow: Any) -> Any:
    """The equivalent type with one layout for text and lists, at any depth."""
    kinds = arrow.types
    if kinds.is_string(kind) or kinds.is_string_view(kind):
        return arrow.large_string()
    if kinds.is_binary(kind) or kinds.is_binary_view(kind) or kinds.is_fixed_size_binary(kind):
        return arrow.large_binary()
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return arrow.large_list(_laid_out(kind.value_type, arrow))
    if kinds.is_fixed_size_list(kind):
        return arrow.list_(_laid_out(kind.value_type, arrow), kind.list_size)
    if kinds.is_map(kind):
        pair = [
            ("key", _laid_out(kind.key_type, arrow)),
            ("value", _laid_out(kind.item_type, arrow)),
        ]
        return arrow.large_list(arrow.struct(pair))
    if kinds.is_struct(kind):
        return arrow.struct([(field.name, _laid_out(field.type, arrow)) for field in kind])
    return kind


def _is_list(kind: Any, kinds: Any) -> bool:
    return any(
        test(kind)
        for test in (
            kinds.is_list,
            kinds.is_large_list,
            kinds.is_list_view,
            kinds.is_large_list_view,
            kinds.is_fixed_size_list,
        )
    )


def _split_items(values: Any, size: int, arrow: Any) -> Any:
    kind = values.type
    inner = arrow.FixedSizeListArray.from_arrays(values.flatten(), size)
    return arrow.FixedSizeListArray.from_arrays(inner, kind.list_size // size)


def _require_row_order(kind: Any) -> None:
    permutation = kind.permutation
    if permutation is not None and list(permutation) != sorted(permutation):
        raise UsageError(f"cannot hash {kind}: expected tensors in row order")


def _type_name(kind: Any, column: str, kinds: Any) -> str:
    if str(kind) in _NUMBERS:
        return _NUMBERS[str(kind)]
    if kinds.is_timestamp(kind):
        return f"<M8[{kind.unit}]{'' if kind.tz is None else f' {kind.tz}'}"
    if kinds.is_decimal(kind):
        return f"decimal({kind.scale})"
    if kinds.is_duration(kind):
        return f"<m8[{kind.unit}]"
    if kinds.is_fixed_size_list(kind):
        return f"list[{kind.list_size}]"
    if _is_list(kind, kinds):
        return "list"
    if kinds.is_struct(kind):
        return f"struct[{kind.num_fields}]"
    simple = {
        kinds.is_boolean: "|b1",
        kinds.is_date32: "<M8[D]",
        kinds.is_date64: "date[ms]",
        kinds.is_time: "time",
        kinds.is_large_string: "string",
        kinds.is_large_binary: "binary",
        kinds.is_null: "null",
    }
    for test, name in simple.items():
        if test(kind):
            return name
    raise _unsupported(column, kind)


def _put(update: Update, values: Any, width: int) -> int:
    buffer = values.buffers()[1]
    if buffer is None or not len(values):
        return 0
    start = values.offset * width
    update(memoryview(buffer)[start : start + len(values) * width])
    return len(values) * width


def _put_texts(update: Update, values: Any, arrow: Any) -> int:
    compute = require("pyarrow.compute")
    _put(update, compute.binary_length(values).cast(arrow.int64()), 8)
    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return 0
    ends = memoryview(offsets).cast("B").cast("q")
    first, last = ends[values.offset], ends[values.offset + len(values)]
    update(memoryview(data)[first:last])
    return int(last - first)
