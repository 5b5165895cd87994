"""Attacks by shapes: files whose dimensions are many, or long, and multiply to huge numbers."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from tests.attackers.loading import imported, rebuilt_dtype, safetensors_bytes


def varint(number: int) -> bytes:
    """A protobuf number."""
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def message(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


@cache
def files_with_endless_shapes() -> dict[str, bytes]:
    """A file for each format whose reader multiplies dimensions."""
    entry: dict[str, Any] = {"dtype": "U8", "shape": [9] * 600_000, "data_offsets": [0, 0]}
    long = {**entry, "shape": [int("9" * 4000)] * 200}
    tensor = message(1, varint(9) * 600_000) + b"\x10\x01" + message(8, b"w") + message(9, b"1234")
    dimension = b"J" + struct.pack("<i", 2_000_000_000)
    subarray = (
        rebuilt_dtype("V1") + b"(K\x03X\x01\x00\x00\x00|(" + rebuilt_dtype("u1")
        + b"(" + dimension * 200_000 + b"ttNNK\x01K\x01K\x00tb."
    )  # fmt: skip
    return {
        "many.safetensors": safetensors_bytes({"a": entry}, b""),
        "long.safetensors": safetensors_bytes({"a": long}, b""),
        "many.npy": npy_bytes((9,) * 3_000),
        "many.onnx": b"\x08\x0a" + message(7, message(5, tensor)),
        "many.gguf": gguf_bytes(600_000),
        "many.pkl": b"\x80\x02" + subarray,
        "long.pkl": b"\x80\x02" + long_subarrays(),
    }


def npy_bytes(shape: tuple[int, ...]) -> bytes:
    """An array of bytes that says any shape."""
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def gguf_bytes(dimensions: int) -> bytes:
    """A GGUF file of one tensor with many dimensions."""
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"w"
    body += struct.pack("<I", dimensions) + struct.pack("<Q", 9) * min(dimensions, 100_000)
    return body + struct.pack("<IQ", 0, 0)


def long_subarrays() -> bytes:
    """Many dtypes that share one shape of two numbers of 100 kB each."""
    number = b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000
    shape = (
        number + number + b"\x86q\x00" + rebuilt_dtype("u1") + b"q\x01" + imported("numpy.dtype")
    )
    made = b"h\x02X\x02\x00\x00\x00V1\x89\x88\x87R(K\x03X\x01\x00\x00\x00|h\x01h\x00\x86"
    return b"(" + shape + b"q\x02" + (made + b"NNK\x01K\x01K\x00tb") * 5_000 + b"l."
