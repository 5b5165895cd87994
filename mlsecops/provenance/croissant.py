"""Croissant metadata of a manifest, which MLCommons' own validator accepts.

files → FileObjects, and FileSets with ImageObjects for pictures
a file and the content of its table → fields with types, read from the columns
data in memory → its parts as records, since they are no files

Source: MLCommons Croissant Format Specification 1.0; terms of mlcroissant 1.1.1.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops.errors import UsageError
from mlsecops.provenance.content.rows import COLUMNS, is_part, part_of
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry

_OWN: Final = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_JSON: Final = ("data", "examples")
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: {"@id": f"cr:{name}", "@type": "@json"} for name in _JSON},
    **{name: f"cr:{name}" for name in _OWN},
}
_FORMATS: Final = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".h5": "application/x-hdf5",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".md": "text/markdown",
    ".parquet": "application/x-parquet",
    ".png": "image/png",
    ".tar": "application/x-tar",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".zip": "application/zip",
}
_NUMBERS: Final = {
    **{f"{sign}i{size}": f"cr:Int{8 * size}" for sign in "<|" for size in (1, 2, 4, 8)},
    **{f"{sign}u{size}": f"cr:UInt{8 * size}" for sign in "<|" for size in (1, 2, 4, 8)},
    "<f2": "cr:Float16",
    "<f4": "cr:Float32",
    "<f8": "cr:Float64",
    "|b1": "sc:Boolean",
    "<M8[D]": "sc:Date",
    "date[ms]": "sc:Date",
    "time": "sc:Time",
    "<i16": "sc:Integer",
    "<u16": "sc:Integer",
}
_READ_BY_COLUMN: Final = frozenset(
    {"text/csv", "text/tab-separated-values", "application/x-parquet"}
)


def croissant(
    name: str,
    root: Digest,
    entries: Sequence[Entry],
    *,
    columns: Iterable[Entry] | None,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Croissant metadata of a manifest's entries; the arguments are those of `to_croissant`."""
    others = sorted({entry.digest.algorithm for entry in entries} - {"sha256"})
    if others:
        raise UsageError(f"croissant: expected sha256 digests, got {', '.join(others)}; hash again")
    value: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name or str(root),
        "identifier": str(root),
        **about,
    }
    if _of_data(entries):
        return {**value, "distribution": [], "recordSet": [_parts(entries)]}
    files = [_file_object(entry) for entry in entries]
    sets = list(_picture_sets(files))
    records = [_pictures(each) for each in sets]
    if columns is not None:
        records.append(_table(files, columns))
    value["distribution"] = [*files, *sets]
    return {**value, "recordSet": records} if records else value


def _of_data(entries: Sequence[Entry]) -> bool:
    """Whether entries are of data in memory; files have a size and no type."""
    known = any(entry.type is not None or entry.size is None for entry in entries)
    return known and all(is_part(entry.name) for entry in entries)


def _file_object(entry: Entry) -> dict[str, Any]:
    described = {
        "@type": "cr:FileObject",
        "@id": f"file-{_identifier(entry.name)}",
        "name": entry.name,
        "contentUrl": entry.name,
        "encodingFormat": _format(entry.name),
        "sha256": entry.digest.hex,
    }
    return described if entry.size is None else {**described, "contentSize": f"{entry.size} B"}


def _format(name: str) -> str:
    return _FORMATS.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")


def _identifier(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _picture_sets(files: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A FileSet for each format of pictures, over the endings that its files have."""
    endings: dict[str, set[str]] = {}
    for file in files:
        if file["encodingFormat"].startswith("image/"):
            suffix = PurePosixPath(file["name"]).suffix
            endings.setdefault(file["encodingFormat"], set()).add(f"*{suffix}")
    for kind, patterns in sorted(endings.items()):
        yield {
            "@type": "cr:FileSet",
            "@id": kind.replace("/", "-"),
            "name": kind.replace("/", "-"),
            "encodingFormat": kind,
            "includes": sorted(patterns),
        }


def _pictures(files: Mapping[str, Any]) -> dict[str, Any]:
    record = f"records-{files['@id']}"
    source = {"fileSet": {"@id": files["@id"]}}
    return _record_set(
        record,
        [
            _field(
                record,
                "image",
                "sc:ImageObject",
                {**source, "extract": {"fileProperty": "content"}},
            ),
            _field(record, "file", "sc:Text", {**source, "extract": {"fileProperty": "fullpath"}}),
        ],
    )


def _table(files: Sequence[Mapping[str, Any]], columns: Iterable[Entry]) -> dict[str, Any]:
    if len(files) != 1 or files[0]["encodingFormat"] not in _READ_BY_COLUMN:
        raise UsageError(
            "table: expected the manifest of one CSV, TSV or Parquet file with it, got "
            f"{', '.join(str(file['name']) for file in files[:5])}; describe each file by itself"
        )
    types: dict[str, str] = {}
    for entry in columns:
        part = part_of(entry.name)
        if part is not None:
            types.setdefault(part[0], entry.type or "")
    file = {"@id": files[0]["@id"]}
    fields = [
        _field("rows", name, _data_type(kind), {"fileObject": file, "extract": {"column": name}})
        for name, kind in types.items()
    ]
    return _record_set("rows", fields)


def _data_type(kind: str) -> str:
    """Type of Croissant; text for what it has no type for."""
    if kind.startswith("<M8["):
        return _NUMBERS.get(kind, "sc:DateTime")
    return "sc:Float" if kind.startswith("decimal") else _NUMBERS.get(kind, "sc:Text")


def _parts(entries: Iterable[Entry]) -> dict[str, Any]:
    """Records of the parts of data in memory: rows of a column, their type, bytes and digest."""
    fields = {"part": "sc:Text", "type": "sc:Text", "bytes": "sc:Integer", "digest": "sc:Text"}
    records = _record_set("parts", [_field("parts", name, kind) for name, kind in fields.items()])
    rows = [(e.name, e.type or _untyped(e.name), e.size or 0, str(e.digest)) for e in entries]
    keys = [f"parts/{name}" for name in fields]
    return {
        **records,
        "key": {"@id": "parts/part"},
        "data": [dict(zip(keys, row, strict=True)) for row in rows],
    }


def _untyped(name: str) -> str:
    return "names" if name.endswith(COLUMNS) else "unknown"


def _record_set(name: str, fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": list(fields)}


def _field(
    record: str, name: str, kind: str, source: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    identifier = name if name.isidentifier() else _identifier(name)
    field = {
        "@type": "cr:Field",
        "@id": f"{record}/{identifier}",
        "name": name,
        "dataType": kind,
    }
    return field if source is None else {**field, "source": dict(source)}
