"""Format detection by content: magic bytes, zip entries, protobuf fields, pickle opcodes.

A Source comes in, a Format goes out. A name does not override content; it can only contradict it.
"""

from __future__ import annotations

from typing import Final

from mlsecops.errors import ContentRefused, FormatRefused
from mlsecops.loading.containers.compression import compression, peek
from mlsecops.loading.containers.protobuf import BYTES, VARINT, ProtobufReader
from mlsecops.loading.containers.zip_archive import open_zip
from mlsecops.loading.kinds import CODE, Format
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.headerless import SEARCHED, runs_as_pickle
from mlsecops.loading.pickle_vm.walker import NEWEST_PROTOCOL
from mlsecops.loading.signatures import message_formats, signature
from mlsecops.loading.snapshot import Source

__all__ = [
    "CLAIMS", "CODE", "COMPANION_NAMES", "COMPANION_SUFFIXES", "TORCH_LEGACY_MAGIC", "Format",
    "detect", "is_companion", "require_agreement",
]  # fmt: skip

TORCH_LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC: Final = (
    (TORCH_LEGACY_MAGIC, Format.TORCH_LEGACY),
    (b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (b"\x93NUMPY", Format.NPY),
    (b"GGUF", Format.GGUF),
)
_TFLITE_AT, _TAR_AT, _TAR = 4, 257, b"ustar"
_TABLE_END: Final = bytes.fromhex("57fb808b247547db")
"""Last bytes of a TensorFlow checkpoint's table (LevelDB `table_format.md`, footer)."""
_TORCH_ANY: Final = frozenset(
    {Format.TORCH, Format.TORCH_LEGACY, Format.TORCHSCRIPT, Format.PICKLE, Format.PT2}
)
_PICKLES: Final = frozenset(
    {
        Format.PICKLE, Format.DISTRIBUTED_METADATA, Format.TORCH, Format.TORCH_LEGACY,
        Format.JOBLIB,
    }
)  # fmt: skip
_COMPRESSED: Final = frozenset({Format.COMPRESSED, Format.JOBLIB})
_OWN_EXTENSION: Final = (
    Format.SAFETENSORS, Format.PT2, Format.KERAS, Format.HDF5, Format.NPY, Format.NPZ, Format.GGUF,
    Format.ONNX, Format.TFLITE, Format.SKOPS, Format.TAR,
)  # fmt: skip
CLAIMS: Final[dict[str, frozenset[Format]]] = {
    **{f".{each}": frozenset({each}) for each in _OWN_EXTENSION},
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _TORCH_ANY),
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz"), _COMPRESSED),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLES),
    ".h5": frozenset({Format.HDF5}),
    ".tar": frozenset({Format.TAR}) | _TORCH_ANY,  # what tutorials of torch call checkpoints
    ".pb": frozenset(
        {Format.SAVED_MODEL, Format.ONNX, Format.TENSORFLOW_GRAPH, Format.COMPANION, Format.UNKNOWN}
    ),
}
"""Extension → formats that it allows; other extensions allow any. Tools of all kinds call their
weights `.bin`."""
_TEXTS: Final = frozenset(
    {Format.COMPANION, Format.XGBOOST, Format.LIGHTGBM, Format.MXNET, Format.PARQUET,
     Format.PROGRAM}
)  # fmt: skip
"""Formats that a companion's name allows: texts, `_metadata` of Parquet, and programs, which their
scanner refuses."""

_ORBAX_ARRAYS: Final = "array_metadatas"
"""Folder of a checkpoint of Orbax, whose files are JSON."""
COMPANION_SUFFIXES: Final = frozenset(
    {
        ".json", ".jsonl", ".jinja", ".lock", ".md", ".metadata", ".rst", ".sig", ".toml", ".txt",
        ".yaml", ".yml",
    }
)  # fmt: skip
COMPANION_NAMES: Final = frozenset(
    {
        "authors", "cachedir.tag", "changelog", "copying",
        "license", "licence", "mlmodel", "notice", "readme",
        "use_policy",
        "_checkpoint_metadata", "_metadata", "_sharding",
        "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", ".gitattributes",
        ".gitignore",
    }
)  # fmt: skip
_MESSAGE_FIELDS: Final = 100_000  # fields; chosen: a message with more is of unknown format
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
"""Format, the (number, wire type) that its outermost fields may have, and those it must have."""


