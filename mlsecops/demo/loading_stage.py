"""Step 5: verified loading, and three attacks refused before deserialisation."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlsecops.demo.context import DemoContext, NotRefused, refusal
from mlsecops.demo.release_stage import Release
from mlsecops.loading import LoadedModel, SecureLoader, scan
from mlsecops.registry import Registry
from mlsecops.signing import SIGNATURE_NAME, sign


class PrintsWhenLoaded:
    """Harmless payload that prints a line if it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("this line must never appear: a pickle was executed",)


def load_release(context: DemoContext, registry: Registry, release: Release) -> LoadedModel:
    """Load the release, then try a tampered copy, an unsigned copy and a malicious pickle."""
    with context.step(5, "Verified loading, and three attacks on it") as fact:
        loader = SecureLoader(context.policy, isolation=registry)
        loaded = context.network.load(loader, release.folder)
        fact("loaded", f"{loaded.format}, {loaded.tier}, {loaded.digest.short}")
        with _copy(context, release.folder) as copy:
            _flip_middle_byte(copy)
            error = refusal("a tampered model", lambda: context.network.load(loader, copy))
            fact("tampered copy", context.brief(error))
        with _copy(context, release.folder) as copy:
            (copy / SIGNATURE_NAME).unlink()
            error = refusal("an unsigned model", lambda: context.network.load(loader, copy))
            fact("unsigned copy", context.brief(error))
        fact("malicious pickle", _malicious_pickle(context, loader))
    return loaded


def _malicious_pickle(context: DemoContext, loader: SecureLoader) -> str:
    """Try a pickle signed by the trusted key, which only its content can get refused."""
    folder = context.out / "malicious"
    folder.mkdir()
    try:
        (folder / "model.pkl").write_bytes(pickle.dumps(PrintsWhenLoaded()))
        sign(folder, context.signer)
        verdict = scan(folder / "model.pkl")
        error = refusal("a malicious pickle", lambda: loader.load(folder))
    finally:
        shutil.rmtree(folder)
    if not verdict.refused:
        raise NotRefused("the scan passed a malicious pickle: a control is broken; please report")
    return context.brief(error)


@contextmanager
def _copy(context: DemoContext, folder: Path) -> Iterator[Path]:
    copy = context.out / "copy"
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
