"""Signatures over the outputs of a DVC repository.

`.dvc` files, `dvc.lock` → paths of outputs → SHA-256 manifest of all their files → `sign_outputs` →
`dvc.sig`, kept in git → `verify_outputs` after a checkout or pull. DVC itself identifies outputs by
MD5, which has collisions, and `dvc checkout` restores an edited cache file without a warning.

Limits: files may change after verification, so load models with `SecureLoader` and hash data sets
where training reads them (`tracked`). Outputs outside the repository and folders of links
(`cache.type symlink`) are refused.

Source: DVC 3, `.dvc` files and `dvc.lock` of schema 2.0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops.errors import DigestMismatch, FormatRefused, UnsafeContent, UsageError
from mlsecops.provenance import Entry, Manifest, hash_path
from mlsecops.signing import (
    Bundle,
    Signer,
    TrustPolicy,
    Verified,
    Verifier,
    expected_name,
    read_bundle,
    sign_manifest,
)

__all__ = ["BUNDLE", "outputs", "outputs_manifest", "sign_outputs", "verify_outputs"]

BUNDLE: Final = "dvc.sig"
_LOCK: Final = "dvc.lock"
_PIPELINE: Final = "dvc.yaml"
_INNER: Final = frozenset({".git", ".dvc"})
_MAX_BYTES: Final = 64 << 20  # bytes of a pointer file; chosen: some 500,000 outputs


@checked
def outputs(repository: str | os.PathLike[str]) -> tuple[str, ...]:
    """List the outputs of a repository from its `.dvc` files and `dvc.lock`.

    Args:
        repository: Folder of the repository.

    Returns:
        Sorted paths relative to it, with `/`.

    Raises:
        FormatRefused: A pointer file is malformed.
        UnsafeContent: An output is outside the repository.
        UsageError: The folder does not exist.
        MissingExtra: PyYAML is not installed.
    """
    root = Path(repository)
    if not root.is_dir():
        raise UsageError(f"cannot read {root}: expected the folder of a DVC repository")
    found = {
        _inside(root, place, path)
        for place, pointer in _pointers(root)
        for path in _listed(place, pointer)
    }
    return tuple(sorted(found))


@checked
def outputs_manifest(repository: str | os.PathLike[str]) -> Manifest:
    """SHA-256 manifest of every file of every output.

    Args:
        repository: Folder of the repository.

    Raises:
        UsageError: There is no output, or one is not checked out.
        UnsafeContent: An output contains a link.

    It also raises the errors of `outputs`.
    """
    root = Path(repository)
    entries: dict[str, Entry] = {}
    for name in outputs(root):
        place = root / name
        if not place.exists():
            raise UsageError(f"{place}: expected an output of DVC, got none; run dvc pull")
        manifest = hash_path(place, ignore=())
        for entry in manifest:
            inner = name if manifest.single else f"{name}/{entry.name}"
            entries[inner] = Entry(inner, entry.digest, entry.size)
    if not entries:
        raise UsageError(f"{root}: expected outputs in .dvc files or {_LOCK}, got none")
    ordered = tuple(entries[name] for name in sorted(entries))
    return Manifest(name=root.resolve().name, algorithm="sha256", entries=ordered)


@checked
def sign_outputs(
    repository: str | os.PathLike[str], signer: Signer, *, out: str | os.PathLike[str] | None = None
) -> Bundle:
    """Sign all outputs in the working folder.

    Args:
        repository: Folder of the repository.
        signer: The signer.
        out: Path of the bundle; by default `dvc.sig` in the repository, for git to keep.

    It raises the errors of `outputs_manifest`.
    """
    place = Path(repository, BUNDLE) if out is None else Path(out)
    return sign_manifest(outputs_manifest(repository), signer).save(place)


@checked
def verify_outputs(
    repository: str | os.PathLike[str],
    *,
    policy: TrustPolicy,
    bundle: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Verified:
    """Verify all outputs against their signature.

    Args:
        repository: Folder of the repository.
        policy: Trust policy.
        bundle: Path of the bundle; by default `dvc.sig` in the repository.
        name: As for `mlsecops.verify`; by default that of the repository's folder.

    Raises:
        SignatureError: There is no bundle, or its signature is invalid.
        PolicyError: The signature does not satisfy the policy.
        DigestMismatch: A file or a whole output was added, removed or changed.

    It also raises the errors of `outputs_manifest`.
    """
    place = Path(repository, BUNDLE) if bundle is None else Path(bundle)
    verifier = Verifier(policy)
    expected = expected_name(repository, name)
    signed = verifier.open(read_bundle(place), where=os.fspath(place), expected=expected)
    if signed.manifest.algorithm != "sha256" or signed.sharded:
        raise DigestMismatch(
            f"{place}: expected a bundle of sign_outputs, of whole files by sha256, got "
            f"{signed.manifest.algorithm}"
        )
    return verifier.match(signed, outputs_manifest(repository), where=os.fspath(repository))


def _pointers(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(set(inner) - _INNER)
        for name in sorted(names):
            if (name.endswith(".dvc") and name != ".dvc") or name == _LOCK:
                place = Path(folder, name)
                yield place, _read(place)


def _read(place: Path) -> Mapping[str, Any]:
    yaml = require("yaml")
    if place.stat().st_size > _MAX_BYTES:
        raise FormatRefused(f"{place}: expected a pointer file of at most {_MAX_BYTES} bytes")
    try:
        value = yaml.safe_load(place.read_bytes())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatRefused(f"{place}: expected YAML: {error}") from error
    if not isinstance(value, dict):
        raise FormatRefused(f"{place}: expected a mapping, as DVC writes it")
    return value


def _listed(place: Path, pointer: Mapping[str, Any]) -> Iterator[str]:
    """Outputs of a `.dvc` file or `dvc.lock`, whose stages have their folder in `dvc.yaml`."""
    if place.name != _LOCK:
        yield from _paths(place, pointer.get("outs", ()), str(pointer.get("wdir", ".")))
        return
    pipeline = place.with_name(_PIPELINE)
    stages = _mapping(place, pointer.get("stages", {}))
    described = _mapping(pipeline, _read(pipeline).get("stages", {})) if pipeline.exists() else {}
    for name, stage in stages.items():
        entry = described.get(str(name).partition("@")[0], {})
        entry = entry.get("do", entry) if isinstance(entry, dict) else {}
        folder = str(entry.get("wdir", ".")) if isinstance(entry, dict) else "."
        yield from _paths(place, _mapping(place, stage).get("outs", ()), folder)


def _paths(place: Path, outs: Any, folder: str) -> Iterator[str]:
    if not isinstance(outs, (list, tuple)):
        raise FormatRefused(f"{place}: expected outs to be a list")
    for out in outs:
        path = _mapping(place, out).get("path")
        if not isinstance(path, str) or not path:
            raise FormatRefused(f"{place}: expected each of outs to have a path, got {out!r}")
        yield f"{folder}/{path}" if not path.startswith("/") else path


def _mapping(place: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatRefused(f"{place}: expected a mapping, got {type(value).__name__}")
    return value


def _inside(root: Path, place: Path, path: str) -> str:
    """A path of a pointer file, relative to the repository."""
    parts: list[str] = []
    for part in (*place.parent.relative_to(root).parts, *PurePosixPath(path).parts):
        if part == "/" or (part == ".." and not parts):
            raise UnsafeContent(
                f"{place}: expected outputs inside the repository, got {path!r}; move it inside",
                rule="dvc-output",
                where=str(place),
            )
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