def detect(source: Source) -> Format:
    """Format of a file's content, or UNKNOWN."""
    head, suffix = source.head(64), _suffix(source.name)
    for detector in (_by_magic, _headerless, _by_signature, _compressed, _message, _by_name):
        if found := detector(source, head, suffix):
            return found
    table = suffix == ".index" and source.tail(len(_TABLE_END)) == _TABLE_END
    return Format.TENSOR_INDEX if table else Format.UNKNOWN


def _by_magic(source: Source, head: bytes, suffix: str) -> Format | None:
    if suffix == ".distcp" and head.startswith(b"PK\x03\x04"):
        return Format.DISTRIBUTED
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(source)
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head[_TFLITE_AT:].startswith(b"TFL3"):
        return Format.TFLITE
    if _is_safetensors(head, source.size):
        return Format.SAFETENSORS
    if not _is_pickle(head):
        return None
    distributed = b"torch.distributed.checkpoint.metadata" in source.head(256)
    return Format.DISTRIBUTED_METADATA if distributed else Format.PICKLE


def _headerless(source: Source, _: bytes, __: str) -> Format | None:
    if is_companion(source.name):
        return None  # its scanner looks for pickles itself
    return Format.PICKLE if runs_as_pickle(source.head(SEARCHED)) else None


def _by_signature(source: Source, _: bytes, suffix: str) -> Format | None:
    return signature(source.head(), suffix)


def _compressed(source: Source, head: bytes, suffix: str) -> Format | None:
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
        return Format.PICKLE  # protocols 0 and 1 have no magic: the scanner decides
    return Format.COMPANION if is_companion(source.name) else None


def is_companion(name: str) -> bool:
    """Whether a name is that of a model's inert companion (documentation, settings, tokens).

    Examples:
        >>> is_companion("README.md"), is_companion("model.pt")
        (True, False)
    """
    folder, _, own = name.lower().rpartition("/")
    named = _suffix(own) in COMPANION_SUFFIXES or own in COMPANION_NAMES
    return named or folder.rpartition("/")[2] == _ORBAX_ARRAYS


def _suffix(name: str) -> str:
    """Extension of a name in lower case, as `PurePosixPath.suffix` has it, in less time."""
    stem, dot, end = name.rpartition("/")[2].lower().rpartition(".")
    return f".{end}" if dot and stem and end else ""


def require_agreement(source: Source, found: Format) -> None:
    """Demand that a name does not contradict the content.

    Raises:
        FormatRefused: The extension belongs to another format.
    """
    suffix = _suffix(source.name)
    claimed = None if found is Format.PROGRAM else CLAIMS.get(suffix)
    if claimed is None and is_companion(source.name):
        claimed = _TEXTS
    if claimed is not None and found not in claimed:
        raise FormatRefused(
            f"{source.name}: expected {' or '.join(sorted(claimed))} for this extension, got "
            f"{found}; rename the file, or get the right one"
        )


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and len(head) > 1 and head[1] <= NEWEST_PROTOCOL


def _message(source: Source, head: bytes, suffix: str) -> Format | None:
    """Format of a protocol buffer, which has no magic, by its outermost fields."""
    known = (*_MESSAGES, *message_formats(suffix))
    if not head.startswith(b"\x08") and len(known) == len(_MESSAGES) and suffix != ".onnx":
        return None
    with source.stream() as stream:
        limits = Limits(opcodes=_MESSAGE_FIELDS)
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        try:
            found = {(field.number, field.kind) for field in reader.fields(reader.whole)}
        except ContentRefused:
            return None
    return next((name for name, most, least in known if least <= found <= most), None)


def _zip_format(source: Source) -> Format:
    with source.stream() as stream, open_zip(source, stream) as archive:
        names = archive.namelist()
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
