"""DVC's outputs under digests that can be trusted.

DVC knows its outputs by MD5, for which other files can be made, and `dvc checkout` restores an
edited cache file without a word. Here the pointer files only say which outputs there are;
`sign_outputs` signs the SHA-256 of every file of theirs in one bundle, which lives in git
beside them, and `verify_outputs` holds what was checked out or pulled against it.

Limits: the bytes may change right after; load a model with `SecureLoader`, and hash a data set
again where the training reads it (`tracked`). Outputs outside the repository are refused, and
folders that DVC fills with links (`cache.type symlink`).

Source: DVC 3, `.dvc` files and `dvc.lock` of schema 2.0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import DigestMismatch, FormatRefused, UnsafeContent, UsageError
from mlsecops.provenance import Entry, Manifest, hash_path
from mlsecops.signing import (
    Bundle,
    Signer,
    TrustPolicy,
    Verified,
    Verifier,
    read_bundle,
    sign_manifest,
)

__all__ = ["BUNDLE", "outputs", "outputs_manifest", "sign_outputs", "verify_outputs"]

BUNDLE: Final = "dvc.sig"
_LOCK: Final = "dvc.lock"
_PIPELINE: Final = "dvc.yaml"
_INNER: Final = frozenset({".git", ".dvc"})
_LONGEST: Final = 64 << 20


def outputs(repository: str | os.PathLike[str]) -> tuple[str, ...]:
    """What DVC keeps for a repository, by its `.dvc` files and `dvc.lock`.

    Args:
        repository: The repository's folder.

    Returns:
        Paths relative to it, sorted, with `/`.

    Raises:
        FormatRefused: A pointer file is none.
        UnsafeContent: An output lies outside the repository.
        UsageError: There is no such folder.
        MissingExtra: PyYAML is not installed.
    """
    root = Path(repository)
    if not root.is_dir():
        raise UsageError(f"cannot read {root}: expected the folder of a DVC repository")
    found = {
        _inside(root, place, path)
        for place, pointer in _pointers(root)
        for path in (_locked(place, pointer) if place.name == _LOCK else _tracked(place, pointer))
    }
    return tuple(sorted(found))


def outputs_manifest(repository: str | os.PathLike[str]) -> Manifest:
    """Every file of every output, by SHA-256.

    Args:
        repository: The repository's folder.

    Raises:
        UsageError: There is no output, or one is not checked out.
        UnsafeContent: One holds a link.

    Besides, what `outputs` raises.
    """
    root = Path(repository)
    entries: dict[str, Entry] = {}
    for name in outputs(root):
        place = root / name
        if not place.exists():
            raise UsageError(f"{place} is not there: expected an output of DVC; run dvc pull")
        manifest = hash_path(place, ignore=())
        for entry in manifest:
            inner = name if manifest.single else f"{name}/{entry.name}"
            entries[inner] = Entry(inner, entry.digest, entry.size)
    if not entries:
        raise UsageError(f"{root}: expected outputs in .dvc files or {_LOCK}, got none")
    ordered = tuple(entries[name] for name in sorted(entries))
    return Manifest(name=root.resolve().name, algorithm="sha256", entries=ordered)


def sign_outputs(
    repository: str | os.PathLike[str], signer: Signer, *, out: str | os.PathLike[str] | None = None
) -> Bundle:
    """Sign all outputs as they lie in the working folder.

    Args:
        repository: The repository's folder.
        signer: Who vouches for them.
        out: Where the bundle goes; by default `dvc.sig` in the repository, for git to keep.

    Raises:
        UsageError: There is no output, or one is not checked out.

    Besides, what `outputs_manifest` raises.
    """
    place = Path(repository, BUNDLE) if out is None else Path(out)
    return sign_manifest(outputs_manifest(repository), signer).save(place)


def verify_outputs(
    repository: str | os.PathLike[str],
    *,
    policy: TrustPolicy,
    bundle: str | os.PathLike[str] | None = None,
) -> Verified:
    """Demand that all outputs are those that trusted signers vouch for.

    Args:
        repository: The repository's folder.
        policy: Whom to trust.
        bundle: The signature; by default `dvc.sig` in the repository.

    Raises:
        SignatureError: There is no bundle, or it does not hold.
        PolicyError: It holds, but not as the policy demands.
        DigestMismatch: A file or a whole output was added, removed or changed.

    Besides, what `outputs_manifest` raises.
    """
    place = Path(repository, BUNDLE) if bundle is None else Path(bundle)
    verifier = Verifier(policy)
    signed = verifier.open(read_bundle(place), where=os.fspath(place))
    if signed.manifest.algorithm != "sha256" or signed.sharded:
        raise DigestMismatch(
            f"{place}: expected whole files by sha256, as sign_outputs signs them, got "
            f"{signed.manifest.algorithm}"
        )
    return verifier.match(signed, outputs_manifest(repository), where=os.fspath(repository))


def _pointers(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Pointer files and what they say."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(set(inner) - _INNER)
        for name in sorted(names):
            if (name.endswith(".dvc") and name != ".dvc") or name == _LOCK:
                place = Path(folder, name)
                yield place, _read(place)


def _read(place: Path) -> Mapping[str, Any]:
    yaml = require("yaml")
    if place.stat().st_size > _LONGEST:
        raise FormatRefused(f"{place}: expected a pointer file of at most {_LONGEST} bytes")
    try:
        value = yaml.safe_load(place.read_bytes())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatRefused(f"{place}: not readable as YAML: {error}") from error
    if not isinstance(value, dict):
        raise FormatRefused(f"{place}: expected a mapping, as DVC writes it")
    return value


def _tracked(place: Path, pointer: Mapping[str, Any]) -> Iterator[str]:
    """Outputs of a `.dvc` file, relative to its folder."""
    yield from _paths(place, pointer.get("outs", ()), str(pointer.get("wdir", ".")))


def _locked(place: Path, pointer: Mapping[str, Any]) -> Iterator[str]:
    """Outputs of a `dvc.lock`; where a stage works stands in the pipeline beside it."""
    pipeline = place.with_name(_PIPELINE)
    stages = _mapping(place, pointer.get("stages", {}))
    described = _mapping(pipeline, _read(pipeline).get("stages", {})) if pipeline.exists() else {}
    for name, stage in stages.items():
        said = described.get(str(name).partition("@")[0], {})
        said = said.get("do", said) if isinstance(said, dict) else {}
        folder = str(said.get("wdir", ".")) if isinstance(said, dict) else "."
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
                f"{place}: output {path!r} lies outside the repository; move it inside",
                rule="dvc-output",
                where=str(place),
            )
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
