"""Hugging Face models: `from_pretrained` of any class, on verified bytes of a folder or cache.

folder or name of a repository → signed folder → held folder → the class's own `from_pretrained`

Programs that a model brings along (`trust_remote_code`, `auto_map`) run only if the policy names
the digest of each of its `.py` files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, SignatureMissing, UnsafeContent
from mlsecops.loading import HeldModel, Limits, SecureLoader
from mlsecops.loading.snapshot import Tier
from mlsecops.provenance import Digest, Isolation
from mlsecops.signing import TrustPolicy

__all__ = ["from_pretrained", "local_folder", "name_as_given"]

T = TypeVar("T")
_REMOTE: Final = "remote-code"
_SETTINGS: Final = 4 << 20  # bytes; chosen: settings with an `auto_map` have a few kilobytes


_PROGRAMS: Final = ("trust_remote_code", "custom_pipeline", "custom_generate")
"""Options of the libraries that run programs; only the first may lead to verified ones."""
_REFERENCE: Final = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", re.ASCII)
"""Module and class, as transformers splits them."""


@checked
def from_pretrained(
    cls: type[T],
    folder_or_repo: str | os.PathLike[str],
    *,
    policy: TrustPolicy,
    tier: Tier = "sealed",
    bundle: str | os.PathLike[str] | None = None,
    digest: Digest | None = None,
    name: str | None = None,
    allow_globals: Collection[str] = (),
    allow_unchecked: bool = False,
    limits: Limits | None = None,
    isolation: Isolation | None = None,
    **kwargs: Any,
) -> T:
    """Verify and scan a model's folder, and give it to a class's `from_pretrained`.

    Args:
        cls: A class: `AutoModel`, `DiffusionPipeline`, `AutoTokenizer`, …; a class without
            `from_pretrained` (`SentenceTransformer`) is called with the folder.
        folder_or_repo: The signed folder, or the name of a repository, whose snapshot in the local
            cache is used, and downloaded where there is none.
        policy: Who may sign a model; its `code` lists the programs that a model may bring along.
        tier: As for `SecureLoader`.
        bundle: As for `SecureLoader.load`.
        digest: As for `SecureLoader.load`.
        name: As for `SecureLoader.load`.
        allow_globals: As for `SecureLoader`.
        allow_unchecked: As for `SecureLoader.hold`.
        limits: As for `SecureLoader`.
        isolation: As for `SecureLoader`.
        kwargs: Options of the class's own `from_pretrained`; `revision` chooses the snapshot.

    Raises:
        UnsafeContent: The model brings a program that the policy does not name.
        MLSecOpsError: As `SecureLoader.hold` raises.
    """
    folder = local_folder(folder_or_repo, revision=kwargs.get("revision"), download=True)
    programs = _mapped_programs(folder) if policy.code else ()
    loader = SecureLoader(
        policy,
        tier=tier,
        allow_globals=(*allow_globals, *programs),
        limits=limits,
        isolation=isolation,
    )
    allow = allow_unchecked or bool(policy.code)
    with loader.hold(
        folder, bundle=bundle, digest=digest, name=name, allow_unchecked=allow
    ) as held:
        code = _require_programs(held, policy, allow_unchecked=allow_unchecked)
        for option in _PROGRAMS:
            if kwargs.get(option) and not (code and option == "trust_remote_code"):
                raise UnsafeContent(
                    f"{folder}: {option}: expected programs in the folder whose digests the policy "
                    "names (code=[…]), got none; leave the option out",
                    rule=_REMOTE,
                    where=option,
                )
        make: Callable[..., T] = getattr(cls, "from_pretrained", cls)
        result = make(held.folder, **kwargs)
        name_as_given(result, held.folder, folder_or_repo)
    return result


def local_folder(
    path: str | os.PathLike[str], *, revision: str | None = None, download: bool = False
) -> Path:
    """Folder of a model: the path itself, or the snapshot of a repository in the local cache.

    Args:
        path: A folder, or the name of a repository.
        revision: Branch, tag or commit of a repository; `main` by default.
        download: Whether a repository that is not in the cache is downloaded.

    Raises:
        SignatureMissing: There is no such folder, and the repository cannot be had.
    """
    if Path(path).is_dir():
        return Path(path)
    error: Exception | None = None
    for offline in (True, False) if download else (True,):
        try:
            hub = require("huggingface_hub")
            found = hub.snapshot_download(
                os.fspath(path), revision=revision, local_files_only=offline
            )
            return Path(found)
        except Exception as reason:  # noqa: BLE001 - the hub's own errors, of many kinds, or MissingExtra
            error = reason
    raise SignatureMissing(
        f"{os.fspath(path)}: expected a folder, or a repository that was downloaded whole, got "
        f"neither ({type(error).__name__}); download it, verify or sign it, and load it then"
    ) from error


def name_as_given(result: Any, held: str, given: str | os.PathLike[str]) -> None:
    """Let an object of a hub library bear the path that was given, not the held one.

    Args:
        result: The object, with or without a configuration.
        held: The held folder, which goes.
        given: What the caller named.
    """
    for owner in (result, getattr(result, "config", None)):
        for name in ("name_or_path", "_name_or_path"):
            if getattr(owner, "__dict__", {}).get(name) == held:
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(owner, name, os.fspath(given))
    arguments = getattr(result, "init_kwargs", None)
    if isinstance(arguments, dict) and arguments.get("name_or_path") == held:
        arguments["name_or_path"] = os.fspath(given)


def _mapped_programs(folder: Path) -> tuple[str, ...]:
    """Names in `auto_map` whose module lies in the folder; a first look, compared once held."""
    found = []
    for place in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, FormatRefused):
            if place.stat().st_size <= _SETTINGS:
                value = parse_object(place.read_bytes(), what=place.name, error=FormatRefused)
                found += list(_names(value.get("auto_map")))
    return tuple(name for name in found if _module(folder, name).is_file())


def _module(folder: Path, name: str) -> Path:
    return folder / f"{name.partition('.')[0]}.py"


def _names(mapped: Any) -> Iterator[str]:
    values = mapped.values() if isinstance(mapped, dict) else [mapped]
    for value in values:
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and _REFERENCE.fullmatch(name):
                yield name


def _require_programs(
    held: HeldModel, policy: TrustPolicy, *, allow_unchecked: bool
) -> frozenset[str]:
    """Programs of a held folder; the policy names the digest of each.

    Raises:
        UnsafeContent: It does not.
        FormatRefused: Something else was not looked into.
    """
    folder = Path(held.folder)
    programs = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*.py"))
    for name in programs:
        digest = Digest.of((folder / name).read_bytes())
        if allow_unchecked and not policy.code:
            return frozenset()  # held, and never run
        if str(digest) not in policy.code:
            raise UnsafeContent(
                f"{name}: expected a program whose digest the policy names, got {digest}; read it, "
                f'and put it into the policy: code = ["{digest}"]',
                rule=_REMOTE,
                where=name,
            )
    rest = [item for item in held.unchecked if item.what not in programs]
    if rest and not allow_unchecked:
        raise FormatRefused(
            f"{rest[0].what} was not checked ({rest[0].why}), so it is not loaded; if the signer "
            "is trusted with it, load it with allow_unchecked=True"
        )
    return frozenset(programs)
