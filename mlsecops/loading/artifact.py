"""Artifact layout: the files that a load reads, and the companions that are only hashed.

path → names of files, none opened yet → ArtifactLayout → snapshot → Manifest of what is there

A load reads one model: a file, shards with their index, a SavedModel, or an ONNX file with
external data. The signature covers companions (documentation, settings, other models) like it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, UnsafeContent, UsageError
from mlsecops.loading.detection import is_companion
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Snapshot, Source
from mlsecops.loading.verdict import ExternalData
from mlsecops.provenance import Entry, Manifest
from mlsecops.provenance.files.opening import followed
from mlsecops.provenance.files.pieces import Found
from mlsecops.provenance.files.tree import list_tree

Kind: TypeAlias = Literal["file", "shards", "savedmodel", "onnx", "distributed"]
INDEX: Final = ".index.json"
DISTRIBUTED: Final = ".metadata"
SAVED_MODEL: Final = "saved_model.pb"
_SAVED: Final = ("variables/", "assets/", "assets.extra/")
_PARTS: Final = ("model_index.json", "modules.json")
"""Files that list a model's parts: of diffusers, of Sentence Transformers."""
_SAVED_FILES: Final = frozenset({SAVED_MODEL, "fingerprint.pb", "keras_metadata.pb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLayout:
    """The files of an artifact.

    Attributes:
        main: Name of the model file, or of the index of its shards; empty where a folder of
            several parts is held.
        kind: Kind of files that the model consists of.
        read: Name → file that is read.
        companions: Name → file that the signature covers and a load does not read.
        hidden: Names that the signature does not cover.
        single: Whether the artifact is one file.
        chosen: Whether the caller named the main file, so that other models may lie next to it.
    """

    main: str
    kind: Kind
    read: Mapping[str, Found]
    companions: Mapping[str, Found]
    hidden: tuple[str, ...] = ()
    single: bool = False
    chosen: bool = False

    @property
    def in_parts(self) -> bool:
        """Whether the main file, which is read first, names the other files of the model."""
        return self.kind in {"shards", "onnx", "distributed"} and bool(self.companions)

    def with_parts(self, names: Iterable[str]) -> ArtifactLayout:
        """The layout with further files read that were companions."""
        parts = frozenset(names) & self.companions.keys()
        return dataclasses.replace(
            self,
            read={**self.read, **{name: self.companions[name] for name in sorted(parts)}},
            companions={n: each for n, each in self.companions.items() if n not in parts},
        )

    def manifest(self, held: Snapshot, *, algorithm: str) -> Manifest:
        """Manifest of the files as they were hashed.

        Args:
            held: Snapshot of the files read, with the digests of the companions.
            algorithm: Digest algorithm of the snapshot.
        """
        sizes = {name: source.size for name, source in held.sources.items()}
        sizes |= {name: found.size for name, found in self.companions.items()}
        entries = tuple(Entry(name, held.digests[name], sizes[name]) for name in sorted(sizes))
        return Manifest(name=self.main, algorithm=algorithm, entries=entries, single=self.single)


def layout(
    path: str | os.PathLike[str],
    *,
    ignore: tuple[str, ...],
    file: str | None = None,
    whole: bool = False,
) -> ArtifactLayout:
    """Layout of the artifact at a path.

    Args:
        path: A file or folder.
        ignore: Relative paths that the signature leaves out.
        file: Which file of a folder is the model (or the index of its shards), where there are
            several.
        whole: Whether every file is read, and a folder may hold several models or none.

    Raises:
        FormatRefused: The folder holds no model, or several and no file is named.
        UsageError: The named file is not there, or the path is no folder.
    """
    real = Path(followed(path))
    shown = os.fspath(path)
    if not real.is_dir():
        if file is not None:
            raise UsageError(f"{shown} is no folder: file={file!r} names a file in one")
        name = Path(path).name
        found = Found(str(real), _size(real, shown))
        return ArtifactLayout(
            main=name, kind="file", read={name: found}, companions={}, single=True
        )
    tree = list_tree(real, ignore=ignore)
    files = tuple(tree.files)
    main, kind, names = (_model_or_parts if whole else _model)(files, shown, file)
    read = frozenset(files if whole else (main, *names))
    return ArtifactLayout(
        main=main,
        kind=kind,
        read={name: found for name, found in tree.files.items() if name in read},
        companions={name: found for name, found in tree.files.items() if name not in read},
        hidden=tree.ignored,
        chosen=file is not None,
    )


def _size(real: Path, shown: str) -> int:
    try:
        return real.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror}") from error


def shards(index: Source, names: Collection[str], *, limits: Limits) -> dict[str, str]:
    """Tensor → shard, from an index.

    Args:
        index: The index, already verified.
        names: Files that are there, relative to the artifact.
        limits: Ceilings of the index and of the number of tensors.

    Raises:
        FormatRefused: It is malformed, or names files that are not there.
        LimitExceeded: It is too long.
    """
    found = shards_named(index, limits=limits)
    if missing := sorted(set(found.values()).difference(names)):
        raise FormatRefused(
            f"{index.name}: expected the shards that it names, got no {', '.join(missing[:5])}; "
            "get the model whole"
        )
    return found


def shards_named(index: Source, *, limits: Limits) -> dict[str, str]:
    """Tensor → shard as an index says, whether it is there or not.

    Args:
        index: The index.
        limits: Ceilings of the index and of the number of tensors.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It is too long.
    """
    limits.require("header_bytes", index.size, where=index.name)
    with index.stream() as stream:
        text = stream.read()
    value = parse_object(text, what=index.name, error=FormatRefused)
    try:
        mapping = value["weight_map"]
        folder = PurePosixPath(index.name).parent
        found = {str(tensor): str(folder / shard) for tensor, shard in mapping.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatRefused(f"{index.name}: no weight_map of tensors to files: {error}") from error
    limits.require("tensors", len(found), where=index.name)
    return found


def require_external(
    model: Source, wanted: Iterable[ExternalData], held: Mapping[str, Source]
) -> None:
    """Demand that a model's external data is held.

    Args:
        model: The model file.
        wanted: External data that its scan found, relative to its folder.
        held: Name → further files of the artifact that are held.

    Raises:
        UnsafeContent: It reads another file, or past the end of one.
    """
    for name, end in external_ends(model.name, wanted).items():
        if name not in held or held[name].size < end:
            raise UnsafeContent(
                f"{model.name}: reads {end} bytes of {name!r}: expected a file of the model that "
                "has them; sign the folder that holds the model whole",
                rule="outside-reference",
                where=name,
            )


def external_ends(model: str, wanted: Iterable[ExternalData]) -> dict[str, int]:
    """Name in the artifact → bytes that it must have at least, of a model file's external data."""
    folder = PurePosixPath(model).parent
    ends: dict[str, int] = {}
    for each in wanted:
        name = str(folder / each.name)
        ends[name] = max(each.end, ends.get(name, 0))
    return ends


def scanned_parts(model: str, wanted: Iterable[ExternalData]) -> list[str]:
    """Names in the artifact of external data that is more than numbers."""
    return sorted(external_ends(model, (each for each in wanted if each.scanned)))


def require_alone(files: ArtifactLayout) -> None:
    """Demand that a folder holds no second model, unless the caller named the one to load.

    Raises:
        FormatRefused: It does.
    """
    stray = [name for name in files.companions if not is_companion(name)]
    if stray and not files.chosen:
        raise FormatRefused(
            f"{files.main}: expected one model, got {', '.join(stray[:5])} next to it; name the "
            "model to load with file=… (--file), or keep other files elsewhere"
        )


def _model_or_parts(
    files: tuple[str, ...], shown: str, file: str | None
) -> tuple[str, Kind, tuple[str, ...]]:
    """Main file as for a load; the file that lists the parts where there are several, or none."""
    try:
        return _model(files, shown, file)
    except FormatRefused:
        listing = next((name for name in _PARTS if name in files), "")
        return listing, "file", ()


def _model(
    files: tuple[str, ...], shown: str, file: str | None
) -> tuple[str, Kind, tuple[str, ...]]:
    """Main file of a folder's model, its kind, and its further files."""
    if file is not None and file not in files:
        raise UsageError(
            f"{shown}: expected a file that the signature covers, got {file!r}; it covers "
            f"{', '.join(files[:5])}"
        )
    models = [name for name in files if not is_companion(name)]
    if SAVED_MODEL in models and file in {None, SAVED_MODEL}:
        return _saved_model(files, models, shown, chosen=file is not None)
    if file is None:
        file = _only(files, models, shown)
    if file.endswith(INDEX):
        return file, "shards", ()
    if PurePosixPath(file).name == DISTRIBUTED:
        return file, "distributed", ()
    return file, "onnx" if file.endswith(".onnx") else "file", ()


def _only(files: tuple[str, ...], models: list[str], shown: str) -> str:
    """The only candidate: a single model, the index of all shards, or the ONNX file."""
    if len(models) == 1:
        return models[0]
    indexes = [name for name in files if name.endswith(INDEX)]
    suffixes = {PurePosixPath(name).suffix for name in models}
    if len(indexes) == 1 and len(suffixes) == 1:
        return indexes[0]
    metadata = [name for name in models if PurePosixPath(name).name == DISTRIBUTED]
    if len(metadata) == 1 and suffixes <= {"", ".distcp"}:
        return metadata[0]
    onnx = [name for name in models if name.endswith(".onnx")]
    if len(onnx) == 1:
        return onnx[0]
    names = ", ".join(models[:5]) or "none"
    advice = "name the one to load with file=… (--file), or keep the others elsewhere"
    raise FormatRefused(
        f"{shown}: expected one model file with documentation and settings, got {names}; "
        + (advice if models else "is the model somewhere else?")
    )


def _saved_model(
    files: tuple[str, ...], models: list[str], shown: str, *, chosen: bool
) -> tuple[str, Kind, tuple[str, ...]]:
    stray = [name for name in models if name not in _SAVED_FILES and not name.startswith(_SAVED)]
    if stray and not chosen:
        raise FormatRefused(
            f"{shown}: a SavedModel holds {SAVED_MODEL}, variables and assets, got "
            f"{', '.join(stray[:5])}; keep other models elsewhere"
        )
    # An asset is read whatever it is called.
    parts = [name for name in files if name in _SAVED_FILES or name.startswith(_SAVED)]
    return SAVED_MODEL, "savedmodel", tuple(name for name in parts if name != SAVED_MODEL)
