"""Signatures of formats: first bytes, XML's root element, JSON's first keys, fields of messages.

Everything here is decided by content; a suffix only chooses among messages without a signature.

Source: Netron `source/*.js` as an index to the formats; each format's own specification, as its
scanner names it.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from mlsecops.loading.containers.protobuf import BYTES, VARINT
from mlsecops.loading.kinds import Format

_AT_START: Final = (
    (b"CBM1", Format.CATBOOST),
    ((793712314).to_bytes(4, "little"), Format.FASTTEXT),
    (b"tree\nversion=v", Format.LIGHTGBM),
    *((magic, Format.GGML) for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg")),
    *((head, Format.RDS) for head in (b"X\n\0\0\0", b"RDX2\nX\n", b"RDX3\nX\n")),
    (b"{L\0\0\0\0\0\0\0\x07learner", Format.XGBOOST_UBJ),
    (struct.pack("<Q", 0x112), Format.MXNET_WEIGHTS),
    (b"ptrt", Format.TENSORRT),
    (b"ftrt", Format.TENSORRT),
    (b"RKNN", Format.RKNN),
    (b"7767517\n", Format.NCNN),
    (b"MATLAB 5.0 MAT-file", Format.MATLAB),
    *((b"\x0c\xdb" + kind, Format.OCDBT) for kind in (b"\x3a\x2a", b"\x20\xde", b"\x12\x34")),
    (b"7z\xbc\xaf\x27\x1c", Format.SEVEN_ZIP),
    (b"Rar!\x1a\x07", Format.RAR),
    (b"\x28\xb5\x2f\xfd", Format.ZSTANDARD),
    (b"PAR1", Format.PARQUET),
    (b"ARROW1\0\0", Format.ARROW),
    (b"SQLite format 3\0", Format.SQLITE),
    (b"\xac\xed\x00\x05", Format.FOREIGN_CODE),
    (b"\x00\x01\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00", Format.FOREIGN_CODE),
    (b"\x1bLua", Format.FOREIGN_CODE),
    (b"\0asm", Format.FOREIGN_CODE),
    (b"BC\xc0\xde", Format.FOREIGN_CODE),
    (b"!<arch>\n", Format.FOREIGN_CODE),
)
"""First bytes → format."""
FOREIGN: Final = {
    b"\xac\xed": "an object of Java's serialization, which runs code when it is read",
    b"\x00\x01": "an object of .NET's BinaryFormatter, which runs code when it is read",
    b"\x1bL": "byte code of Lua",
    b"\0a": "a WebAssembly module",
    b"BC": "LLVM bit code",
    b"!<": "a library of compiled code",
}
"""Two first bytes of foreign code → what it is."""
PROGRAMS: Final = {
    b"\x7fELF": "an ELF program or library",
    b"MZ": "a Windows program or library",
    b"#!": "a script",
    b"\xfe\xed\xfa\xce": "a Mach-O program or library",
    b"\xfe\xed\xfa\xcf": "a Mach-O program or library",
    b"\xce\xfa\xed\xfe": "a Mach-O program or library",
    b"\xcf\xfa\xed\xfe": "a Mach-O program or library",
    b"\xca\xfe\xba\xbe": "a Mach-O or Java program",
}
"""First bytes of a program → what it is; `MZ` needs `is_windows_program`."""
_PE_OFFSET, _PE_END = 0x3C, 0x40  # bytes; PE format, section "MS-DOS Stub", `e_lfanew`
_SCRIPTS: Final = frozenset({".bash", ".pl", ".py", ".r", ".rb", ".sh", ".zsh"})
"""Suffixes of source code, which is unchecked and no program under another name."""
_LLAMAFILE: Final = re.compile(rb"MZqFpD=['\n]|jartsr=['\n]")
"""Actually Portable Executable, which is a shell script and a program of every system."""
_PYTHON_CODE: Final = re.compile(rb"(?s)[\x00-\xff][\x0b-\x0f]\r\n[\x00-\x03]\0\0\0.{8}\xe3")
_FLAT: Final = (
    (re.compile(rb"ET\d\d"), Format.EXECUTORCH),
    (re.compile(rb"ORTM"), Format.ORT),
    (re.compile(rb"PTMF"), Format.TORCH_MOBILE),
)
"""Identifier at byte 4 of a flat buffer → format."""
_XML_ROOT: Final = re.compile(rb"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)[\s/>]")
_XML_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml[\s?]|!--|!DOCTYPE|[A-Za-z_])")
_ROOTS: Final = {b"net": Format.OPENVINO, b"PMML": Format.PMML}
_XML_SUFFIXES: Final = frozenset({".xml", ".pmml"})
_XGBOOST: Final = re.compile(
    rb"\s*\{\s*\"(?:learner\"\s*:\s*\{|version\"\s*:\s*\[[\d,\s]+\]\s*,\s*\"learner\")"
)
_MXNET: Final = re.compile(rb"\s*\{\s*\"nodes\"\s*:\s*\[\s*\{\s*\"op\"\s*:")
_CTRANSLATE2: Final = re.compile(rb"(?s)[\x01-\x1f]\0\0\0[\x02-\x60]\0[A-Z]\w+\0")
_WORD2VEC: Final = re.compile(rb"\d{1,12} \d{1,6}\n")
_BLOB_SENTINEL: Final = struct.Struct("<II56xI")
_PADDLE_TENSOR: Final = re.compile(rb"(?s)\0\0\0\0[\0-\x08]\0{7}.*")
_MAPS: Final = frozenset({*range(0x81, 0x90), 0xDE, 0xDF})
"""First bytes of MessagePack that begin a map with something in it."""
_MESSAGES: Final = {
    ".pb": (
        (Format.TENSORFLOW_GRAPH, {(1, BYTES), (2, BYTES), (3, VARINT), (4, BYTES), (5, BYTES)},
         {(1, BYTES)}),
    ),
    ".meta": (
        (Format.META_GRAPH, {(number, BYTES) for number in range(1, 8)}, {(1, BYTES), (2, BYTES)}),
    ),
    ".mlmodel": (
        (Format.COREML, {(1, VARINT), (10, VARINT), *((n, BYTES) for n in (2, *range(200, 3001)))},
         {(1, VARINT), (2, BYTES)}),
    ),
    ".pdmodel": (
        (Format.PADDLE, {(1, BYTES), (2, BYTES), (3, BYTES), (4, BYTES), (5, BYTES)}, {(1, BYTES)}),
    ),
    ".caffemodel": (
        (Format.CAFFE, {*((n, BYTES) for n in (1, 2, 3, 4, 6, 8, 100)), (5, VARINT), (7, VARINT)},
         {(100, BYTES)}),
    ),
}  # fmt: skip
"""Suffix → formats with the (number, wire type) of fields that may be there, and that must be."""
_MSGPACK: Final = frozenset({".msgpack", ".bin", ".mpk", ""})
"""Suffixes under which MessagePack is looked for: a map has no signature but its first byte."""


def message_formats(
    suffix: str,
) -> tuple[tuple[Format, set[tuple[int, int]], set[tuple[int, int]]], ...]:
    """Formats that a message under a suffix may have."""
    return _MESSAGES.get(suffix, ())


def signature(head: bytes, suffix: str) -> Format | None:
    """Format of a file by its first bytes, or None.

    Args:
        head: 4,096 bytes, or as many as there are.
        suffix: Its suffix, in small letters.

    Examples:
        >>> str(signature(b"CBM1" + bytes(60), ".bin"))
        'catboost'
    """
    if program(head) is not None and not (head[:2] == b"#!" and suffix in _SCRIPTS):
        return Format.PROGRAM
    for magic, found in _AT_START:
        if head.startswith(magic):
            return found
    for pattern, found in _FLAT:
        if pattern.match(head, 4):
            return found
    return _by_structure(head, suffix)


def _by_structure(head: bytes, suffix: str) -> Format | None:
    if _CTRANSLATE2.match(head):
        return Format.CTRANSLATE2
    if _WORD2VEC.match(head) and not _is_text(head):
        return Format.WORD2VEC
    if len(head) >= _BLOB_SENTINEL.size:
        _, version, sentinel = _BLOB_SENTINEL.unpack_from(head)
        if (version, sentinel) == (2, 0xDEADBEEF):
            return Format.COREML_WEIGHTS
    if _XGBOOST.match(head):
        return Format.XGBOOST
    if _MXNET.match(head):
        return Format.MXNET
    if _XML_START.match(head) and (suffix in _XML_SUFFIXES or head.lstrip()[:5] == b"<?xml"):
        return _xml(head)
    if suffix in {".pdiparams", ".pdparams"} and _PADDLE_TENSOR.match(head):
        return Format.PADDLE_WEIGHTS
    return Format.MSGPACK if suffix in _MSGPACK and head and head[0] in _MAPS else None


def _is_text(head: bytes) -> bool:
    """Whether bytes are the start of a text in UTF-8."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and error.reason == "unexpected end of data"
    return b"\0" not in head


def _xml(head: bytes) -> Format:
    root = _XML_ROOT.search(re.sub(rb"<!--.*?-->", b"", head, flags=re.DOTALL))
    return _ROOTS.get(root[1], Format.XML) if root else Format.XML


def program(head: bytes) -> str | None:
    """What kind of program a file is by its first bytes, or None."""
    if _LLAMAFILE.match(head):
        return "an Actually Portable Executable (a llamafile)"
    if _PYTHON_CODE.match(head):
        return "byte code of Python"
    for magic, kind in PROGRAMS.items():
        if head.startswith(magic) and (magic != b"MZ" or is_windows_program(head)):
            return kind
    return None


def is_windows_program(data: bytes) -> bool:
    """Whether the header that `MZ` points to is there."""
    at = int.from_bytes(data[_PE_OFFSET:_PE_END], "little")
    return data[at : at + 4] == b"PE\0\0"
