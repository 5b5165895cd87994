"""What is in a file or folder, told by reading and never by loading.

A path comes in; each file's format is told by content, its scanner run, and a Verdict goes out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from mlsecops.errors import ContentRefused, MissingExtra, UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.companions import examine_companion
from mlsecops.loading.formats import Format, detect, require_agreement
from mlsecops.loading.keras_file import examine_keras
from mlsecops.loading.limits import Limits
from mlsecops.loading.numpy_file import examine_npy, examine_npz
from mlsecops.loading.pickle_file import (
    examine_pickle,
    examine_torch,
    examine_torch_legacy,
)
from mlsecops.loading.safetensors_file import examine_safetensors
from mlsecops.loading.snapshot import Source, opened
from mlsecops.loading.verdict import Examination, Unchecked, Verdict, join, refusal
from mlsecops.provenance.tree import list_tree

_DATA: Final[dict[Format, Callable[[Source, Limits], Examination]]] = {
    Format.SAFETENSORS: examine_safetensors,
    Format.NPY: examine_npy,
    Format.NPZ: examine_npz,
    Format.COMPANION: examine_companion,
}
_NAMED: Final[dict[Format, Callable[[Source, Limits, Collection[str]], Examination]]] = {
    Format.KERAS: examine_keras,
    Format.PICKLE: examine_pickle,
    Format.TORCH: examine_torch,
    Format.TORCH_LEGACY: examine_torch_legacy,
}
_CODE: Final = {Format.TORCHSCRIPT: "torchscript", Format.PT2: "pt2"}
_WHY: Final = {
    Format.HDF5: "no scanner for whole HDF5 models; save as .keras or safetensors",
    Format.GGUF: "no scanner for GGUF",
    Format.ZIP: "a zip archive of no known format",
    Format.UNKNOWN: "no known format",
}


def scan(
    path: str | os.PathLike[str],
    *,
    allow_globals: Collection[str] = (),
    limits: Limits | None = None,
) -> Verdict:
    r"""Scan a file, or every file of a folder, without loading anything.

    Args:
        path: A regular file or a folder; a symlink given here is followed, none inside is.
        allow_globals: Audited names that pickles and Keras configurations may use besides the
            built-in lists: ``"module.Class"``.
        limits: Ceilings; the defaults otherwise.

    Returns:
        The Verdict; a malformed file is a refusing finding, never an error.

    Raises:
        UsageError: The path cannot be opened.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.pkl"
        >>> _ = file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        >>> scan(file).refused
        True
    """
    ceilings = limits or Limits()
    real = os.path.realpath(path)
    shown = os.fspath(path)
    if not Path(real).is_dir():
        return _scan_file(real, shown, allow_globals, ceilings)
    try:
        files = list_tree(real, ignore=(".git",)).files
    except ContentRefused as error:
        return _refused(shown, "folder", error)
    return join(
        shown,
        [
            _scan_file(found.path, os.path.join(shown, name), allow_globals, ceilings)  # noqa: PTH118 - shown as the caller wrote it
            for name, found in files.items()
        ],
    )


def _scan_file(path: str, name: str, allow: Collection[str], limits: Limits) -> Verdict:
    try:
        with opened(path, name=name) as source:
            return examine(source, allow_globals=allow, limits=limits)[0]
    except ContentRefused as error:
        return _refused(name, "unknown", error)


def examine(
    source: Source, *, allow_globals: Collection[str], limits: Limits
) -> tuple[Verdict, Examination]:
    """Scan bytes that are held open.

    Returns:
        The Verdict, and the scanner's own result with the names that a pickle imports.
    """
    found = Format.UNKNOWN
    try:
        limits.require("file_bytes", source.size, where=source.name)
        found = detect(source)
        require_agreement(source, found)
        result = _examine(source, found, allow_globals, limits)
    except ContentRefused as error:
        return _refused(source.name, found, error), Examination()
    except MissingExtra as error:
        result = Examination(unchecked=(Unchecked(what=source.name, why=str(error)),))
    except OSError as error:
        raise UsageError(f"cannot read {source.name}: {error.strerror}") from error
    except Exception as error:  # noqa: BLE001 - an error in a check is a refusal
        return _refused(source.name, found, error), Examination()
    verdict = Verdict(
        path=source.name, format=found, findings=result.findings, unchecked=result.unchecked
    )
    return verdict, result


def _examine(
    source: Source, found: Format, allow_globals: Collection[str], limits: Limits
) -> Examination:
    if found in _DATA:
        return _DATA[found](source, limits)
    if found in _NAMED:
        extra = frozenset(allow_globals)
        names = extra if found is Format.KERAS else pickle_globals() | extra
        return _NAMED[found](source, limits, names)
    if found in _CODE and _CODE[found] not in allow_globals:
        return Examination(findings=(_code(source, _CODE[found]),))
    why = _WHY.get(found, "code that was allowed by name and not analysed")
    return Examination(unchecked=(Unchecked(what=source.name, why=why),))


def _refused(path: str, found: str, error: Exception) -> Verdict:
    if isinstance(error, ContentRefused):
        finding = refusal(error, artifact=path)
    else:
        finding = _finding(
            "check-failed", f"the check failed: {type(error).__name__}: {error}", path
        )
    return Verdict(path=path, format=found, findings=(finding,), unchecked=())


def _code(source: Source, name: str) -> Finding:
    return _finding(
        "code-format",
        f"{name} carries code; if it is signed and audited, name it in allow_globals=[{name!r}]",
        source.name,
    )


def _finding(rule: str, message: str, artifact: str) -> Finding:
    return Finding(rule=rule, severity=Severity.HIGH, message=message, where="", artifact=artifact)
