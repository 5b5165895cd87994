"""What a pickle would do, told without doing it: its opcodes are walked on a stack of shadows.

A stream of opcodes comes in; a `Walk` goes out: findings, the globals it imports, and where
it stopped. Nothing is imported or called. A global is allowed when its exact qualified name is on
the list; anything whose target the walk cannot name is refused.

Source: CPython `Lib/pickletools.py` (opcodes), `Modules/_pickle.c` (what they do).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection
from typing import Any, BinaryIO, Final

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.call_rules import ARRAY_WRAPPER, objection, passed_on
from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE, layout
from mlsecops.loading.pickle_vm.joblib_arrays import NEWEST_PROTOCOL, raw_array
from mlsecops.loading.pickle_vm.result import Walk
from mlsecops.loading.pickle_vm.stack import MARK, OPAQUE, Box, Global, Made, fill, pair, python3

MAPPINGS: Final = frozenset(
    {
        "builtins.dict",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "sklearn.utils._bunch.Bunch",
    }
)
LISTS: Final = frozenset({"builtins.list", "collections.deque"})
SETS: Final = frozenset({"builtins.set"})
_PY3_IMPORTS: Final = 3
_OPCODE_OF_FRAME: Final = 9


class Walker:
    """Walks pickles against one allowlist.

    Args:
        allowed: Exact qualified names.
        limits: Ceiling of the opcodes.
        artifact: Name for findings.
        where: Entry or stream that the pickles stand in.
        persistent: `"allow"` persistent ids (storages of a torch file), or `"refuse"` them.
        skip_arrays: Whether joblib's raw arrays are stepped over, as its own reader does.
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
    ) -> None:
        self.walk = Walk()
        self._allowed = allowed
        self._limits = limits
        self._artifact = artifact
        self._where = where
        self._persistent = persistent == "allow"
        self._skip_arrays = skip_arrays
        self._at = 0
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
            FormatRefused: It is no whole pickle.
            LimitExceeded: It has too many opcodes.
        """
        outer = self._stack, self._memo, self._protocol, self._frame_end
        self._reset()
        start = stream.tell()
        try:
            for opcode, argument, position in pickletools.genops(stream):
                self._at = int(position or 0)
                self._step(opcode.name, argument, first=self._at == start, end=stream.tell())
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

    def _step(self, name: str, argument: Any, *, first: bool, end: int) -> None:
        self.walk.opcodes += 1
        if self.walk.opcodes > self._limits.opcodes:
            raise LimitExceeded(
                f"{self._artifact}: {self._where}: over {self._limits.opcodes} pickle opcodes; "
                "raise Limits(opcodes=…) if this file is meant to be so large"
            )
        self._heed_frame(name, argument, end)
        if name == "PROTO" and (not first or argument > NEWEST_PROTOCOL):
            raise ValueError("PROTO stands inside the pickle, or is newer than any known")
        action = self._ACTIONS.get(name)
        if action is None:
            self._stack.append(argument)  # every opcode without an action pushes its argument
        else:
            action(self, argument)

    def _heed_frame(self, name: str, length: Any, end: int) -> None:
        """Refuse opcodes that straddle a frame: readers disagree on what they are."""
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
            self._frame_end = self._at + _OPCODE_OF_FRAME + length

    def _step_over_array(self, stream: BinaryIO) -> None:
        wrapper = self._stack[-1]
        if isinstance(wrapper, Made) and wrapper.name == ARRAY_WRAPPER:
            self.walk.arrays += 1
            if self._frame_end not in {None, stream.tell()}:
                self._find("pickle-frame", "raw array inside a frame, whose reader looks behind it")
            if raw_array(stream, wrapper.state) == "objects":
                self.run(stream)
                self._stack[-1] = OPAQUE

    def _find(self, rule: str, message: str, *, severity: Severity = Severity.CRITICAL) -> None:
        self.walk.findings.append(
            Finding(
                rule=rule,
                severity=severity,
                message=message,
                where=f"{self._where} byte {self._at}",
                artifact=self._artifact,
            )
        )

    def _pop(self) -> Any:
        value = self._pop_target()
        self._require_kept(value)
        return value

    def _pop_target(self) -> Any:
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("expected a value, got a mark")
        return value

    def _require_kept(self, *values: Any) -> None:
        if name := passed_on(values):
            self._find("pickle-call", f"hands {name} on instead of calling it")

    def _pop_mark(self) -> list[Any]:
        items = []
        while (value := self._stack.pop()) is not MARK:
            items.append(value)
        items.reverse()
        self._require_kept(*items)
        return items

    def _import(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            self._find("pickle-dynamic", "imports a global whose name is computed")
            return Global("?")
        if self._protocol < _PY3_IMPORTS:
            module, name = python3(module, name)
        full = f"{module}.{name}"
        if full in self._allowed:
            self.walk.globals.add(full)
        else:
            self._find(
                "pickle-global",
                f"imports {full}, which is not on the allowlist; "
                f"if that is audited, name it in allow_globals=[{full!r}]",
            )
        return Global(full)

    def _call(self, target: Any, arguments: Any) -> Made:
        if not isinstance(target, Global):
            self._find("pickle-call", "calls something that is not an imported global")
            return Made("?")
        known = arguments if isinstance(arguments, tuple) else ()
        if reason := objection(target.name, known):
            self._find("pickle-call", reason)
        return Made(target.name, known)

    # Actions: one for each opcode that does more than push its argument.

    def _proto(self, argument: Any) -> None:
        self._protocol = argument

    def _ignore(self, _: Any) -> None:
        """FRAME, STOP and READONLY_BUFFER leave the stack as it is."""

    def _mark(self, _: Any) -> None:
        self._stack.append(MARK)

    def _drop(self, _: Any) -> None:
        self._stack.pop()

    def _drop_mark(self, _: Any) -> None:
        self._pop_mark()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._shared(self._top()))

    def _get(self, argument: Any) -> None:
        self._stack.append(self._shared(self._memo[int(argument)]))

    def _shared(self, value: Any) -> Any:
        if isinstance(value, Made):
            value.shared = True
        return value

    def _put(self, argument: Any) -> None:
        self._memo[int(argument)] = self._top()

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def _top(self) -> Any:
        if self._stack[-1] is MARK:
            raise ValueError("expected a value, got a mark")
        return self._stack[-1]

    def _box(self, kind: str) -> None:
        self._stack.append(Box(kind))

    def _tuple(self, count: int | None) -> None:
        if count is None:
            self._stack.append(tuple(self._pop_mark()))
            return
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def _dict(self, _: Any) -> None:
        box = Box("builtins.dict")
        fill(box, self._pop_mark())
        self._stack.append(box)

    def _setitems(self, items: list[Any]) -> None:
        self._require_container(MAPPINGS, "sets items of")
        fill(self._top(), items)

    def _require_container(self, names: Collection[str], verb: str) -> None:
        target = self._top()
        kind = target.name if isinstance(target, (Box, Made)) else type(target).__name__
        if kind not in names:
            self._find("pickle-container", f"{verb} {kind}, which is no container of that kind")

    def _reduce(self, _: Any) -> None:
        arguments, target = self._pop(), self._pop_target()
        self._stack.append(self._call(target, arguments))

    def _newobj_ex(self, _: Any) -> None:
        self._pop()
        arguments, target = self._pop(), self._pop()
        self._stack.append(self._call(target, arguments))

    def _inst(self, argument: Any) -> None:
        arguments = tuple(self._pop_mark())
        self._stack.append(self._call(self._import(*pair(argument)), arguments))

    def _obj(self, _: Any) -> None:
        target, *arguments = self._pop_mark()
        self._stack.append(self._call(target, tuple(arguments)))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Made):
            self._set_state(target, state)
        elif not isinstance(target, Box):
            # On a class or function this would set its attributes for the whole process.
            self._find("pickle-build", "sets attributes of something that it did not make")

    def _set_state(self, target: Made, state: Any) -> None:
        if target.state is not None:
            self._find("pickle-build", f"sets the state of one {target.name} twice")
        target.state = state
        if target.name.startswith("numpy.dtypes.") or (
            target.name == NUMPY_DTYPE and target.shared
        ):
            self._find("pickle-build", "changes a dtype that is in use")
        elif target.name == NUMPY_DTYPE:
            try:
                layout(target)
            except ValueError as error:
                self._find("pickle-build", f"rebuilds {error}")

    def _global(self, argument: Any) -> None:
        self._stack.append(self._import(*pair(argument)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._import(module, name))

    def _extension(self, argument: Any) -> None:
        self._find(
            "pickle-extension",
            f"uses copyreg extension {argument}, whose target is not in the file",
        )
        self._stack.append(Global("?"))

    def _persid(self, argument: Any) -> None:
        if not self._persistent:
            self._find(
                "pickle-persistent",
                "refers to an object outside the pickle",
                severity=Severity.HIGH,
            )
        self._stack.append(Made("persistent", (argument,)))

    def _binpersid(self, _: Any) -> None:
        self._persid(self._pop())

    def _from_marked(self, kind: str) -> None:
        self._pop_mark()
        self._box(kind)

    def _add(self, names: Collection[str], *, one: bool = False) -> None:
        if one:
            self._pop()
        else:
            self._pop_mark()
        self._require_container(names, "adds items to")

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._setitems([key, value])

    _ACTIONS: Final[dict[str, Callable[[Walker, Any], None]]] = {
        "PROTO": _proto,
        "FRAME": _ignore,
        "STOP": _ignore,
        "READONLY_BUFFER": _ignore,
        "MARK": _mark,
        "POP": _drop,
        "POP_MARK": _drop_mark,
        "DUP": _dup,
        "GET": _get,
        "BINGET": _get,
        "LONG_BINGET": _get,
        "PUT": _put,
        "BINPUT": _put,
        "LONG_BINPUT": _put,
        "MEMOIZE": _memoize,
        "NEWTRUE": lambda self, _: self._stack.append(True),
        "NEWFALSE": lambda self, _: self._stack.append(False),
        "EMPTY_LIST": lambda self, _: self._box("builtins.list"),
        "EMPTY_DICT": lambda self, _: self._box("builtins.dict"),
        "EMPTY_SET": lambda self, _: self._box("builtins.set"),
        "EMPTY_TUPLE": lambda self, _: self._stack.append(()),
        "LIST": lambda self, _: self._from_marked("builtins.list"),
        "FROZENSET": lambda self, _: self._from_marked("builtins.frozenset"),
        "DICT": _dict,
        "TUPLE": lambda self, _: self._tuple(None),
        "TUPLE1": lambda self, _: self._tuple(1),
        "TUPLE2": lambda self, _: self._tuple(2),
        "TUPLE3": lambda self, _: self._tuple(3),
        "APPEND": lambda self, _: self._add(LISTS, one=True),
        "APPENDS": lambda self, _: self._add(LISTS),
        "ADDITEMS": lambda self, _: self._add(SETS),
        "SETITEM": _setitem,
        "SETITEMS": lambda self, _: self._setitems(self._pop_mark()),
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "NEWOBJ": _reduce,
        "NEWOBJ_EX": _newobj_ex,
        "INST": _inst,
        "OBJ": _obj,
        "BUILD": _build,
        "EXT1": _extension,
        "EXT2": _extension,
        "EXT4": _extension,
        "PERSID": _persid,
        "BINPERSID": _binpersid,
    }
