"""A confined child with a hostile pickle: it may compute, and hand tensors back."""

import fcntl
import mmap
import os
import pickle
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.cli import main
from mlsecops.errors import FormatRefused, LimitExceeded, MissingExtra, UsageError
from mlsecops.loading import Limits, scan
from mlsecops.loading import convert as convert_module
from mlsecops.loading.convert import convert
from mlsecops.loading.formats.safetensors import examine_safetensors
from tests.attackers import owner_signals

landlock = pytest.importorskip("py_landlock")
pytest.importorskip("pyseccomp")
joblib = pytest.importorskip("joblib")
safetensors_numpy = pytest.importorskip("safetensors.numpy")


class Call:
    """Calls something when it is unpickled."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        self.made = target, arguments

    def __reduce__(self) -> Any:
        return self.made


def test_tensors_of_a_refused_torch_file_come_out_as_safetensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.numpy import load_file  # noqa: PLC0415 - an optional package

    file, out = tmp_path / "m.pt", tmp_path / "m.safetensors"
    torch.save({"net": torch.nn.Linear(3, 2), "x": Call(str.upper, "a")}, file)
    assert scan(file).refused
    made = convert(file, out)
    assert {k: v.shape for k, v in load_file(out).items()} == {
        "net.weight": (2, 3),
        "net.bias": (2,),
    }
    assert made.size == out.stat().st_size
    assert scan(out).findings == ()


def test_arrays_of_a_joblib_file_come_out_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import load_file  # noqa: PLC0415 - an optional package

    file, out = tmp_path / "m.joblib", tmp_path / "m.safetensors"
    joblib.dump({"w": [np.arange(6.0).reshape(2, 3).T], "x": Call(str, "a")}, file, compress=3)
    assert main(["convert", str(file), "--out", str(out)]) == 0
    assert "unsigned" in capsys.readouterr().out
    np.testing.assert_array_equal(load_file(out)["w.0"], np.arange(6.0).reshape(2, 3).T)
    assert main(["convert", str(file), "--out", str(out)]) == 2


REACHES = {
    "make a folder": lambda trace: Call(os.mkdir, trace),
    "run a program": lambda trace: Call(os.system, f"mkdir {trace}"),
    "write a file": lambda trace: Call(open, trace, "w"),
    "read a file": lambda _: Call(open, "/etc/passwd"),
    "read its own settings": lambda _: Call(open, "/proc/self/environ"),
    "start a process": lambda _: Call(os.fork),
    "signal a process": lambda _: Call(os.kill, os.getpid(), 0),
    "open a connection": lambda _: Call(socket.socket),
    "own a descriptor's signals": lambda _: Call(fcntl.fcntl, 2, fcntl.F_SETOWN, os.getpid()),
    "name the owner in a structure": lambda _: Call(
        fcntl.fcntl, 2, owner_signals.F_SETOWN_EX, owner_signals.owner(os.getpid())
    ),
    "choose the signal": lambda _: Call(fcntl.fcntl, 2, owner_signals.F_SETSIG, 15),
    "switch signals on": lambda _: Call(fcntl.fcntl, 2, fcntl.F_SETFL, os.O_ASYNC),
    "take a lease": lambda _: Call(fcntl.fcntl, 2, fcntl.F_SETLEASE, fcntl.F_RDLCK),
    "watch a folder": lambda _: Call(fcntl.fcntl, 2, owner_signals.F_NOTIFY, 1),
    "lock a file": lambda _: Call(fcntl.lockf, 2, fcntl.LOCK_EX),
    "own signals by ioctl": lambda _: Call(
        fcntl.ioctl, 2, owner_signals.FIOSETOWN, owner_signals.owner(os.getpid())[4:]
    ),
    "switch signals on by ioctl": lambda _: Call(
        fcntl.ioctl, 2, owner_signals.FIOASYNC, b"\1\0\0\0"
    ),
    "own a socket's signals by ioctl": lambda _: Call(
        fcntl.ioctl, 2, owner_signals.SIOCSPGRP, owner_signals.owner(os.getpid())[4:]
    ),
    "type into a terminal": lambda _: Call(fcntl.ioctl, 2, owner_signals.TIOCSTI, b"x"),
    "poison memory": lambda _: Call(mmap.mmap.madvise, Call(mmap.mmap, -1, 4096), 100),
    "take all memory": lambda _: Call(bytearray, 1 << 36),
}


@pytest.mark.parametrize("name", sorted(REACHES))
def test_the_child_cannot(tmp_path: Path, name: str) -> None:
    file, out, trace = tmp_path / "m.pkl", tmp_path / "out.safetensors", tmp_path / "ran"
    file.write_bytes(pickle.dumps(REACHES[name](str(trace))))
    with pytest.raises(
        FormatRefused, match=r"not permitted|denied|MemoryError|no tensors|Inappropriate ioctl"
    ):
        convert(file, out)
    assert not trace.exists()
    assert not out.exists()


@pytest.mark.parametrize("name", sorted(owner_signals.attempts(0)))
def test_a_confined_process_makes_the_kernel_signal_nobody(name: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as victim:
        attempt = owner_signals.attempts(victim.pid)[name]
        code = f"""
import ctypes, fcntl, os, time
libc = ctypes.CDLL(None, use_errno=True)
from mlsecops.loading.sandbox import convert_main
{owner_signals.OLDER_KERNEL}
convert_main.confine(1 << 30)
convert_main.require_confined()
try:
    {attempt}
except OSError:
    pass
