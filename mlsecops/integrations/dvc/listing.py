"""Outputs of a DVC repository, by DVC's own API or from its pointer files.

repository → DvcOutput: its path, the stage that makes it, whether DVC has recorded its content
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops.errors import FormatRefused, UnsafeContent, UsageError
from mlsecops.integrations.dvc.documents import mapping, read_document
from mlsecops.integrations.dvc.templates import PIPELINE, working_folders

LOCK: Final = "dvc.lock"
DVC: Final = ".dvc"
_INNER: Final = frozenset({".git", ".hg", DVC})
_DIGESTS: Final = ("md5", "etag", "checksum", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class DvcOutput:
    """An output of a repository.

    Attributes:
        path: Path relative to the repository, with `/`.
        source: Path of the pointer file, or `FOLDER/dvc.yaml:STAGE`.
        recorded: Whether DVC has recorded the content; not so of what was never downloaded.
    """

    path: str
    source: str
    recorded: bool = True

    def named_by(self, target: str) -> bool:
        """Whether a target of the command line is this output, its pointer file or its stage."""
        stage = self.source.removeprefix(f"{PIPELINE}:")
        return target in {self.path, self.source, stage, self.source.removesuffix(DVC)}


@checked
def outputs(repository: str | os.PathLike[str]) -> tuple[str, ...]:
    """List the outputs of a repository: by DVC's API where DVC is installed, else from its files.

    Args:
        repository: Folder of the repository.

    Returns:
        Sorted paths relative to it, with `/`.

    Raises:
        FormatRefused: A pointer file is malformed, or a template cannot be resolved.
        UnsafeContent: An output is outside the repository.
        UsageError: The folder does not exist.
        MissingExtra: PyYAML is not installed.
    """
    return tuple(output.path for output in list_outputs(Path(repository)))


def list_outputs(root: Path) -> list[DvcOutput]:
    """Outputs of a repository, sorted by path; the errors are those of `outputs`."""
    if not root.is_dir():
        raise UsageError(f"cannot read {root}: expected the folder of a DVC repository")
    asked = importlib.util.find_spec("dvc") is not None and (root / DVC).is_dir()
    found = _asked(root) if asked else _read(root)
    return [found[path] for path in sorted(found)]


def _asked(root: Path) -> dict[str, DvcOutput]:
    """Outputs as DVC lists them."""
    repo_module, exceptions = require("dvc.repo"), require("dvc.exceptions")
    found: dict[str, DvcOutput] = {}
    try:
        with repo_module.Repo(os.fspath(root)) as repo:
            top = Path(repo.root_dir)
            for out in repo.index.outs:
                if getattr(out, "protocol", "local") not in {"local", "file"}:
                    raise _outside(Path(out.stage.path_in_repo), str(out))
                inside = os.path.relpath(out.fs_path, top).replace(os.sep, "/")
                path = _inside(PurePosixPath(), Path(out.stage.path_in_repo), inside)
                if path in found or not _known(out):
                    found.setdefault(
                        path, DvcOutput(path=path, source=_source(out), recorded=False)
                    )
                else:
                    found[path] = DvcOutput(path=path, source=_source(out))
    except exceptions.DvcException as error:
        raise FormatRefused(f"{root}: DVC: {error}") from error
    return {path: each for path, each in found.items() if each.recorded or _imported(each)}


def _known(out: Any) -> bool:
    return bool(out.hash_info or getattr(out, "files", None))


def _imported(output: DvcOutput) -> bool:
    return output.source.endswith(DVC)


def _source(out: Any) -> str:
    name = getattr(out.stage, "name", None)
    path = str(out.stage.path_in_repo).replace(os.sep, "/")
    return f"{path}:{name}" if name else path


def _read(root: Path) -> dict[str, DvcOutput]:
    """Outputs as `.dvc` files and `dvc.lock` list them."""
    found: dict[str, DvcOutput] = {}
    for place in _pointers(root):
        for path, stage, recorded in _listed(place):
            below = PurePosixPath(place.parent.relative_to(root).as_posix())
            name = _inside(below, place, path)
            own = (below / (PIPELINE if stage else place.name)).as_posix()
            source = f"{own}:{stage}" if stage else own
            found[name] = DvcOutput(path=name, source=source, recorded=recorded)
    return found


def _pointers(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        # A folder with its own .dvc is another repository, which DVC leaves out.
        inner[:] = sorted(
            name for name in set(inner) - _INNER if not Path(folder, name, DVC).is_dir()
        )
        for name in sorted(names):
            if (name.endswith(DVC) and name != DVC) or name == LOCK:
                yield Path(folder, name)


def _listed(place: Path) -> Iterator[tuple[str, str, bool]]:
    """Path relative to the file's folder, stage and whether it is recorded, of each output."""
    pointer = read_document(place)
    if place.name != LOCK:
        yield from _paths(place, pointer.get("outs", ()), str(pointer.get("wdir", ".")), "")
        return
    folders = working_folders(place.with_name(PIPELINE))
    stages = mapping(place, pointer.get("stages", {}))
    for name, stage in stages.items():
        outs = mapping(place, stage).get("outs", ())
        yield from _paths(place, outs, folders.get(str(name), "."), str(name))


def _paths(place: Path, outs: Any, folder: str, stage: str) -> Iterator[tuple[str, str, bool]]:
    if not isinstance(outs, (list, tuple)):
        raise FormatRefused(f"{place}: expected outs to be a list")
    for out in outs:
        about: Mapping[str, Any] = mapping(place, out)
        path = about.get("path")
        if not isinstance(path, str) or not path:
            raise FormatRefused(f"{place}: expected each of outs to have a path, got {out!r}")
        recorded = any(about.get(key) for key in _DIGESTS)
        whole = path if path.startswith("/") or "://" in path else f"{folder}/{path}"
        yield whole, stage, recorded


def _inside(below: PurePosixPath, place: Path, path: str) -> str:
    """A path of a pointer file, relative to the repository."""
    parts: list[str] = []
    if "://" in path:
        raise _outside(place, path)
    for part in (*below.parts, *PurePosixPath(path).parts):
        if part == "/" or (part == ".." and not parts):
            raise _outside(place, path)
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _outside(place: Path, path: str) -> UnsafeContent:
    return UnsafeContent(
        f"{place}: expected outputs inside the repository, got {path!r}; move it inside",
        rule="dvc-output",
        where=str(place),
    )
