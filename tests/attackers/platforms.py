"""A process without the calls that macOS or Windows lacks, in which the SDK is used.

Run as a script: `python platforms.py darwin|win32 FOLDER` prints what failed, as JSON. Libraries
are imported before, since theirs are compiled for this system; the SDK's own modules after.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - it looks at the platform while it is imported, as those below do
import builtins
import concurrent.futures
import http.server  # noqa: F401
import importlib
import io
import json
import multiprocessing  # noqa: F401
import os
import pickle
import pkgutil
import shutil
import signal
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import httpx  # noqa: F401
import joblib
import numpy as np
import rich.console  # noqa: F401
import safetensors.numpy
import torch  # noqa: F401
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: F401
from sklearn.linear_model import LogisticRegression

LINUX = (
    "memfd_create", "MFD_CLOEXEC", "MFD_ALLOW_SEALING", "sched_getaffinity", "posix_fadvise",
    "POSIX_FADV_WILLNEED", "O_TMPFILE", "O_PATH", "pidfd_open", "eventfd", "copy_file_range",
    "getrandom",
)  # fmt: skip
"""Names of `os` that macOS lacks."""
POSIX = (
    "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "register_at_fork", "fork", "pread",
    "preadv", "pwrite", "fchmod", "fchown", "chown", "getuid", "geteuid", "getgid", "getegid",
    "sysconf", "killpg", "setsid", "getpgid", "mkfifo", "getgroups", "posix_spawn",
)  # fmt: skip
"""Names of `os` that Windows lacks besides."""
SIGNALS = ("SIGKILL", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGURG", "SIGIO", "setitimer", "alarm")
MODULES = {"fcntl", "resource", "grp", "pwd", "termios", "pty", "tty"}
LEASES = ("F_SETLEASE", "F_GETLEASE", "F_SETSIG", "F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_WRITE")
CHILDREN = ("convert_main", "worker_main", "hdf5_reader", "__main__")
"""Programs of the sandbox, which run on Linux alone."""


def take_away(platform: str) -> None:
    """Make this process lack what the platform lacks."""
    for name in (*LINUX, *(POSIX if platform == "win32" else ())):
        if hasattr(os, name):
            delattr(os, name)
    if platform == "win32":
        _as_windows()
    else:
        import fcntl  # noqa: PLC0415 - the test of Windows takes it away

        for name in filter(lambda each: hasattr(fcntl, each), LEASES):
            delattr(fcntl, name)
    for owner, name in ((os, "open"), (os, "stat"), (os, "readlink"), (builtins, "open")):
        setattr(owner, name, _without_proc(getattr(owner, name)))
    io.open = builtins.open  # type: ignore[misc]
    sys.platform = platform


def _without_proc(call: Callable[..., Any]) -> Callable[..., Any]:
    def answer(path: Any, *args: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return call(path, *args, **options)

    return answer


def _as_windows() -> None:
    for name in filter(lambda each: hasattr(signal, each), SIGNALS):
        delattr(signal, name)
    opened, listed, looked = os.open, os.scandir, os.stat

    def without_folders(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, mode)

    def by_path(path: Any = ".") -> Any:
        if isinstance(path, int):
            raise TypeError("scandir: path should be string, bytes, os.PathLike or None, not int")
        return listed(path)

    def not_relative(path: Any, *, dir_fd: Any = None, follow_symlinks: bool = True) -> Any:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return looked(path, follow_symlinks=follow_symlinks)

    os.open, os.scandir, os.stat = without_folders, by_path, not_relative  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Absent())


class _Absent:
    """Finder that finds none of `MODULES`."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def not_imported() -> list[str]:
    """Modules of the SDK that cannot be imported, and why."""
    import mlsecops  # noqa: PLC0415 - after the calls are gone

    failed = []
    for each in pkgutil.walk_packages(mlsecops.__path__, "mlsecops."):
        if each.name.endswith(CHILDREN):
            continue
        try:
            importlib.import_module(each.name)
        except mlsecops.MissingExtra:
            pass
        except Exception as error:  # noqa: BLE001 - each kind is a failure
            failed.append(f"{each.name}: {error!r}")
    failed += [name for name in dir(mlsecops) if getattr(mlsecops, name, None) is None]
    return failed


