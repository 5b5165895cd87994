"""Environment of a training run: git commit, dirty tree, platform, seeds, devices."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

ALLOWED_VARIABLES: Final = (
    "CI",
    "CUDA_VISIBLE_DEVICES",
    "KERAS_BACKEND",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "SOURCE_DATE_EPOCH",
    "TF_DETERMINISTIC_OPS",
)
"""Environment variables that affect a result; no others are recorded."""

_GIT: Final = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_FRAMEWORKS: Final = ("torch", "tensorflow", "keras", "sklearn", "numpy")


def code_descriptor(folder: Path) -> dict[str, Any]:
    """Resource descriptor of the code in a folder (SLSA `resolvedDependencies`).

    The tree is dirty if tracked files differ from the commit, if there are untracked files that git
    does not ignore, or if there is no commit. Without a commit the running script is identified by
    its digest, if it lies in the folder.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {
            "name": "code",
            **_script(folder),
            "annotations": {"dirty": True, "vcs": "none"},
        }
    status = _git(folder, "status", "--porcelain", "--untracked-files=normal")
    descriptor: dict[str, Any] = {
        "name": "code",
        "digest": {"gitCommit": commit},
        "annotations": {"dirty": status != "", "vcs": "git"},
    }
    remote = _public(_git(folder, "config", "--get", "remote.origin.url") or "")
    return {**descriptor, "uri": f"git+{remote}@{commit}"} if remote else descriptor


def _script(folder: Path) -> dict[str, Any]:
    """Digest of the running script, or a URI that says that the code is not known."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        path = Path(script or "").resolve()
        if script is not None and path.is_relative_to(folder.resolve()):
            return {"digest": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    except OSError:
        pass
    return {"uri": "urn:mlsecops:code:unversioned"}


def code_folder() -> Path:
    """Folder of the running code: the current one if it is in a repository, else the script's."""
    here = Path.cwd()
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None or _git(here, "rev-parse", "--git-dir") is not None:
        return here
    return Path(script).resolve().parent


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(  # noqa: S603 - a fixed program with fixed options
            [*_GIT, "-C", os.fspath(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _public(remote: str) -> str:
    """A remote without user and password; empty where they cannot be separated."""
    try:
        parts = urlsplit(remote)
        if parts.hostname is None:
            return remote.rpartition("@")[2]
        host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def platform_facts() -> dict[str, Any]:
    """Interpreter, machine, frameworks already imported, and allowed environment variables."""
    frameworks = {
        name: str(getattr(sys.modules[name], "__version__", "unknown"))
        for name in _FRAMEWORKS
        if name in sys.modules
    }
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "frameworks": frameworks,
        "environment": {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ},
    }


def framework_facts() -> dict[str, Any]:
    """Seeds and devices of the frameworks that this process has already imported."""
    seeds, devices = {}, {}
    torch = sys.modules.get("torch")
    if torch is not None:
        seeds["torch"] = _told(torch.initial_seed)
        devices["torch"] = _told(lambda: _torch_device(torch))
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        eager = sys.modules.get("tensorflow.python.eager.context")
        seeds["tensorflow"] = _told(lambda: None if eager is None else eager.global_seed())
        devices["tensorflow"] = _told(
            lambda: ", ".join(
                device.device_type for device in tensorflow.config.get_visible_devices()
            )
        )
    return {"seeds": _known(seeds), "devices": _known(devices)}


def _torch_device(torch: Any) -> str:
    """Accelerator in use; a query of an unused one would initialise it."""
    if not torch.cuda.is_initialized():
        return "cpu"
    return f"cuda: {torch.cuda.get_device_name()}"


def _told(ask: Callable[[], object]) -> str | None:
    """Answer of a framework as text, since seeds exceed the range of a JSON number."""
    try:
        answer = ask()
    except Exception:  # noqa: BLE001 - a failure of the framework must not fail the training
        return None
    return None if answer is None else str(answer)


def _known(facts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: fact for name, fact in facts.items() if fact is not None}
