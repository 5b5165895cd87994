"""Symbolic execution of pickle opcodes: imports and calls of a pickle, without running it.

A stream of opcodes comes in; a `Walk` goes out: findings, allowed imports and the pickle's end.
Stack and memo hold symbolic values (`stack`), so nothing is imported or called. A global is allowed
by its exact qualified name; a call of a target without a known name is refused.

Source: CPython `Lib/pickletools.py` (opcodes), `Modules/_pickle.c` (their effect).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO, Final

from mlsecops._bounded.budget import tick
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Severity
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.arrays import array
from mlsecops.loading.pickle_vm.call_rules import (
    ARRAY_WRAPPER,
    Call,
    objection,
    passed_on,
)
from mlsecops.loading.pickle_vm.joblib_arrays import raw_array
from mlsecops.loading.pickle_vm.judge import Judge
from mlsecops.loading.pickle_vm.stack import (
    MARK,
    OPAQUE,
    CallResult,
    Container,
    Global,
    extend,
    fill,
    python3_name,
    split_name,
)
from mlsecops.loading.pickle_vm.torch_tensors import PERSISTENT, require_storage
from mlsecops.loading.pickle_vm.walk import Walk
from mlsecops.loading.verdict import unlisted

MAPPINGS: Final = frozenset(
    {"builtins.dict", "collections.Counter", "collections.OrderedDict", "collections.defaultdict",
     "sklearn.utils._bunch.Bunch"}
)  # fmt: skip
LISTS: Final = frozenset({"builtins.list", "collections.deque"})
SETS: Final = frozenset({"builtins.set"})
NEWEST_PROTOCOL: Final = 5  # protocol; pickle.HIGHEST_PROTOCOL since Python 3.8, PEP 574
_PY3_IMPORTS: Final = 3  # protocol; `_pickle.c`, lower ones have Python 2's module names
_LOOK: Final = 256  # opcodes between two looks at the budget; chosen: about a millisecond
_FRAME_HEAD: Final = 9  # bytes; pickletools, FRAME is an opcode and an 8-byte length


class Walker(Judge):
    r"""Symbolic executor of pickles against one allowlist.

    Args:
        allowed: Exact qualified names.
        limits: Limit of the opcodes.
        artifact: Name for findings.
        where: Entry or stream of the pickles.
        persistent: `"allow"` persistent ids (storages of a torch file), or `"refuse"` them.
        skip_arrays: Whether to step over joblib's raw arrays, as its own reader does.
        audited: Names that the caller allows whatever they are called with.
        storages: Bytes of each storage in the file by key; None where they follow the pickle.

    Examples:
        >>> import io
        >>> walker = Walker(allowed=(), limits=Limits(), artifact="a.pkl", where="pickle")
        >>> [found.rule for found in walker.run(io.BytesIO(b"cos\nsystem\n.")).findings]
        ['pickle-global']
    """

    def __init__(
        self,
        *,
        allowed: Collection[str],
        limits: Limits,
        artifact: str,
        where: str,
        persistent: str = "refuse",
        skip_arrays: bool = False,
        audited: Collection[str] = (),
        storages: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(artifact=artifact, where=where, audited=audited)
        self._storages = storages
        self._allowed, self._limits = allowed, limits
        self._persistent, self._skip_arrays = persistent == "allow", skip_arrays
        self._reset()

    def _reset(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._protocol = 0
        self._frame_end: int | None = None

    def run(self, stream: BinaryIO) -> Walk:
        """Walk one pickle, up to its STOP.

        Args:
            stream: Positioned at the first opcode; left after the last.

        Raises:
            FormatRefused: It is not a whole pickle.
            LimitExceeded: It has too many opcodes.
        """
        outer = self._stack, self._memo, self._protocol, self._frame_end
        self._reset()
        start = stream.tell()
        try:
            for opcode, argument, position in pickletools.genops(stream):
                self._at = int(position or 0)
                if self._frame_end is not None or opcode.name == "FRAME":
                    self._check_frame(opcode.name, argument, stream.tell())
                self._step(opcode.name, argument, first=self._at == start)
                if opcode.name == "BUILD" and self._skip_arrays:
                    self._step_over_array(stream)
            self.walk.value = self._pop() if self._stack else OPAQUE
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise FormatRefused(
                f"{self._artifact}: {self._where}: not a whole pickle at byte {self._at}: {error}"
            ) from error
        self.walk.end = stream.tell()
        self._stack, self._memo, self._protocol, self._frame_end = outer
        return self.walk

    def _step(self, name: str, argument: Any, *, first: bool) -> None:
        walk = self.walk
        walk.opcodes += 1
        if not walk.opcodes % _LOOK:
            tick(where=self._artifact)
        if walk.opcodes > self._limits.opcodes:
            raise LimitExceeded(
                f"{self._artifact}: {self._where}: over {self._limits.opcodes} pickle opcodes; "
                "raise Limits(opcodes=…) if this file is meant to be so large"
            )
        if name == "PROTO" and (not first or argument > NEWEST_PROTOCOL):
            raise ValueError("PROTO inside the pickle, or of an unknown protocol")
        action = self._ACTIONS.get(name)
        if action is None:
            self._stack.append(argument)  # every opcode without an action pushes its argument
        else:
            action(self, argument)

    def _check_frame(self, name: str, length: Any, end: int) -> None:
        """Refuse opcodes across the end of a frame: readers disagree on what follows."""
        if self._frame_end is not None and self._at >= self._frame_end:
            self._frame_end = None
        early = name == "STOP" and self._frame_end not in {None, end}
        if self._frame_end is not None and (end > self._frame_end or name == "FRAME" or early):
            self._find(
                "pickle-frame",
                f"opcode {name} crosses the end of its frame: two readers would see two pickles",
            )
            self._frame_end = None
        elif name == "FRAME":
            self._frame_end = self._at + _FRAME_HEAD + length

    def _step_over_array(self, stream: BinaryIO) -> None:
        wrapper = self._stack[-1]
        if isinstance(wrapper, CallResult) and wrapper.name == ARRAY_WRAPPER:
            self.walk.arrays += 1
            if self._frame_end not in {None, stream.tell()}:
                self._find("pickle-frame", "raw array inside a frame: its reader looks behind it")
            raw = raw_array(stream, wrapper.state)
            if raw == "objects":
                self.run(stream)
                self._stack[-1] = _array_or_opaque(self.walk.value)
            else:
                wrapper.known = raw

    def _pop(self) -> Any:
        value = self._pop_target()
        if isinstance(value, Global):
            self._require_called_only(value)
        return value

    def _pop_target(self) -> Any:
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("expected a value, got a mark")
        return value

    def _top(self) -> Any:
        if self._stack[-1] is MARK:
            raise ValueError("expected a value, got a mark")
        return self._stack[-1]

    def _pop_mark(self) -> list[Any]:
        items = []
        while (value := self._stack.pop()) is not MARK:
            items.append(value)
        items.reverse()
        self._require_called_only(*items)
        return items

    def _require_called_only(self, *values: Any) -> None:
        if name := passed_on(values):
            self._find("pickle-call", f"passes {name} on instead of calling it")

    def _import(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self._find("pickle-dynamic", "imports a global whose name is computed")
            self._stack.append(Global("?"))
            return
        if self._protocol < _PY3_IMPORTS:
            module, name = python3_name(module, name)
        full = f"{module}.{name}"
        if full in self._allowed:
            self.walk.globals.add(full)
        else:
            problem = f"imports {full}, which is not on the allowlist"
            self.walk.findings.append(
                unlisted("pickle-global", problem, full, where=self._place, artifact=self._artifact)
            )
        self._stack.append(Global(full))

    def _call(self, target: Any, arguments: Any, how: Call = "call") -> None:
        if not isinstance(target, Global):
            self._find("pickle-call", "calls something that is not an imported global")
            self._stack.append(CallResult("?"))
            return
        if not isinstance(arguments, tuple):
            self._find("pickle-call", f"calls {target.name} with arguments that are computed")
            arguments = ()
        else:
            found = objection(target.name, how, arguments, audited=self._audited)
            self._object("pickle-call", found)
        self._stack.append(CallResult(target.name, arguments))

    # Actions: one for each opcode that does more than push its argument.

    def _proto(self, argument: Any) -> None:
        self._protocol = argument

    def _ignore(self, _: Any) -> None:
        """FRAME, STOP and READONLY_BUFFER leave the stack as it is."""

    def _share(self, value: Any) -> None:
        if isinstance(value, CallResult):
            value.shared = True
        self._stack.append(value)

    def _get(self, argument: Any) -> None:
        self._share(self._memo[int(argument)])

    def _put(self, argument: Any) -> None:
        self._memo[int(argument)] = self._top()

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def _dict(self, _: Any) -> None:
        found = Container("builtins.dict")
        fill(found, self._pop_mark())
        self._stack.append(found)

    def _from_marked(self, kind: str) -> None:
        found = Container(kind)
        extend(found, self._pop_mark())
        self._stack.append(found)

    def _setitems(self, items: list[Any]) -> None:
        self._require_container(MAPPINGS, "sets items of")
        fill(self._top(), items)

    def _add(self, names: Collection[str], items: list[Any]) -> None:
        self._require_container(names, "adds items to")
        extend(self._top(), items)

    def _require_container(self, names: Collection[str], verb: str) -> None:
        target = self._top()
        kind = target.name if isinstance(target, (Container, CallResult)) else type(target).__name__
        if kind not in names:
            self._find("pickle-container", f"{verb} {kind}, which is not a container of that kind")

    def _reduce(self, how: Call) -> None:
        arguments, target = self._pop(), self._pop_target()
        self._call(target, arguments, how)

    def _newobj_ex(self, _: Any) -> None:
        named = self._pop()
        if not isinstance(named, Container) or not named.whole or named.items:
            self._find("pickle-call", "makes an object with arguments by name")
        self._reduce("new")

    def _inst(self, argument: Any) -> None:
        arguments = tuple(self._pop_mark())
        self._import(*split_name(argument))
        self._call(self._stack.pop(), arguments)

    def _obj(self, _: Any) -> None:
        target, *arguments = self._pop_mark()
        self._call(target, tuple(arguments))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, CallResult):
            self._set_state(target, state)
        elif not isinstance(target, Container):
            # On a class or function this would set its attributes for the whole process.
            self._find("pickle-build", "sets attributes of something that it did not create")

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._import(module, name)

    def _extension(self, argument: Any) -> None:
        message = f"uses copyreg extension {argument}, whose target is not in the file"
        self._find("pickle-extension", message)
        self._stack.append(Global("?"))

    def _persid(self, argument: Any) -> None:
        if not self._persistent:
            message = "refers to an object outside the pickle"
            self._find("pickle-persistent", message, severity=Severity.HIGH)
        else:
            try:
                require_storage(argument, self._storages)
                self.walk.storages.append(argument)
            except ValueError as error:
                self._find("pickle-persistent", f"refers to {error}", severity=Severity.HIGH)
        self._stack.append(CallResult(PERSISTENT, (argument,)))

    _ACTIONS: Final[dict[str, Callable[[Walker, Any], object]]] = {
        "PROTO": _proto,
        **dict.fromkeys(("FRAME", "STOP", "READONLY_BUFFER"), _ignore),
        "MARK": lambda self, _: self._stack.append(MARK),
        "POP": lambda self, _: self._stack.pop(),
        "POP_MARK": lambda self, _: self._pop_mark(),
        "DUP": lambda self, _: self._share(self._top()),
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
        "MEMOIZE": _memoize,
        "NEWTRUE": lambda self, _: self._stack.append(True),
        "NEWFALSE": lambda self, _: self._stack.append(False),
        "EMPTY_LIST": lambda self, _: self._stack.append(Container("builtins.list")),
        "EMPTY_DICT": lambda self, _: self._stack.append(Container("builtins.dict")),
        "EMPTY_SET": lambda self, _: self._stack.append(Container("builtins.set")),
        "EMPTY_TUPLE": lambda self, _: self._stack.append(()),
        "LIST": lambda self, _: self._from_marked("builtins.list"),
        "FROZENSET": lambda self, _: self._from_marked("builtins.frozenset"),
        "DICT": _dict,
        "TUPLE": lambda self, _: self._stack.append(tuple(self._pop_mark())),
        "TUPLE1": lambda self, _: self._tuple(1),
        "TUPLE2": lambda self, _: self._tuple(2),
        "TUPLE3": lambda self, _: self._tuple(3),
        "APPEND": lambda self, _: self._add(LISTS, [self._pop()]),
        "APPENDS": lambda self, _: self._add(LISTS, self._pop_mark()),
        "ADDITEMS": lambda self, _: self._add(SETS, self._pop_mark()),
        "SETITEM": lambda self, _: self._setitems([self._pop(), self._pop()][::-1]),
        "SETITEMS": lambda self, _: self._setitems(self._pop_mark()),
        "GLOBAL": lambda self, argument: self._import(*split_name(argument)),
        "STACK_GLOBAL": _stack_global,
        "REDUCE": lambda self, _: self._reduce("call"),
        "NEWOBJ": lambda self, _: self._reduce("new"),
        "NEWOBJ_EX": _newobj_ex,
        "INST": _inst,
        "OBJ": _obj,
        "BUILD": _build,
        **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
        "PERSID": _persid,
        "BINPERSID": lambda self, _: self._persid(self._pop()),
    }


def _array_or_opaque(value: Any) -> Any:
    """An array of objects from a pickle of its own, whose checks are done; nothing else."""
    return value if isinstance(value, CallResult) and array(value) is not None else OPAQUE