for _ in range(10):
    os.write(2, b"x")
    time.sleep(0.05)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=False,
        )
        alive = victim.poll() is None
        victim.kill()
    assert alive
    assert done.stderr == b"x" * 10, done.stderr[-500:]


@pytest.mark.parametrize(
    "broken",
    [
        "lambda s: [('fcntl',), *keep(s)]",
        "lambda s: [('fcntl', s.Arg(1, s.EQ, 8)), *keep(s)]",
        "lambda s: [('fcntl', s.Arg(1, s.EQ, 4)), *keep(s)]",
    ],
)
def test_a_filter_without_arguments_is_noticed(broken: str) -> None:
    code = f"""
from mlsecops.loading.sandbox import convert_main
keep = convert_main._by_argument
convert_main._by_argument = {broken}
convert_main.confine(1 << 30)
convert_main.require_confined()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "not confined" in done.stderr


def test_a_confined_process_may_still_set_what_is_its_own() -> None:
    code = """
import fcntl, mmap, os
from mlsecops.loading.sandbox import convert_main
convert_main.confine(1 << 30)
convert_main.require_confined()
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)
os.close(os.dup(1))
os.set_inheritable(1, True)
mmap.mmap(-1, 4096).madvise(mmap.MADV_DONTNEED)
print("works")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "works\n", done.stderr


@pytest.mark.parametrize("left_out", ["confine", "Landlock", "seccomp"])
def test_nothing_is_unpickled_by_a_process_that_is_not_confined(
    tmp_path: Path, left_out: str
) -> None:
    file, trace = tmp_path / "m.pkl", tmp_path / "ran"
    file.write_bytes(pickle.dumps(Call(os.mkdir, str(trace))))
    broken = {
        "confine": "child.confine = lambda memory: None",
        "Landlock": "import py_landlock; py_landlock.Landlock.apply = lambda self: None",
        "seccomp": "import pyseccomp; pyseccomp.SyscallFilter.load = lambda self: None",
    }
    source, target = os.open(file, os.O_RDONLY), os.memfd_create("out")
    code = "import mlsecops.loading.sandbox.convert_main as child, sys; " + broken[left_out]
    words = ["joblib", str(source), str(target), str(1 << 30)]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; child.main()", *words],
        pass_fds=(source, target),
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(source)
    os.close(target)
    assert done.returncode == 1
    assert "not confined" in done.stderr
    assert not trace.exists()


def test_an_answer_that_a_process_still_maps_is_refused(tmp_path: Path) -> None:
    answer = os.memfd_create("answer", os.MFD_ALLOW_SEALING)
    os.write(answer, safetensors_numpy.save({"w": np.ones(4)}))
    with mmap.mmap(answer, 0), pytest.raises(FormatRefused, match="still maps"):
        convert_module._keep(answer, tmp_path / "out.safetensors", Limits())
    assert not (tmp_path / "out.safetensors").exists()
    os.close(answer)


@pytest.mark.parametrize("change", ["write", "grow", "shrink", "unseal"])
def test_an_answer_cannot_be_changed_between_its_scan_and_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    data = safetensors_numpy.save({"w": np.ones(4)})
    answer = os.memfd_create("answer", os.MFD_ALLOW_SEALING)
    os.write(answer, data)
    changes = {
        "write": lambda: os.pwrite(answer, b"x", 0),
        "grow": lambda: os.ftruncate(answer, len(data) + 1),
        "shrink": lambda: os.ftruncate(answer, 0),
        "unseal": lambda: fcntl.fcntl(answer, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    }

    def scan_and_change(*arguments: Any) -> Any:
        found = examine_safetensors(*arguments)
        with pytest.raises(PermissionError):
            changes[change]()
        return found

    monkeypatch.setattr(convert_module, "examine_safetensors", scan_and_change)
    convert_module._keep(answer, tmp_path / "out.safetensors", Limits())
    assert (tmp_path / "out.safetensors").read_bytes() == data
    os.close(answer)


def test_a_child_that_does_not_stop_talking_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "m.pkl"
    endless = "import os\nwhile True: os.write(2, b'x' * 65536)"
    file.write_bytes(pickle.dumps(Call(exec, endless)))
    with pytest.raises(FormatRefused, match="status -9"):
        convert(file, tmp_path / "out", seconds=60)


def test_a_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "m.pkl"
    file.write_bytes(pickle.dumps(Call(exec, "while True: pass")))
    with pytest.raises(LimitExceeded, match="within"):
        convert(file, tmp_path / "out", seconds=2)


def test_nothing_is_unpickled_where_a_process_cannot_be_confined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.pkl"
    file.write_bytes(pickle.dumps({"w": np.zeros(2)}))

    def missing() -> int:
        raise landlock.LandlockNotAvailableError

    with monkeypatch.context() as patch:
        patch.setattr(landlock, "get_abi_version", missing)
        with pytest.raises(UsageError, match="Landlock is missing"):
            convert(file, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyseccomp", None)
        with pytest.raises(MissingExtra, match=r"mlsecops-sdk\[sandbox\]"):
            convert(file, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(UsageError, match="Linux only"):
            convert(file, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "s390x")
        with pytest.raises(UsageError, match="expected a processor of x86_64, aarch64"):
            convert(file, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "_seccomp_actions", list)
        with pytest.raises(UsageError, match="seccomp is missing"):
            convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_pickle_is_not_converted(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(FormatRefused, match="not converted"):
        convert(tmp_path / "a.npy", tmp_path / "out")
