"""Settings of a project, `mlsecops.toml`: its model, data, keys and gate.

folder → found model and data → settings → TOML text; `mlsecops.toml` → settings
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from mlsecops._bounded.toml import parse_toml
from mlsecops._choices import checked, several
from mlsecops.cli.inputs import read_text
from mlsecops.errors import UsageError
from mlsecops.loading.kinds import Format
from mlsecops.loading.verdict import Verdict

SETTINGS: Final = "mlsecops.toml"
"""Name of the settings file."""
NEEDS_CODE: Final = frozenset({Format.SAFETENSORS, Format.TORCH, Format.TORCH_LEGACY})
"""Formats that hold weights alone, so that the caller's program builds the model."""
_SKIPPED: Final = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__"})
_NOT_MODELS: Final = frozenset(
    {Format.COMPANION, Format.UNKNOWN, Format.PARQUET, Format.ARROW, Format.SQLITE, Format.NPY,
     Format.XML, Format.ZIP, Format.TAR, Format.COMPRESSED}
)  # fmt: skip
_TESTS: Final = ("test", "eval", "val", "holdout")  # first letters of a file's name
_DEPTH: Final = 3  # folders; chosen: deeper ones are caches and environments
_CHECKED: Final = 2000  # files; chosen: a folder with more is no project of one model


_EPS: Final = 0.05  # of inputs from 0 to 1; chosen: a radius to begin with
Radius: TypeAlias = "float | tuple[float, ...]"
"""A number for all values of an input, or one for each column of a table."""


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Settings of a project; paths are relative to its folder.

    Attributes:
        name: Name of the pipeline, and of the signed model.
        model: Model folder or file.
        evaluation: File with arrays x and y for the attacks, or "".
        architecture: Callable that builds the model (`"module:callable"`), or "".
        datasets: Name → path of each training data set.
        key: Private key.
        policy: Trust policy.
        eps: Radius of the attacks, in units of the input; of a table, that of each column, and 0
            where a column never changes.
        bounds: Smallest and largest input value; of a table, those of each column.
        tolerance: Largest error of a regression that is right, in the unit of y; 0 for classes.
        min_accuracy: Lowest accuracy under attack, 0 to 1.
        out: Folder of the deliverables.
        framework: Framework of the evidence map, or "".
    """

    name: str
    model: str
    evaluation: str = ""
    architecture: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    key: str = "release.pem"
    policy: str = "trust.toml"
    eps: Radius = _EPS
    bounds: tuple[Radius, Radius] = (0.0, 1.0)
    tolerance: float = 0.0
    min_accuracy: float = 0.7
    out: str = "deliverables"
    framework: str = "eu-ai-act"

    def to_toml(self) -> str:
        """The settings as TOML text."""
        values = asdict(self)
        datasets = values.pop("datasets")
        lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
        lines += ["", "[datasets]", *(f"{_toml(k)} = {_toml(v)}" for k, v in datasets.items())]
        return "\n".join(lines) + "\n"


def read_project(folder: Path) -> Project | None:
    """Settings of a folder; None where it has none.

    Raises:
        UsageError: The file is malformed, or holds an unknown setting.
    """
    place = folder / SETTINGS
    if not place.is_file():
        return None
    try:
        value = parse_toml(read_text(place), what=str(place), error=ValueError)
        low, high = map(_numbers, value.pop("bounds", (0.0, 1.0)))
        eps = _numbers(value.pop("eps", _EPS))
        project = Project(**value, bounds=(low, high), eps=eps)
        several("datasets", project.datasets.values(), "paths", str)
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{place}: expected the settings that mlsecops init wrote: {error}") from (
            error
        )
    return project


def find_model(folder: Path, *, data: Iterable[Path] = ()) -> Path:
    """The one model in a folder: a file, or the folder that holds its files.

    Args:
        folder: The project's folder.
        data: Files and folders that are data.

    Raises:
        UsageError: There is none, or several.
    """
    excluded = [each.resolve() for each in data]
    kinds = {
        path: kind
        for path in _files(folder)
        if not any(path.resolve().is_relative_to(each) for each in excluded)
        and (kind := _format(path))
    }
    sure = [path for path, kind in kinds.items() if kind is not Format.NPZ]
    found = sorted({_whole(path, folder) for path in sure or kinds})
    if len(found) != 1:
        listed = ", ".join(str(each.relative_to(folder)) for each in found[:5]) or "none"
        raise UsageError(f"{folder}: expected one model, got {listed}; name it with --model M")
    return found[0]


def find_evaluation(folder: Path) -> Path | None:
    """The one `.npz` file with arrays x and y, or the one that is named a test; None without any.

    Raises:
        UsageError: There are several.
    """
    found = [path for path in _files(folder) if path.suffix == ".npz" and _has_samples(path)]
    tests = [path for path in found if path.stem.lower().startswith(_TESTS)]
    if len(tests) == 1:
        return tests[0]
    if len(found) > 1:
        listed = ", ".join(str(each.relative_to(folder)) for each in found[:5])
        raise UsageError(f"{folder}: expected one file with x and y, got {listed}; name it with "
                         "--evaluation D.npz")  # fmt: skip
    return found[0] if found else None


def is_weights_alone(model: Path) -> bool:
    """Whether a model's files hold tensors, and nothing that says how to compute with them."""
    kinds = {_format(each) for each in (_files(model) if model.is_dir() else [model])} - {None}
    return bool(kinds) and kinds <= NEEDS_CODE


def scanned(model: Path) -> Verdict:
    """Verdict on the model file of a path."""
    from mlsecops.loading import scan  # noqa: PLC0415 - reading settings scans nothing

    return scan(model)


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        for each in sorted(place.iterdir()):
            if each.is_symlink() or each.name in _SKIPPED:
                continue
            if each.is_dir() and depth < _DEPTH:
                waiting.append((each, depth + 1))
            elif each.is_file():
                found.append(each)
            if len(found) > _CHECKED:
                raise UsageError(f"{folder}: over {_CHECKED} files; name the model with --model M")
    return found


def _format(path: Path) -> Format | None:
    """Format of a model file; None of other files, and of data with x and y."""
    if path.suffix in {".py", ".pem", ".sig", ".csv"}:
        return None
    from mlsecops.loading.detection import detect  # noqa: PLC0415 - as above
    from mlsecops.loading.snapshot import opened  # noqa: PLC0415 - as above

    with opened(path, name=path.name) as source:
        found = detect(source)
    data = found is Format.NPZ and _has_samples(path)
    return None if found in _NOT_MODELS or data else found


def _whole(path: Path, root: Path) -> Path:
    """The folder of a model file, unless it lies in the project's own folder."""
    return path if path.parent == root else path.parent


def _has_samples(path: Path) -> bool:
    import zipfile  # noqa: PLC0415 - as above

    try:
        with zipfile.ZipFile(path) as archive:
            return {"x.npy", "y.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _numbers(value: Any) -> Radius:
    """A number, or one for each column.

    Raises:
        TypeError: It is something else.
        ValueError: As above.
    """
    if isinstance(value, str):
        raise TypeError(f"expected a number, got {value[:40]!r}")
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _toml(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # JSON allows it, TOML 1.0 demands the escape
