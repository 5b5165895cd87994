"""Which format a file has by its first bytes, and whether its name agrees.

A Source comes in, a Format goes out; names never decide, they can only disagree.
"""

from __future__ import annotations

import enum
import zipfile
from pathlib import PurePosixPath
from typing import Final

from mlsecops.errors import FormatRefused
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
    ZIP = "zip"
    COMPANION = "companion"
    UNKNOWN = "unknown"


TORCH_LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC: Final = (
    (TORCH_LEGACY_MAGIC, Format.TORCH_LEGACY),
    (b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (b"\x93NUMPY", Format.NPY),
    (b"GGUF", Format.GGUF),
)
_TORCH_ANY: Final = frozenset(
    {Format.TORCH, Format.TORCH_LEGACY, Format.TORCHSCRIPT, Format.PICKLE, Format.PT2}
)
_PICKLES: Final = frozenset({Format.PICKLE, Format.TORCH_LEGACY})
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


def detect(source: Source) -> Format:
    """Format of a file's content; UNKNOWN when nothing fits."""
    head = source.head(64)
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(source)
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if _is_safetensors(head, source.size):
        return Format.SAFETENSORS
    if head[:1] == b"\x80" and head[1:2] in {b"\0", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"}:
        return Format.PICKLE
    suffix = PurePosixPath(source.name).suffix.lower()
    if CLAIMS.get(suffix) == _PICKLES:
        return Format.PICKLE  # protocols 0 and 1 have no magic: the walk decides
    return Format.COMPANION if is_companion(source.name) else Format.UNKNOWN


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
    if "config.json" in names and "metadata.json" in names:
        return Format.KERAS
    return Format.NPZ if names and all(name.endswith(".npy") for name in names) else Format.ZIP
