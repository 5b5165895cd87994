"""Confined child process that unpickles an untrusted file and returns its tensors.

sealed model → unpickled under Landlock, seccomp and a memory limit → safetensors in a memory file

It is run as a script (`python -I`), never imported. Before it reads the first byte, Landlock leaves
it only the interpreter's files to read, and seccomp no call that starts a program, opens a
connection or reaches another process. Calls that can do both good and harm are filtered by their
arguments: a descriptor's owner and signal, leases and O_ASYNC would signal other processes, which
Landlock prevents from ABI 6 on only.

Source: seccomp(2); fcntl(2), "Managing signals", "Leases" and "File and directory change
notification"; madvise(2), MADV_HWPOISON and MADV_SOFT_OFFLINE.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import socket
import sys
import types
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

SECONDS = 120  # seconds of CPU time; chosen: the default of `convert`
MOST_TENSORS = 100_000  # tensors; chosen: the default of `Limits.tensors`
DEEPEST = 50  # levels; chosen: deeper containers are no model
CLONE_THREAD = 0x00010000  # flag of clone(2), <linux/sched.h>
COMMANDS = (
    fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL
)  # fmt: skip
"""Commands of fcntl that concern this process alone."""
MODULE = ("_parameters", "_buffers", "_modules")
"""Attributes of a torch module that hold its tensors and its parts."""
LAST_ADVICE = 25  # of madvise(2), MADV_COLLAPSE; those above poison the machine's memory
ENOTTY, ENOSYS = 25, 38  # errno(3) on Linux
ALLOWED = """
read readv pread64 preadv lseek write writev pwrite64 close fstat newfstatat stat lstat statx
openat open readlink readlinkat access faccessat faccessat2 getcwd getdents64 dup ftruncate
mmap munmap mremap mprotect brk futex futex_waitv set_robust_list rseq membarrier
rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group
getpid gettid getppid getuid geteuid getgid getegid uname sysinfo getrandom arch_prctl
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage
sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu poll ppoll select pselect6
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse


