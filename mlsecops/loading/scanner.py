"""Scan of files and folders: findings about their content, which is read and never executed.

path → `detection` (format) → scanner of the format → Verdict
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mlsecops._bounded.budget import FILE_BYTES, Budget, spending, tick
from mlsecops._choices import checked
from mlsecops.errors import ContentRefused, MissingExtra, UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.loading.detection import Format, detect, require_agreement
from mlsecops.loading.formats.external_data import external_data_findings, tensor_data
from mlsecops.loading.further_formats import FURTHER, examine_further
from mlsecops.loading.limits import Limits
from mlsecops.loading.nested_archives import MOST_NESTED, unpacked
from mlsecops.loading.scanning.entries import FOLDER, ScanEntries, problem, scan_entries
from mlsecops.loading.snapshot import Source, opened
from mlsecops.loading.verdict import Examination, Unchecked, Verdict, join, not_checked, refusal
from mlsecops.provenance.files.opening import followed
from mlsecops.provenance.files.urls import is_url

_FORMATS: Final = "mlsecops.loading.formats"
_DATA: Final = {
    Format.SAFETENSORS: "safetensors:examine_safetensors",
    Format.NPY: "numpy:examine_npy",
    Format.NPZ: "numpy:examine_npz",
    Format.GGUF: "gguf:examine_gguf",
}
"""Format → module and function of its scanner, imported where a file of the format is met."""
_NAMED: Final = {
    Format.COMPANION: "companions:examine_companion",
    Format.KERAS: "keras:examine_keras",
    Format.HDF5: "hdf5:examine_hdf5",
    Format.ONNX: "onnx:examine_onnx",
    Format.SAVED_MODEL: "savedmodel:examine_savedmodel",
    Format.TFLITE: "tflite:examine_tflite",
}
"""Scanners with an allowlist inside, which the caller's names extend."""
_PICKLED: Final = {
    Format.PICKLE: "pickles:examine_pickle",
    Format.JOBLIB: "pickles:examine_joblib",
    Format.SKOPS: "skops:examine_skops",
    Format.TORCH: "pickles:examine_torch",
    Format.TORCH_LEGACY: "pickles:examine_torch_legacy",
    Format.DISTRIBUTED: "checkpoints.distributed:examine_shard",
    Format.DISTRIBUTED_METADATA: "checkpoints.distributed:examine_metadata",
}
"""Scanners that extend the list of pickles' globals."""
_EMPTY: Final = frozenset({Format.TENSOR_INDEX})
"""Formats of bytes that are numbers only."""
_ARCHIVES: Final = frozenset({Format.ZIP, Format.TAR, Format.COMPRESSED})
_DEFAULT: Final = Limits()
_CODE: Final = {Format.TORCHSCRIPT: "torchscript", Format.PT2: "pt2"}


@checked
def scan(
    path: str | os.PathLike[str],
    *,
    allow_globals: Collection[str] = (),
    limits: Limits | None = None,
    exclude: Collection[str] = (),
) -> Verdict:
    r"""Look for what could run code, reach outside or exhaust memory when a file is loaded.

    Args:
        path: A regular file or a folder, which is scanned with everything in it, or the URL of an
            object, prefix or hub repository (`hf://org/name`, `s3://bucket/model`).
        allow_globals: Audited names that pickles, settings and Keras configurations may use in
            addition to the built-in lists: `"module.Class"`.
        limits: Resource limits; the defaults otherwise.
        exclude: Paths below the folder that are left out, or patterns of paths or names
            (`"*.tmp"`); the verdict says how many files that are.

    Returns:
        The Verdict; a malformed file is a refusing finding, not an error.

    Raises:
        UsageError: The path cannot be opened.

    Examples:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.pkl"
        >>> _ = file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        >>> scan(file).refused
        True
    """
    each = _sorted(path, allow_globals, limits, exclude)
    alone = len(each) == 1 and each[0].path == os.fspath(path)
    return each[0] if alone else join(os.fspath(path), each)


@checked
def scan_each(
    path: str | os.PathLike[str],
    *,
    allow_globals: Collection[str] = (),
    limits: Limits | None = None,
    exclude: Collection[str] = (),
    nested: int = 0,
) -> list[Verdict]:
    """A verdict on a file, or on every file of a folder, each under its own path, sorted by it.

    Args:
        path: A regular file or a folder.
        allow_globals: Audited names.
        limits: Resource limits; the defaults otherwise.
        exclude: As for `scan`.
        nested: Number of archives around the path.

    Raises:
        UsageError: The path cannot be opened.
    """
    return _sorted(path, allow_globals, limits, exclude, nested=nested)


