"""Which format a file has by its first bytes, and whether its name agrees.

A Source comes in, a Format goes out; names never decide, they can only disagree.
"""

from __future__ import annotations

import enum
import pickletools
import re
import zipfile
from pathlib import PurePosixPath
from typing import Final

from mlsecops.errors import ContentRefused, FormatRefused
from mlsecops.loading.containers.compression import compression, peek
from mlsecops.loading.containers.protobuf import BYTES, VARINT, ProtobufReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source


class Format(enum.StrEnum):
    """Formats that are told apart; not each can be scanned, and fewer can be loaded."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    TORCH_LEGACY = "torch-legacy"
    TORCHSCRIPT = "torchscript"
    PT2 = "pt2"
    PICKLE = "pickle"
    KERAS = "keras"
    HDF5 = "hdf5"
    NPY = "npy"
    NPZ = "npz"
    GGUF = "gguf"
    ONNX = "onnx"
    SAVED_MODEL = "savedmodel"
    TENSOR_INDEX = "tensor-index"
    TENSOR_DATA = "tensor-data"
    TFLITE = "tflite"
    SKOPS = "skops"
    JOBLIB = "joblib"
    ZIP = "zip"
    TAR = "tar"
    COMPRESSED = "compressed"
    COMPANION = "companion"
    UNKNOWN = "unknown"


CODE: Final = frozenset({Format.TORCHSCRIPT, Format.PT2})
"""Formats that carry code: they are loaded when signed, and allowed by name."""
TORCH_LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC: Final = (
    (TORCH_LEGACY_MAGIC, Format.TORCH_LEGACY),
    (b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (b"\x93NUMPY", Format.NPY),
    (b"GGUF", Format.GGUF),
)
_TFLITE_AT, _TAR_AT, _TAR = 4, 257, b"ustar"
_TABLE_END: Final = bytes.fromhex("57fb808b247547db")
"""How the table of a TensorFlow checkpoint ends."""
_TORCH_ANY: Final = frozenset(
    {Format.TORCH, Format.TORCH_LEGACY, Format.TORCHSCRIPT, Format.PICKLE, Format.PT2}
)
_PICKLES: Final = frozenset({Format.PICKLE, Format.TORCH_LEGACY, Format.JOBLIB})
_PACKED: Final = frozenset({Format.COMPRESSED, Format.JOBLIB})
CLAIMS: Final[dict[str, frozenset[Format]]] = {
    ".safetensors": frozenset({Format.SAFETENSORS}),
    ".pt": _TORCH_ANY,
    ".pth": _TORCH_ANY,
    ".ckpt": _TORCH_ANY,
    ".bin": _TORCH_ANY,
    ".pt2": frozenset({Format.PT2}),
    ".keras": frozenset({Format.KERAS}),
    ".h5": frozenset({Format.HDF5}),
    ".hdf5": frozenset({Format.HDF5}),
    ".npy": frozenset({Format.NPY}),
    ".npz": frozenset({Format.NPZ}),
    ".gguf": frozenset({Format.GGUF}),
    ".onnx": frozenset({Format.ONNX}),
    ".pb": frozenset({Format.SAVED_MODEL, Format.ONNX, Format.COMPANION, Format.UNKNOWN}),
    ".tflite": frozenset({Format.TFLITE}),
    ".skops": frozenset({Format.SKOPS}),
    ".tar": frozenset({Format.TAR}),
    ".tgz": _PACKED,
    ".gz": _PACKED,
    ".bz2": _PACKED,
    ".xz": _PACKED,
    ".pkl": _PICKLES,
    ".pickle": _PICKLES,
    ".joblib": _PICKLES,
}
"""Formats that an extension may stand for; an extension not listed claims nothing."""

COMPANION_SUFFIXES: Final = frozenset(
    {".json", ".jsonl", ".jinja", ".md", ".rst", ".sig", ".toml", ".txt", ".yaml", ".yml"}
)
COMPANION_NAMES: Final = frozenset(
    {
        "authors", "changelog", "copying", "license", "licence", "notice", "readme", "use_policy",
        "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", ".gitattributes",
        ".gitignore",
    }
)  # fmt: skip
_SAFETENSORS_PREFIX: Final = 9
_SEARCHED: Final = 1 << 16
_DOTTED: Final = re.compile(r"[^\W\d][\w.]* [^\W\d][\w.]*")
_MESSAGES: Final = (
    (Format.SAVED_MODEL, {(1, VARINT), (2, BYTES)}, {(2, BYTES)}),
    (
        Format.ONNX,
        {(1, VARINT), (5, VARINT), *((n, BYTES) for n in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26))},
        {(7, BYTES)},
    ),
    (
        Format.COMPANION,  # a SavedModel's fingerprint
        {*((n, VARINT) for n in range(1, 6)), (6, BYTES), (7, BYTES)},
        {(1, VARINT), (2, VARINT)},
    ),
)
"""Format, the fields that its outermost message may have, and those it must have."""


def detect(source: Source) -> Format:
    """Format of a file's content; UNKNOWN when nothing fits."""
    head, suffix = source.head(64), PurePosixPath(source.name).suffix.lower()
    for told in (_by_magic, _packed, _message, _by_name):
        found = told(source, head, suffix)
        if found is not None:
            return found
    if _imports(source.head(_SEARCHED)):
        return Format.PICKLE
    table = suffix == ".index" and source.tail(len(_TABLE_END)) == _TABLE_END
    return Format.TENSOR_INDEX if table else Format.UNKNOWN