def outcomes(folder: Path) -> dict[str, str]:
    """What each use gives: a value, or the name and message of an error."""
    import mlsecops as m  # noqa: PLC0415 - after the calls are gone
    from mlsecops.cli import main  # noqa: PLC0415
    from mlsecops.loading.convert import convert  # noqa: PLC0415
    from mlsecops.robustness import Square  # noqa: PLC0415

    os.chdir(folder)
    x = np.random.default_rng(0).random((80, 4))
    y = (x[:, 0] > 0.5).astype(int)
    model = LogisticRegression().fit(x, y)
    Path("tree/below").mkdir(parents=True)
    joblib.dump(model, "tree/model.joblib")
    Path("tree/below/config.json").write_text("{}")
    safetensors.numpy.save_file({"a": x.astype("float32")}, "one.safetensors")
    np.savez("one.npz", x=x)
    Path("links").mkdir()
    Path("links/link").symlink_to(folder / "one.npz")
    Path("large").write_bytes(bytes(9 << 20))
    Path("plain.pkl").write_bytes(pickle.dumps({"a": [1.0]}))
    signer = m.Signer.generate("p256")
    policy = m.TrustPolicy(keys=[signer.public_key])

    def publish(location: str) -> object:
        registry = m.Registry(location, signer=signer, policy=policy)
        return registry.publish("model", "tree").version

    def watch() -> object:
        seen = m.Baseline.fit(x, model.predict_proba(x), y)
        call = m.monitored("m", baseline=seen)(model.predict_proba)
        call(x)
        call.monitor.flush(10)
        state = call.monitor.snapshot()
        call.monitor.close()
        return state.calls == state.processed

    def deliver() -> object:
        pipeline = m.SecurePipeline(name="a", model="tree", policy=policy)
        return "index.html" in pipeline.deliver("out").files

    def load(path: str, tier: str) -> object:
        return m.SecureLoader(policy, tier=tier).load(path).tier  # type: ignore[arg-type]

    def hold() -> object:
        with m.SecureLoader(policy).hold("tree") as held:
            return Path(held.folder, "below/config.json").read_text()

    uses: dict[str, Callable[[], object]] = {
        **{f"sign {path}": lambda path=path: bool(m.sign(path, signer))  # type: ignore[misc]
           for path in ("tree", "one.safetensors", "one.npz")},
        **{f"load {path} {tier}": lambda path=path, tier=tier: load(path, tier)  # type: ignore[misc]
           for path in ("tree", "one.safetensors", "one.npz")
           for tier in ("sealed", "pinned", "private-copy")},
        "scan": lambda: m.scan("tree").refused,
        "hold": hold,
        "link": lambda: m.hash_path("links"),
        "large": lambda: m.hash_path("large").root.algorithm,
        "cache": lambda: m.hash_path("tree", cache="digests").root.algorithm,
        "folder registry": lambda: publish("registry"),
        "memory registry": lambda: publish("memory://"),
        "monitor": watch,
        "attack": lambda: m.evaluate_robustness(
            model, x, y, [Square(eps=0.01, queries=5)], checks=False
        ).n,
        "deliver": deliver,
        "convert": lambda: convert("plain.pkl", "out.safetensors"),
        "command": lambda: main(["hash", "tree", "--out", "sums"]),
    }  # fmt: skip
    return {name: _outcome(use, m.MLSecOpsError) for name, use in uses.items()}


def _outcome(use: Callable[[], object], own: type[Exception]) -> str:
    try:
        return str(use())
    except own as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - told as what it is
        return f"not our error: {error!r}"


if __name__ == "__main__":
    kept = concurrent.futures, zipfile  # imported before
    take_away(sys.argv[1])
    found = {"not imported": not_imported(), "uses": outcomes(Path(sys.argv[2]))}
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # libraries' exit handlers are of the system that they were built for