def confine(memory: int) -> None:
    """Give up every right but computing.

    Args:
        memory: Bytes of address space beyond what the libraries took.
    """
    import pyseccomp  # noqa: PLC0415 - it looks its library up: before Landlock hides that
    from py_landlock import Landlock  # noqa: PLC0415 - as above

    with open("/proc/self/statm", encoding="ascii") as status:  # noqa: PTH123 - one read
        mapped = int(status.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, mapped + memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    packages = (place for place in sys.path if place.endswith("-packages"))
    readable = {sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64", *packages}
    Landlock().allow_read(*(place for place in readable if Path(place).is_dir())).apply()
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
    rules.set_attr(pyseccomp.Attr.CTL_TSYNC, 1)
    for name in ALLOWED:
        rules.add_rule(pyseccomp.ALLOW, name)
    for name, *arguments in _by_argument(pyseccomp):
        rules.add_rule(pyseccomp.ALLOW, name, *arguments)
    rules.add_rule(pyseccomp.ERRNO(ENOSYS), "clone3")  # glibc falls back to clone, whose flags show
    rules.add_rule(pyseccomp.ERRNO(ENOTTY), "ioctl")
    rules.load()


def _by_argument(seccomp: Any) -> list[tuple[Any, ...]]:
    """Calls that are allowed with some arguments only."""
    equal, masked = seccomp.EQ, seccomp.MASKED_EQ
    return [
        ("clone", seccomp.Arg(0, masked, CLONE_THREAD, CLONE_THREAD)),
        ("madvise", seccomp.Arg(2, seccomp.LE, LAST_ADVICE)),
        *(("fcntl", seccomp.Arg(1, equal, command)) for command in COMMANDS),
        ("fcntl", seccomp.Arg(1, equal, fcntl.F_SETFL), seccomp.Arg(2, masked, os.O_ASYNC, 0)),
    ]


def require_confined() -> None:
    """Exit unless the kernel refuses this process what would reach outside it."""
    for reach in (
        socket.socket,
        lambda: list(Path("/").iterdir()),
        lambda: fcntl.fcntl(2, fcntl.F_SETOWN, os.getpid()),
        lambda: fcntl.fcntl(2, fcntl.F_SETFL, os.O_ASYNC),
    ):
        try:
            reach()
        except PermissionError:
            continue
        sys.exit("this process is not confined: nothing is unpickled in it")


def unpickle(kind: str, descriptor: int) -> Any:
    """Run the format's own reader, which runs code of the file, in confinement."""
    require_confined()
    stream = os.fdopen(descriptor, "rb", closefd=False)
    if kind.startswith("torch"):
        import torch  # noqa: PLC0415 - imported already, before the confinement

        reader = types.SimpleNamespace(
            Unpickler=Standing,
            load=lambda stream, **options: Standing(stream, **options).load(),
            __name__="pickle",
        )
        return torch.load(stream, map_location="cpu", weights_only=False, pickle_module=reader)
    from joblib import numpy_pickle  # noqa: PLC0415 - as above

    own = numpy_pickle.NumpyUnpickler.find_class
    numpy_pickle.NumpyUnpickler.find_class = lambda self, *name: found_or_inert(own, self, *name)
    return numpy_pickle.load(stream)


class Standing(pickle.Unpickler):
    """Unpickler that puts an inert class in the place of one that is not installed."""

    def find_class(self, module: str, name: str) -> Any:
        """The class, or a stand-in."""
        return found_or_inert(pickle.Unpickler.find_class, self, module, name)


class Inert:
    """Instance of a class that is not installed: it keeps its state and items, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Make an instance from any arguments."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore them."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state; that of slots comes in a pair."""
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            vars(self).update(part if isinstance(part, dict) else {"state": part})

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an item of a mapping."""
        vars(self)[str(key)] = value

    def append(self, value: Any) -> None:
        """Keep an item of a list."""
        vars(self)[str(len(vars(self)))] = value

    def extend(self, values: Any) -> None:
        """Keep items of a list."""
        for value in values:
            self.append(value)

    def add(self, value: Any) -> None:
        """Keep an item of a set."""
        self.append(value)


def found_or_inert(find: Any, unpickler: Any, module: str, name: str) -> Any:
    """A class of the installed libraries, or a new inert one of the same name."""
    try:
        return find(unpickler, module, name)
    except (ImportError, AttributeError):
        return type(name.rpartition(".")[2], (Inert,), {"__module__": module})


def arrays(value: Any) -> dict[str, Any]:
    """Tensors and arrays of a value, under the names that lead to them."""
    import numpy as np  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    pending = [("", value, 0)]
    seen: set[int] = set()
    while pending and len(found) < MOST_TENSORS:
        name, item, depth = pending.pop()
        if hasattr(item, "state_dict") and not is_module(item):
            item = item.state_dict()
        if hasattr(item, "detach") and hasattr(item, "numpy"):
            found[name or "value"] = item.detach()
        elif isinstance(item, (np.ndarray, np.generic)) and item.dtype.kind in "biuf":
            found[name or "value"] = np.ascontiguousarray(item)
        elif depth < DEEPEST and id(item) not in seen:
            seen.add(id(item))
            pending += [(f"{name}.{key}".lstrip("."), inner, depth + 1)
                        for key, inner in children(item)]  # fmt: skip
    if pending:
        sys.exit(f"it holds more than {MOST_TENSORS} tensors")
    return found


def is_module(item: Any) -> bool:
    """Whether a value has the attributes of a torch module, whatever its class is."""
    state = getattr(item, "__dict__", {})
    return all(isinstance(state.get(name), dict) for name in MODULE)


def children(item: Any) -> list[tuple[str, Any]]:
    """Named values of a container or an estimator."""
    if isinstance(item, dict):
        return [(str(key), inner) for key, inner in item.items()]
    if is_module(item):
        passing = vars(item).get("_non_persistent_buffers_set") or ()
        parts = [pair for name in MODULE for pair in vars(item)[name].items()]
        return [(str(key), inner) for key, inner in parts if key not in passing]
    if isinstance(item, (list, tuple)):
        return [(str(number), inner) for number, inner in enumerate(item)]
    return [*vars(item).items()] if hasattr(item, "__dict__") and not callable(item) else []


def as_safetensors(found: dict[str, Any], *, torch: Any) -> bytes:
    """Tensors as one safetensors file."""
    if torch is None:
        from safetensors.numpy import save  # noqa: PLC0415 - imported already

        return bytes(save(found))
    from safetensors.torch import save as save_torch  # noqa: PLC0415 - as above

    tensors = {
        name: (value if torch.is_tensor(value) else torch.from_numpy(value)).contiguous().clone()
        for name, value in found.items()
    }
    return bytes(save_torch(tensors))


def _imported(kind: str) -> Any:
    """Import what will be needed; return torch, or None for formats without it."""
    if not kind.startswith("torch"):
        import joblib  # noqa: F401, PLC0415 - before the confinement
        import safetensors.numpy  # noqa: PLC0415 - as above

        return None
    import safetensors.torch  # noqa: F401, PLC0415 - as above
    import torch  # noqa: PLC0415 - as above
    import torch._dynamo  # noqa: PLC0415 - torch.load looks at it

    return torch


def main() -> None:
    """Import what will be needed, confine the process, and only then read."""
    kind, source, target, memory = sys.argv[1], *map(int, sys.argv[2:5])
    torch = _imported(kind)
    confine(memory)
    found = arrays(unpickle(kind, source))
    if not found:
        sys.exit("it holds no tensors and no arrays of numbers")
    data = as_safetensors(found, torch=torch)
    while data:
        data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