def _by_magic(source: Source, head: bytes, _: str) -> Format | None:
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(source)
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head[_TFLITE_AT:].startswith(b"TFL3"):
        return Format.TFLITE
    if _is_safetensors(head, source.size):
        return Format.SAFETENSORS
    return Format.PICKLE if _is_pickle(head) else None


def _packed(source: Source, head: bytes, suffix: str) -> Format | None:
    if kind := compression(head):
        plain = peek(source, kind)
        if CLAIMS.get(suffix) == _PICKLES or _is_pickle(plain):
            return Format.JOBLIB
        if plain:
            return Format.COMPRESSED
    tar = source.head(_TAR_AT + len(_TAR)).endswith(_TAR)
    return Format.TAR if tar and source.size > _TAR_AT else None


def _by_name(source: Source, _: bytes, suffix: str) -> Format | None:
    if CLAIMS.get(suffix) == _PICKLES:
        return Format.PICKLE  # protocols 0 and 1 have no magic: the walk decides
    return Format.COMPANION if is_companion(source.name) else None


def is_companion(name: str) -> bool:
    """Whether a name is that of an inert companion of a model (documentation, settings, tokens)."""
    path = PurePosixPath(name.lower())
    return path.suffix in COMPANION_SUFFIXES or path.name in COMPANION_NAMES


def require_agreement(source: Source, found: Format) -> None:
    """Demand that a name claims nothing that the content is not.

    Raises:
        FormatRefused: The extension stands for another format.
    """
    suffix = PurePosixPath(source.name).suffix.lower()
    claimed = CLAIMS.get(suffix)
    if claimed is None and is_companion(source.name):
        claimed = frozenset({Format.COMPANION})
    if claimed is not None and found not in claimed:
        raise FormatRefused(
            f"{source.name}: the extension stands for {' or '.join(sorted(claimed))}, the content "
            f"is {found}; rename the file to what it is, or get the right one"
        )


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < _SAFETENSORS_PREFIX or head[8:9] != b"{":
        return False
    return 0 < int.from_bytes(head[:8], "little") <= size - 8


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in {b"\0", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"}


def _imports(data: bytes) -> bool:
    """Whether bytes without a name or magic read as opcodes up to one that imports."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in {"GLOBAL", "INST"}:
                return _DOTTED.fullmatch(str(argument)) is not None
    except (ValueError, IndexError, OverflowError):
        pass
    return False


def _message(source: Source, head: bytes, suffix: str) -> Format | None:
    """Formats that are protocol buffers, which have no magic: their outermost fields decide."""
    if not head.startswith(b"\x08") and suffix not in {".onnx", ".pb"}:
        return None
    with source.stream() as stream:
        reader = ProtobufReader(
            stream, source.size, where=source.name, limits=Limits(opcodes=100_000)
        )
        try:
            found = {(field.number, field.kind) for field in reader.fields(reader.whole)}
        except ContentRefused:
            return None
    return next((name for name, most, least in _MESSAGES if least <= found <= most), None)


def _zip_format(source: Source) -> Format:
    try:
        with source.stream() as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise FormatRefused(f"{source.name}: not a readable zip archive: {error}") from error
    leaves = {name.partition("/")[2].lower() for name in names}
    if "constants.pkl" in leaves or any(leaf.startswith("code/") for leaf in leaves):
        return Format.TORCHSCRIPT
    if "archive_format" in leaves or any(leaf.startswith("models/") for leaf in leaves):
        return Format.PT2
    if "data.pkl" in leaves:
        return Format.TORCH
    if "schema.json" in names:
        return Format.SKOPS
    if "config.json" in names and "metadata.json" in names:
        return Format.KERAS
    return Format.NPZ if names and all(name.endswith(".npy") for name in names) else Format.ZIP