@checked
def scan_stream(
    path: str | os.PathLike[str],
    *,
    allow_globals: Collection[str] = (),
    limits: Limits | None = None,
    exclude: Collection[str] = (),
    progress: Callable[[int, int], object] | None = None,
    nested: int = 0,
) -> Iterator[Verdict]:
    """The verdicts of `scan_each`, each as soon as it is certain.

    Files of no known format come last: another file may read them as numbers.

    Args:
        path: As for `scan_each`.
        allow_globals: As for `scan_each`.
        limits: As for `scan_each`.
        exclude: As for `scan_each`.
        progress: Called with the number of files that were scanned, and of all.
        nested: As for `scan_each`.

    Raises:
        UsageError: The path cannot be opened.
    """
    return _verdicts(path, allow_globals, limits, exclude, nested=nested, progress=progress)


def _sorted(path: str | os.PathLike[str], *options: Any, nested: int = 0) -> list[Verdict]:
    return sorted(_verdicts(path, *options, nested=nested), key=lambda verdict: verdict.path)


def _verdicts(
    path: str | os.PathLike[str],
    allowed: Collection[str],
    limits: Limits | None,
    left_out: Collection[str],
    *,
    nested: int,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[Verdict]:
    """The verdicts of `scan_stream`, of arguments that were checked."""
    ceilings, shown = limits or _DEFAULT, os.fspath(path)
    options = allowed, ceilings, nested
    if not is_url(path) and not Path(real := followed(path)).is_dir():
        yield _scan_file(real, shown, *options)[0]
        return
    with _listed(path, shown, left_out) as entries:
        yield from entries.verdicts
        whole = ceilings.budget(sum(max(each.size, FILE_BYTES) for each in entries.files.values()))
        each: dict[str, tuple[Verdict, Examination]] = {}
        for name in entries.files:
            place = shown if entries.single else f"{shown.rstrip('/')}/{name}"
            each[name] = _scan_entry(entries, name, place, *options, whole=whole)
            if each[name][0].format != Format.UNKNOWN:
                yield each[name][0]
            if progress is not None:
                progress(len(each), len(entries.files))
        yield from _of_unknown_format(each)
    if not each and not entries.verdicts:
        yield Verdict(path=shown, format=FOLDER, findings=(), unchecked=())


@contextlib.contextmanager
def _listed(
    path: str | os.PathLike[str], shown: str, exclude: Collection[str]
) -> Iterator[ScanEntries]:
    if is_url(path):
        from mlsecops.loading.scanning.remote import remote_entries  # noqa: PLC0415 - URLs only

        with remote_entries(shown, exclude=exclude) as entries:
            yield entries
    else:
        yield scan_entries(followed(path), shown=shown, exclude=exclude)


def _of_unknown_format(each: Mapping[str, tuple[Verdict, Examination]]) -> Iterator[Verdict]:
    data = tensor_data(each)
    for name, (verdict, _) in each.items():
        if verdict.format != Format.UNKNOWN:
            continue
        if name in data:  # another file reads it as numbers, in ranges that were checked there
            verdict = Verdict(  # noqa: PLW2901 - the verdict on the same file
                path=verdict.path, format=Format.TENSOR_DATA, findings=(), unchecked=()
            )
        yield verdict


def _scan_entry(
    entries: ScanEntries, name: str, place: str, *options: Any, whole: Budget
) -> tuple[Verdict, Examination]:
    """Scan a file of a folder; where it cannot be read, that is the verdict on it."""
    try:
        with entries.filled(name):
            return _scan_file(entries.files[name].path, place, *options, whole=whole)
    except (UsageError, ContentRefused) as error:
        return problem(place, error), Examination()


def _scan_file(
    path: str,
    name: str,
    allow: Collection[str],
    limits: Limits,
    nested: int,
    *,
    whole: Budget | None = None,
) -> tuple[Verdict, Examination]:
    """Scan a file within the budget of what it is part of, or within its own."""
    try:
        with opened(path, name=name) as source, spending(whole or limits.budget(source.size)):
            verdict, result = examine(source, allow_globals=allow, limits=limits, nested=nested)
    except ContentRefused as error:
        return _refused(name, "unknown", error), Examination()
    if not result.external:
        return verdict, result
    findings = verdict.findings + external_data_findings(path, name, result)
    return dataclasses.replace(verdict, findings=findings), result


def examine(
    source: Source, *, allow_globals: Collection[str], limits: Limits, nested: int = 0
) -> tuple[Verdict, Examination]:
    """Scan bytes that are held open; the caller checks other files that they refer to.

    Returns:
        The Verdict, and the scanner's own result with the names that a pickle imports.
    """
    found = Format.UNKNOWN
    try:
        tick(where=source.name)  # nothing is begun after the budget's end
        limits.require("file_bytes", source.size, where=source.name)
        found = detect(source)
        tick(where=source.name)
        require_agreement(source, found)
        if found in _ARCHIVES:
            result = _examine_archive(source, found, allow_globals, limits, nested)
        else:
            result = _examine(source, found, allow_globals, limits)
            if allow_globals:
                result |= _excepted(source, found, frozenset(allow_globals), limits, result)
    except ContentRefused as error:
        return _refused(source.name, found, error), Examination()
    except MissingExtra as error:
        result = not_checked(source.name, str(error))
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
    if found in _EMPTY:
        return Examination()
    if found in _DATA:
        return _scanner(_DATA[found])(source, limits)
    extra = frozenset(allow_globals)
    if row := _NAMED.get(found) or _PICKLED.get(found):
        return _scanner(row)(source, limits, extra)
    if found in FURTHER:
        return examine_further(source, found, limits, extra)
    if found not in _CODE:
        return not_checked(source.name, "no known format")
    name = _CODE[found]
    if name in extra:
        return not_checked(source.name, "code that was allowed by name and not analysed")
    advice = (
        f"if it is signed and audited, name it in allow_globals=[{name!r}] (--allow-global {name})"
    )
    message = f"{name} carries code; {advice}"
    return Examination(findings=(_finding("code-format", message, source.name),))


@functools.cache
def _scanner(row: str) -> Callable[..., Examination]:
    module, _, function = row.partition(":")
    found: Callable[..., Examination] = getattr(import_module(f"{_FORMATS}.{module}"), function)
    return found


def _excepted(
    source: Source, found: Format, names: frozenset[str], limits: Limits, result: Examination
) -> Examination:
    """Findings that only the caller's exceptions suppress, as information."""

    def key(finding: Finding) -> tuple[str, str, str]:
        return finding.rule, finding.where, finding.message

    kept = {key(each) for each in result.findings}

    def hidden_by(some: frozenset[str]) -> list[Finding]:
        without = _examine(source, found, names - some, limits).findings
        return [each for each in without if key(each) not in kept]

    hidden = hidden_by(names)
    if not hidden:
        return Examination()
    used = frozenset(name for name in names if hidden_by(frozenset({name})))
    return Examination(
        findings=tuple(
            dataclasses.replace(
                each,
                rule="allowed-by-name",
                severity=Severity.INFO,
                message=f"allowed by name: {each.message.partition(';')[0]}",
            )
            for each in hidden
        ),
        exceptions=used or names,  # two that cover the same are both named
    )


def _examine_archive(
    source: Source, found: Format, allow: Collection[str], limits: Limits, nested: int
) -> Examination:
    """Scan the files of an archive; their places are `archive!/entry`."""
    if nested >= MOST_NESTED:
        why = f"{nested} archives deep; unpack it and scan its files"
        return not_checked(source.name, why)
    with unpacked(source, found, limits=limits) as folder:
        each = _sorted(folder, allow, limits, (), nested=nested + 1)

    def place(path: str, times: int = 1) -> str:
        return path.replace(os.fspath(folder), f"{source.name}!", times)

    return Examination(
        findings=tuple(
            dataclasses.replace(
                finding,
                artifact=source.name,
                message=place(finding.message, -1),
                where=" ".join(filter(None, (place(finding.artifact), finding.where))),
            )
            for verdict in each
            for finding in verdict.findings
        ),
        unchecked=tuple(
            Unchecked(what=place(item.what), why=item.why)
            for verdict in each
            for item in verdict.unchecked
        ),
    )


def _refused(path: str, found: str, error: Exception) -> Verdict:
    if isinstance(error, ContentRefused):
        finding = refusal(error, artifact=path)
    else:
        message = f"the check failed: {type(error).__name__}: {error}"
        finding = _finding("check-failed", message, path)
    return Verdict(path=path, format=found, findings=(finding,), unchecked=())


def _finding(rule: str, message: str, artifact: str) -> Finding:
    return Finding(rule=rule, severity=Severity.HIGH, message=message, where="", artifact=artifact)
