"""Learning of call contracts: the calls in honest pickles, by the walker that checks them.

honest pickles → `Recorder` → a line for each use of an allowed name (`calls.txt`)
"""

from __future__ import annotations

import copyreg
import importlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import honest_pickles as honest

from mlsecops.errors import FormatRefused
from mlsecops.loading.formats.pickles import LEGACY_PICKLES
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.argument_kinds import kind, kinds
from mlsecops.loading.pickle_vm.call_rules import RECONSTRUCTOR
from mlsecops.loading.pickle_vm.stack import CallResult, Global
from mlsecops.loading.pickle_vm.walker import Walker

MENTIONED = re.compile(r"[@=]([\w.]+)")
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
# Calls of other versions than the installed ones, from their sources.
OLDER = """
fractions.Fraction call int, int
collections.OrderedDict call (list*)
collections.OrderedDict call list
torch._utils._rebuild_tensor_v2 call =persistent, int, (int*), (int*), bool, none
builtins.bytearray call text, text
builtins.slice call int, int, int
sklearn.tree._tree.Tree call int, array, int
numpy.random._pickle.__randomstate_ctor call text
numpy.random._pickle.__generator_ctor call text
numpy.random._pickle.__bit_generator_ctor call text
numpy.random._pickle.__bit_generator_ctor state dict
torch._utils._rebuild_tensor call =persistent, int, (int*), (int*)
torch._utils._rebuild_device_tensor_from_numpy call array, @torch.dtype, text, bool
torch._utils._rebuild_device_tensor_from_cpu_tensor call TENSOR, @torch.dtype, text, bool
pathlib.PosixPath call text*
pathlib.PurePosixPath call text*
"""


class Recorder(Walker):
    """Walker that keeps every call in place of judging it."""

    def __init__(self, allowed: Iterable[str], **options: Any) -> None:
        super().__init__(allowed=frozenset(allowed), limits=Limits(), artifact="", where="",
                         **options)  # fmt: skip
        self.uses: dict[str, set[str]] = defaultdict(set)

    def _call(self, target: Any, arguments: Any, how: Any = "call") -> None:
        if isinstance(target, Global) and isinstance(arguments, tuple):
            self._learn(target.name, how, arguments)
            self._stack.append(CallResult(target.name, arguments))
        else:
            super()._call(target, arguments, how)

    def _learn(self, name: str, how: str, arguments: tuple[Any, ...]) -> None:
        found = kinds(arguments)
        if how == "new" and not arguments:
            self.uses[name].add("new")
        elif name == FROM_TYPE:
            self._learn(arguments[0].name, "call", arguments[2])
            self.uses[name].add(f"call ?, {kinds(arguments[1:2])}, ?, {kinds(arguments[3:])}")
        elif name == RECONSTRUCTOR and found.endswith("@builtins.object, none"):
            self.uses[arguments[0].name].add("new")
            self.uses[name].add("call ?, @builtins.object, none")
        else:
            self.uses[name].add(f"{how} {found}".rstrip())

    def _check_state(self, target: CallResult) -> None:
        name = target.name
        if name == RECONSTRUCTOR:
            name = target.arguments[0].name
        if kind(target.state) != "dict" or "new" not in self.uses[name]:
            self.uses[name].add(f"state {kind(target.state)}")


def learned(names: Iterable[str]) -> dict[str, set[str]]:
    """Uses of each allowed name in honest pickles."""
    names = frozenset(names)
    plain = Recorder(names, skip_arrays=True)
    values = [
        *honest.python_values(), *honest.numpy_values(), *honest.sparse_values(),
        *honest.sklearn_values(), *honest.distributed_values(),
    ]  # fmt: skip
    for value in values:
        pickles = [honest.pickle.dumps(value, protocol=each) for each in honest.PROTOCOLS]
        for data in (*pickles, honest.joblib_file(value)):
            plain.run(io.BytesIO(data))
    torch = Recorder(names, persistent="allow")
    for value in honest.torch_values():
        for data in honest.torch_pickles(value):
            run_torch(torch, data)
    uses: dict[str, set[str]] = defaultdict(set)
    for found in (plain.uses, torch.uses):
        for name, some in found.items():
            uses[name] |= some
    return uses


def run_torch(recorder: Recorder, data: bytes) -> None:
    """Walk the pickle of an archive, or those of a legacy file."""
    stream = io.BytesIO(data)
    try:
        for _ in range(LEGACY_PICKLES):
            if recorder.run(stream).end == len(data):
                return
    except FormatRefused:
        return


def makes_empty(name: str) -> bool:
    """Whether the library's own pickles of a class make an empty instance."""
    home, _, leaf = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(home), leaf)
    except (ImportError, AttributeError):
        return False
    plain = isinstance(found, type) and found.__reduce_ex__ is object.__reduce_ex__
    python = (
        plain and "__module__" in vars(found) and found.__module__.startswith(("torch.nn", "sk"))
    )
    return python and copyreg.dispatch_table.get(found) is None and _is_python(found)


def _is_python(found: type) -> bool:
    own = found.__reduce__ is object.__reduce__ and not hasattr(found, "__getnewargs__")
    return own and found.__basicsize__ <= object.__basicsize__ + 16 and hasattr(found, "__dict__")


def write_contracts(path: Path, names: Iterable[str]) -> None:
    """Write the contracts of every allowed name."""
    names = sorted(names)
    uses = learned(names)
    for line in OLDER.split("\n"):
        name, _, use = line.replace("TENSOR", "=torch._utils._rebuild_tensor_v2").partition(" ")
        if name:
            uses[name].add(use)
    lines = ["# Uses of each name in honest pickles; written by scripts/list_globals.py"]
    for name in names:
        alias = name.replace("numpy.core.", "numpy._core.")
        found = {
            use
            for use in uses.get(name, set()) | uses.get(alias, set())
            if set(MENTIONED.findall(use)) <= {*names, "torch.dtype", "persistent"}
        }
        if not found and makes_empty(name):
            found = {"new"}
        lines += [f"{name} {use}" for use in sorted(found or {"value"})]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    from mlsecops.loading.allowed import pickle_globals

    home = Path(__file__).parent.parent / "mlsecops" / "loading" / "allowed"
    write_contracts(home / "calls.txt", pickle_globals())
