"""Numbers that numpy has no type for, as their bits: bfloat16, 8-bit floats, 4-bit integers.

array of ml_dtypes, tensor of torch → BitArray: unsigned integers and the type's name

A NaN has one pattern of bits for each type, whatever its sign and payload.

Source: OCP 8-bit Floating Point Specification 1.0; README of ml_dtypes 0.6.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Numbers: TypeAlias = Any
"""An array of numpy, which is not imported here."""

_NAN: Final = {
    "bfloat16": 0x7FC0,
    "float8_e3m4": 0x78,
    "float8_e4m3": 0x7C,
    "float8_e4m3b11fnuz": 0x80,
    "float8_e4m3fn": 0x7F,
    "float8_e4m3fnuz": 0x80,
    "float8_e5m2": 0x7E,
    "float8_e5m2fnuz": 0x80,
    "float8_e8m0fnu": 0xFF,
}
"""Type → bits of its canonical NaN."""


@dataclass(frozen=True, slots=True)
class BitArray:
    """Numbers as unsigned integers of the same bits, of shape `(rows, …)`.

    Attributes:
        kind: Name of the type, as ml_dtypes has it.
        bits: The bits.
    """

    kind: str
    bits: Numbers

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, at: Any) -> BitArray:
        return BitArray(self.kind, self.bits[at])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        dimensions: int = self.bits.ndim
        return dimensions

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        shape: tuple[int, ...] = self.bits.shape
        return shape

    @property
    def dtype(self) -> Any:
        """Type of the bits."""
        return self.bits.dtype


def bits_of(array: Numbers) -> BitArray | None:
    """The bits of an array of ml_dtypes; None for another."""
    dtype = array.dtype
    if dtype.type.__module__.partition(".")[0] != "ml_dtypes":
        return None
    numpy = sys.modules["numpy"]
    bits = numpy.ascontiguousarray(array).view(f"u{dtype.itemsize}").reshape(array.shape)
    try:
        missing = numpy.isnan(array)
    except TypeError:  # integers
        return BitArray(dtype.name, bits)
    return _canonical(dtype.name, bits, missing)


def tensor_bits(tensor: Any, torch: Any) -> BitArray | None:
    """The bits of a torch tensor on the processor that numpy has no type for; None if unknown."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype == torch.complex32:
        halves = torch.view_as_real(tensor.resolve_conj()).contiguous()
        missing = halves.isnan().numpy()
        bits = halves.numpy().view("u2").copy()
        bits[missing] = 0x7E00  # the quiet NaN of IEEE 754 binary16
        return BitArray(kind, bits)
    widths = {1: torch.uint8, 2: torch.uint16}
    if tensor.is_quantized or tensor.itemsize not in widths:
        return None
    bits = tensor.contiguous().view(widths[tensor.itemsize]).numpy()
    if kind not in _NAN:
        return BitArray(kind, bits)
    return _canonical(kind, bits, tensor.float().isnan().numpy())


def _canonical(kind: str, bits: Numbers, missing: Numbers) -> BitArray:
    if missing.any():
        bits = bits.copy()
        bits[missing] = _NAN[kind]
    return BitArray(kind, bits)
