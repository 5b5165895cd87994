"""Model files that packages on the package index ship: refused, unchecked and passed ones.

`published_models.tsv` → wheels and sdists (downloaded once, into `.cache`) → their model files →
`scan` → a row for each package and each file that did not pass. Nothing is installed or imported.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mlsecops.loading import Verdict, scan_each

HERE = Path(__file__).parent
CACHE = HERE / ".cache" / "published"
MODELS = frozenset(
    {".bin", ".caffemodel", ".cbm", ".ckpt", ".data", ".ftz", ".gguf", ".h5", ".hdf5", ".index",
     ".joblib", ".keras", ".mlmodel", ".model", ".msgpack", ".npy", ".npz", ".onnx", ".pb",
     ".pickle", ".pkl", ".plzma", ".pmml", ".pt", ".pth", ".pte", ".safetensors", ".tar", ".tflite",
     ".ubj"}
)  # fmt: skip
"""Suffixes of model files; what lies in a SavedModel or a Core ML package is one, too."""
PARTS = frozenset({"variables", "weights"})


def packages() -> list[tuple[str, str, str]]:
    """Name, version and licence of each package."""
    lines = (HERE / "published_models.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(name, version, licence) for name, version, licence in rows]


def fetched(name: str, version: str) -> Path | None:
    """The distribution of a package, from the cache or the index; None where there is none."""
    folder = CACHE / f"{name}-{version}"
    if not folder.exists():
        folder.mkdir(parents=True)
        for binary in ("--only-binary=:all:", "--no-binary=:all:"):
            words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                     "--disable-pip-version-check", "--no-build-isolation", binary,
                     "--dest", str(folder), f"{name}=={version}"]  # fmt: skip
            if subprocess.run(words, check=False, capture_output=True).returncode == 0:
                break
    return next((p for p in sorted(folder.iterdir()) if p.is_file()), None)


def members(distribution: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each model file of a distribution."""
    if distribution.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(distribution) as archive:
            for name in filter(is_model, archive.namelist()):
                yield name, archive.read(name)
    else:
        with tarfile.open(distribution) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and is_model(member.name):
                    yield member.name, content.read()


def is_model(name: str) -> bool:
    """Whether a name is that of a model file."""
    path = PurePosixPath(name)
    if name.endswith("/") or ".dist-info" in name or ".egg-info" in name:
        return False
    return path.suffix.lower() in MODELS or bool(PARTS & set(path.parts)) or (
        ".data-0" in path.name
    )  # fmt: skip


def outcome_of(verdict: Verdict) -> str:
    """Outcome of a scan; a pickle of classes that are on no list is refused by their names."""
    if verdict.refused:
        named = all(each.rule == "pickle-global" for each in verdict.findings)
        return "refused by name" if named else "refused"
    return "unchecked" if verdict.unchecked else "passed"


def main() -> None:
    """Scan every package's files and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages, by default all")
    wanted = parser.parse_args().names
    total: Counter[str] = Counter()
    for name, version, licence in packages():
        if wanted and name not in wanted:
            continue
        distribution = fetched(name, version)
        if distribution is None:
            print(f"{name} {version}: no distribution could be had")
            continue
        folder = CACHE / f"{name}-{version}" / "models"
        for member, data in members(distribution):
            place = folder / member
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        if not folder.exists():
            print(f"{name} {version} ({licence}): no model files")
            continue
        counts: Counter[str] = Counter()
        for verdict in scan_each(folder):
            outcome = outcome_of(verdict)
            counts[outcome] += 1
            if outcome != "passed":
                why = [f.message for f in verdict.findings] or [u.why for u in verdict.unchecked]
                shown = why[0].replace(str(folder), "")[:160]
                print(f"    {outcome}: {verdict.path.removeprefix(str(folder))[1:]}: {shown}")
        total += counts
        print(f"{name} {version} ({licence}): {dict(counts)}", flush=True)
    print(f"in all: {dict(total)} of {sum(total.values())} files")


if __name__ == "__main__":
    main()
