"""Step 5: load what verifies, and see three attacks refused before anything is deserialised."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlsecops.demo.release_stage import Release
from mlsecops.demo.scene import DemoContext, NotRefused, refusal
from mlsecops.loading import LoadedModel, SecureLoader, scan
from mlsecops.registry import Registry
from mlsecops.signing import SIGNATURE_NAME, sign


class PrintsWhenLoaded:
    """A payload: unpickling it prints one harmless line."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("this line must never appear: a pickle was executed",)


def load_release(scene: DemoContext, registry: Registry, release: Release) -> LoadedModel:
    """Load the release, then a tampered copy, an unsigned copy and a malicious pickle."""
    with scene.step(5, "Verified loading, and three attacks on it") as tell:
        loader = SecureLoader(scene.policy, isolation=registry)
        loaded = scene.network.load(loader, release.folder)
        tell("loaded", f"{loaded.format}, {loaded.tier}, {loaded.digest.short}")
        with _copy(scene, release.folder) as copy:
            _flip_middle_byte(copy)
            error = refusal("a tampered model", lambda: scene.network.load(loader, copy))
            tell("tampered copy", scene.brief(error))
        with _copy(scene, release.folder) as copy:
            (copy / SIGNATURE_NAME).unlink()
            error = refusal("an unsigned model", lambda: scene.network.load(loader, copy))
            tell("unsigned copy", scene.brief(error))
        tell("malicious pickle", _malicious_pickle(scene, loader))
    return loaded


def _malicious_pickle(scene: DemoContext, loader: SecureLoader) -> str:
    """Signed by the trusted key, so that only its content can refuse it."""
    folder = scene.out / "malicious"
    folder.mkdir()
    try:
        (folder / "model.pkl").write_bytes(pickle.dumps(PrintsWhenLoaded()))
        sign(folder, scene.signer)
        verdict = scan(folder / "model.pkl")
        error = refusal("a malicious pickle", lambda: loader.load(folder))
    finally:
        shutil.rmtree(folder)
    if not verdict.refused:
        raise NotRefused("the scan passed a malicious pickle: a control is broken; please report")
    return scene.brief(error)


@contextmanager
def _copy(scene: DemoContext, folder: Path) -> Iterator[Path]:
    copy = scene.out / "copy"
    shutil.copytree(folder, copy)
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def _flip_middle_byte(folder: Path) -> None:
    [target] = [path for path in folder.iterdir() if path.name != SIGNATURE_NAME]
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
