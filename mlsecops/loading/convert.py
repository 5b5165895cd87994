"""Conversion of an untrusted pickle to safetensors in a confined child process.

path → sealed snapshot → confined child (`sandbox.convert_main`) → sealed answer → scan → file

It runs on request only, never as a fallback, and only on Linux 5.13 or newer on x86-64 or 64-bit
ARM with Landlock and seccomp; signals, sockets and `ioctl`, which Landlock confines from later
versions on only, are denied by seccomp. The result is scanned like any file, and it is not signed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, LimitExceeded, UsageError
from mlsecops.loading.detection import Format, detect
from mlsecops.loading.formats.safetensors import examine_safetensors
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source, snapshot
from mlsecops.provenance import Digest
from mlsecops.provenance.files.opening import followed

CONVERTIBLE: Final = frozenset({Format.TORCH, Format.TORCH_LEGACY, Format.PICKLE, Format.JOBLIB})
_CHILD: Final = "mlsecops.loading.sandbox.convert_main"
_MACHINES: Final = ("x86_64", "aarch64")
_WORD: Final = 2**63 - 1  # largest index of a 64-bit process
_SHOWN: Final = 300  # bytes; chosen: the last line of a traceback fits
_HEARD: Final = 1 << 16  # bytes of standard error; chosen: a hostile child may write without end


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Result of a conversion.

    Attributes:
        path: The safetensors file.
        source: Digest of the converted pickle.
        format: Format of that pickle.
        size: Bytes written.
    """

    path: str
    source: Digest
    format: str
    size: int


def convert(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    memory_bytes: int = 4 << 30,
    seconds: float = 120,
    limits: Limits | None = None,
) -> Converted:
    """Unpickle a file in a confined child and keep its tensors as safetensors.

    Args:
        path: A pickle, joblib or torch file; it may be hostile.
        out: The safetensors file to write; it must not exist.
        memory_bytes: Largest memory of the child beyond its libraries, and of its answer.
        seconds: Longest wall time of the child.
        limits: Ceilings of the file and of the result; the defaults otherwise.

    Raises:
        UsageError: This system cannot confine a process, or `out` exists.
        MissingExtra: A package of the `sandbox` extra is not installed.
        FormatRefused: The file is no pickle, or the child failed.
        LimitExceeded: The child took too long.
    """
    require_confinement()
    ceilings, target = limits or Limits(), Path(out)
    if target.exists():
        raise UsageError(f"{target} exists; name a file that does not")
    name = os.fspath(path)
    real = followed(path)
    with snapshot({name: real}, tier="sealed", algorithm="sha256", limits=ceilings) as held:
        source = held.sources[name]
        found = detect(source)
        if found not in CONVERTIBLE:
            raise FormatRefused(
                f"{name}: {found} is not converted: expected one of "
                f"{', '.join(sorted(CONVERTIBLE))}"
            )
        with _answer(name) as descriptor:
            _run(source, found, descriptor, memory_bytes, seconds)
            size = _keep(descriptor, target, ceilings)
        return Converted(path=str(target), source=held.digests[name], format=found, size=size)


def require_confinement() -> None:
    """Demand that a process can be confined here.

    Raises:
        UsageError: The system is not Linux, or has another processor, no Landlock or no seccomp.
        MissingExtra: A package of the `sandbox` extra is not installed.
    """
    if sys.platform != "linux":
        raise UsageError("a pickle is converted on Linux only: no other system can confine it")
    if platform.machine() not in _MACHINES or sys.maxsize != _WORD:
        raise UsageError(
            f"a pickle is not converted here: expected a processor of {', '.join(_MACHINES)} and "
            f"64 bits, whose calls the filter knows, got {platform.machine()}; convert it there"
        )
    if "errno" not in _seccomp_actions():
        raise UsageError(
            "a pickle is not converted here: seccomp is missing; use a kernel with "
            "CONFIG_SECCOMP_FILTER"
        )
    landlock = require("py_landlock")
    require("pyseccomp")
    try:
        landlock.get_abi_version()
    except landlock.LandlockError as error:
        raise UsageError(
            f"a pickle is not converted here: Landlock is missing ({error}); use a kernel of 5.13 "
            "or newer with Landlock switched on"
        ) from error


def _seccomp_actions() -> list[str]:
    try:
        return Path("/proc/sys/kernel/seccomp/actions_avail").read_text(encoding="ascii").split()
    except OSError:
        return []


@contextlib.contextmanager
def _answer(name: str) -> Iterator[int]:
    """An empty file in memory that the child may write."""
    descriptor = os.memfd_create(f"answer-{len(name)}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _run(source: Source, found: Format, target: int, memory: int, seconds: float) -> None:
    script = find_spec(_CHILD)
    if script is None or script.origin is None:
        raise UsageError(f"{_CHILD} is not installed as a file")
    with source.stream() as stream:
        passed = stream.fileno(), target
        words = [sys.executable, "-I", "-B", script.origin, found, *map(str, (*passed, memory))]
        status, said = _watched(words, passed, seconds, where=source.name)
    if status != 0:
        raise FormatRefused(
            f"{source.name}: the confined child failed with status {status}: {_printable(said)}"
        )


def _watched(
    words: list[str], passed: tuple[int, ...], seconds: float, *, where: str
) -> tuple[int, bytes]:
    """Run the child; return its status and the first `_HEARD` bytes of its standard error."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and script
        words, env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, pass_fds=passed,
    ) as child:  # fmt: skip
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            said = child.stderr.read(_HEARD) if child.stderr else b""
            if len(said) == _HEARD:
                child.kill()
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
    if late.is_set():
        raise LimitExceeded(f"{where}: not converted within {seconds} seconds")
    return status, said


def _printable(data: bytes) -> str:
    """Last line of untrusted output, in printable ASCII."""
    return ascii(data[-_SHOWN:].decode("utf-8", "replace").strip().rpartition("\n")[2])


def _keep(descriptor: int, target: Path, limits: Limits) -> int:
    """Seal the child's answer, scan it, and write it to the target."""
    import fcntl  # noqa: PLC0415 - Linux only

    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError as error:  # the kernel seals nothing that is mapped for writing
        raise FormatRefused(
            f"{target}: expected an answer that nobody can write any more, got one that a process "
            f"still maps ({error.strerror}); the file is hostile"
        ) from error
    size = os.fstat(descriptor).st_size
    made = Source(name=str(target), path=f"/proc/self/fd/{descriptor}", size=size)
    examine_safetensors(made, limits)
    with made.stream() as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    return size
