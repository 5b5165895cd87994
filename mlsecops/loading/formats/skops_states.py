"""States of compiled classes in a skops archive, as the symbolic values that `pickle_vm` checks.

node of `schema.json` → symbolic value, its arrays still in the archive → `require_state_inside`
→ problem of the node

Source: skops `io/_audit.py`, `get_tree`, and the nodes of `_general.py`, `_numpy.py`, `_scipy.py`
and `_sklearn.py`; SciPy `sparse/_matrix_io.py`, `load_npz`.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from mlsecops._bounded.budget import spend
from mlsecops._json import parse_json
from mlsecops.loading.allowed.contracts import NEW, contracts
from mlsecops.loading.containers.zip_archive import Archive, archive
from mlsecops.loading.formats.numpy import PlainArray, require_plain_arrays
from mlsecops.loading.limits import PIECE, Limits
from mlsecops.loading.pickle_vm.arrays import ArrayReader, RawBytes, array
from mlsecops.loading.pickle_vm.call_rules import Objection, objection, state_objection
from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE
from mlsecops.loading.pickle_vm.stack import (
    OPAQUE,
    CallResult,
    Container,
    Global,
    extend,
    fill,
)
from mlsecops.loading.pickle_vm.state_values import demand
from mlsecops.loading.pickle_vm.states import require_state_inside
from mlsecops.loading.pickle_vm.tree_states import TREE
from mlsecops.loading.snapshot import Source

_CHILDREN: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "TreeNode": (("content",), ("__reduce__", "args")),
    "LossNode": (("content",), ("__reduce__", "args")),
    "DictNode": (("key_types",), ("content",)),
    "MaskedArrayNode": (("content", "data"), ("content", "mask")),
    "RandomGeneratorNode": (("content", "bit_generator"), ("content", "seed_seq")),
    "DefaultDictNode": (("content", "main"), ("content", "default_factory")),
    "PartialNode": tuple(("content", name) for name in ("func", "args", "kwds", "namespace")),
    "_DictWithDeprecatedKeysNode": (("content", "main"), ("content", "_deprecated_key_to_new_key")),
    **dict.fromkeys(
        ("ListNode", "TupleNode", "SetNode", "ObjectNode", "RandomStateNode", "DTypeNode"),
        (("content",),),
    ),
}
"""Loader → inner nodes in the order in which skops reads them, which decides shared identities."""
_LISTS: Final = frozenset(
    {"builtins.list", "builtins.set", "builtins.frozenset", "collections.deque"}
)
_DICTS: Final = frozenset({"builtins.dict", "collections.OrderedDict"})
_LOSSES: Final = ("sklearn._loss._loss.", "sklearn.linear_model._sgd_fast.")
_RANDOM: Final = "numpy.random._pickle.__bit_generator_ctor"
_OBJECTS: Final = CallResult(NUMPY_DTYPE, ("O8", False, True))
_RECONSTRUCT: Final = "numpy._core.multiarray._reconstruct"
_MALFORMED: Final = (KeyError, TypeError, AttributeError, IndexError, ValueError)


@dataclass(frozen=True, slots=True)
class _EntryBytes(RawBytes):
    """Part of an archive's entry, read when it is needed."""

    opened: Archive
    name: str

    def read(self) -> bytes:
        with self.opened.stream(self.name) as stream:
            stream.seek(self.start)
            return stream.read(self.size)


def _dtype(dtype: Any) -> CallResult:
    """Symbolic value of a NumPy dtype, as a pickle would rebuild it."""
    _, arguments, state = dtype.__reduce__()
    version, order, base, names, fields, *rest = state
    if base is not None:
        base = (_dtype(base[0]), base[1])
    if fields is not None:
        inner = {name: (_dtype(field[0]), *field[1:]) for name, field in fields.items()}
        fields = Container("builtins.dict", items=inner)
    return CallResult(NUMPY_DTYPE, arguments, (version, order, base, names, fields, *rest))


def _array(
    shape: tuple[int, ...], dtype: CallResult, data: Any, *, fortran: bool = False
) -> CallResult:
    return CallResult(_RECONSTRUCT, state=(1, shape, dtype, fortran, data))


def _listed(values: list[Any]) -> Container:
    made = Container("builtins.list")
    extend(made, values)
    return made


class SkopsStates:
    """Symbolic values of an archive's nodes.

    Args:
        opened: The archive.
        arrays: Headers of its `.npy` entries.
        source: The archive's file.
        limits: Limits of the archives of sparse matrices.
        audited: Names that the caller allows whatever their state.

    Attributes:
        problems: Identity of a node → what is wrong with its call or state.
        unusual: What is only unusual about calls and states, without repetition.
    """

    def __init__(
        self,
        opened: Archive,
        arrays: dict[str, PlainArray],
        source: Source,
        limits: Limits,
        audited: Collection[str] = (),
    ) -> None:
        self.problems: dict[int, str] = {}
        self.unusual: dict[str, None] = {}
        self._audited = audited
        self._opened, self._arrays, self._source, self._limits = opened, arrays, source, limits
        self._known: dict[Any, Any] = {}
        self._matrices: dict[str, CallResult] = {}
        self._items = self._used = 0
        self._reader = ArrayReader()
        self._reader.position = source.size
        self._builders: dict[str, Callable[[dict[str, Any], list[Any]], Any]] = {
            "JsonNode": self._json,
            "NdArrayNode": self._ndarray,
            "SparseMatrixNode": self._sparse,
            "DictNode": self._dict,
            "ListNode": self._list,
            "SetNode": self._list,
            "TupleNode": lambda _, inner: tuple(inner[0]),
            "TypeNode": lambda node, _: Global(_name(node)),
            "FunctionNode": lambda node, _: Global(_name(node)),
            "PartialNode": self._partial,
            "ObjectNode": self._object,
            "TreeNode": lambda node, inner: self._checked(node, TREE, inner[0], inner[1]),
            "LossNode": self._loss,
            "RandomStateNode": lambda node, inner: self._checked(node, _RANDOM, inner[0]),
            "RandomGeneratorNode": lambda node, inner: self._checked(node, _RANDOM, inner[0]),
        }

    def check(self, root: dict[str, Any]) -> None:
        """Check every state that skops would set; the nesting is within the limits."""
        try:
            self._value(root)
        except _MALFORMED as error:
            problem = f"has a node that is not what skops writes ({type(error).__name__})"
            self.problems.setdefault(id(root), problem)

    def _value(self, node: dict[str, Any]) -> Any:
        key = node.get("__id__")
        if key in self._known:
            return self._known[key]
        if key:
            self._known[key] = OPAQUE  # what refers to itself cannot be constructed
        loader = node["__loader__"]
        inner = [self._inner(node, path) for path in _CHILDREN.get(loader, ())]
        build = self._builders.get(loader)
        try:
            value = build(node, inner) if build else OPAQUE
        except _MALFORMED as error:
            self.problems[id(node)] = f"is {error}"
            value = OPAQUE
        if key:
            self._known[key] = value
        return value

    def _inner(self, node: dict[str, Any], path: tuple[str, ...]) -> Any:
        found: Any = node
        for name in path:
            found = found.get(name) if found is not None else None
        if isinstance(found, list):
            return [self._value(each) for each in found]
        if node["__loader__"] == "DictNode" and path == ("content",):
            return {name: self._value(each) for name, each in found.items()}
        return None if found is None else self._value(found)

    def _checked(
        self, node: dict[str, Any], name: str, state: Any, arguments: Any = ()
    ) -> CallResult:
        """Result of a call whose state has been checked."""
        value = CallResult(name, arguments, state)
        try:
            known = isinstance(state, Container) and state.whole
            demand(state is None or isinstance(state, tuple) or known, "other than named values")
            self._require_few_uses(state)
            require_state_inside(value, self._reader)
        except ValueError as error:
            self.problems[id(node)] = f"sets the state of {name} to {error}"
        return value

    def _require_few_uses(self, state: Any) -> None:
        """Demand that shared lists are not looked through again and again."""
        for value in state.items.values() if isinstance(state, Container) else ():
            data = getattr(array(value), "data", value)
            if isinstance(data, Container):
                self._used += data.length
                demand(self._used <= _TIMES * self._items, _SHARED)
                self._used += sum(each.length for each in data.members if type(each) is Container)
        demand(self._used <= _TIMES * self._items, _SHARED)

    def _object(self, node: dict[str, Any], inner: list[Any]) -> CallResult:
        name = _name(node)
        if name.startswith("numpy.random."):
            return self._checked(node, _RANDOM, inner[0])
        if inner[0] is None:
            self._object_to(node, objection(name, NEW, (), audited=self._audited))
        elif not (isinstance(inner[0], tuple) and _has_tuple(name)):
            self._object_to(node, state_objection(name, inner[0], audited=self._audited))
        return self._checked(node, name, inner[0])

    def _partial(self, node: dict[str, Any], inner: list[Any]) -> CallResult:
        name, function = _name(node), inner[0]
        self._object_to(node, objection(name, "call", (function,), audited=self._audited))
        state = (function, inner[1], inner[2], None)
        self._object_to(node, state_objection(name, state, audited=self._audited))
        return CallResult(name, (function,), state)

    def _object_to(self, node: dict[str, Any], found: Objection | None) -> None:
        if found is not None and found.refuses:
            self.problems.setdefault(id(node), found.reason)
        elif found is not None:
            self.unusual[found.reason] = None

    def _loss(self, node: dict[str, Any], inner: list[Any]) -> CallResult:
        demand(_name(node).startswith(_LOSSES), "a loss that calls something else")
        return self._checked(node, _name(node), inner[0], inner[1])

    def _json(self, node: dict[str, Any], _: list[Any]) -> Any:
        value = parse_json(node["content"], what="JsonNode", error=ValueError, constants=True)
        return Container("json", whole=False) if isinstance(value, (dict, list)) else value

    def _dict(self, node: dict[str, Any], inner: list[Any]) -> Container:
        types = node["key_types"]["content"]
        made = Container(_name(node))
        text = len(types) == len(inner[1]) and all(_name(each) == "builtins.str" for each in types)
        fill(made, [part for pair in inner[1].items() for part in pair])
        made.whole = made.whole and text and made.name in _DICTS
        return made

    def _list(self, node: dict[str, Any], inner: list[Any]) -> Container:
        demand(_name(node) in _LISTS, "a list that calls something else")
        self._items += len(inner[0])
        return _listed(inner[0])

    def _ndarray(self, node: dict[str, Any], _: list[Any]) -> Any:
        name = _name(node)
        demand(name.startswith("numpy."), "an array that calls something else")
        if node["type"] == "json":
            values = [self._value(each) for each in node["content"]]
            shape = self._value(node["shape"])
            self._items += len(values)
            return _objects(values, shape) if name == "numpy.ndarray" else OPAQUE
        if name != "numpy.ndarray":
            demand(node["file"] in self._arrays, "an array without its entry")
            return OPAQUE
        return _stored(self._opened, self._arrays, node["file"])

    def _sparse(self, node: dict[str, Any], _: list[Any]) -> CallResult:
        """A sparse matrix, from its archive inside the archive, as `load_npz` reads it."""
        name = node["file"]
        if name in self._matrices:
            return self._matrices[name]
        self._matrices[name] = OPAQUE
        what = f"{self._source.name}: {name}"
        with self._opened.stream(name) as stream, tempfile.NamedTemporaryFile() as held:
            size = 0
            while piece := stream.read(PIECE):
                spend(len(piece), where=what)
                size += held.write(piece)
            held.flush()
            inside = Source(name=what, path=held.name, size=size)
            with archive(inside, limits=self._limits) as opened:
                self._matrices[name] = self._matrix(node, opened, what)
        return self._matrices[name]

    def _matrix(self, node: dict[str, Any], opened: Archive, what: str) -> CallResult:
        headers = require_plain_arrays(opened, opened.entries, what)
        found = {
            name.removesuffix(".npy"): _stored(opened, headers, name) for name in opened.entries
        }
        read = self._reader.numbers
        kind = read(found["format"]).item()
        kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
        demand(kind in _SPARSE, "a sparse matrix of an unknown kind")
        items: dict[str, Any] = {**found, "_shape": tuple(read(found["shape"]).tolist())}
        if "coords" in found:
            rows = read(found["coords"])
            items["coords"] = tuple(
                _array(row.shape, _dtype(row.dtype), row.tobytes()) for row in rows
            )
        state = Container("builtins.dict", items=items)
        return self._checked(node, f"scipy.sparse._{kind}.{kind}_matrix", state)


_SHARED: Final = "lists that are used over and over again"
_TIMES: Final = 16  # chosen: an honest archive uses a list in one or two states
_SPARSE: Final = frozenset({"csr", "csc", "bsr", "coo", "dia"})


def _name(node: dict[str, Any]) -> str:
    return f"{node['__module__']}.{node['__class__']}"


def _has_tuple(name: str) -> bool:
    """Whether a class has a tuple for its state, whose items are looked into by themselves.

    Pickles make the trees of neighbors by a function next to the class.
    """
    made = (name, f"{name.rpartition('.')[0]}.newObj")
    return any(use.startswith("state (") for each in made for use in contracts().get(each, ()))


def _stored(opened: Archive, headers: dict[str, PlainArray], name: str) -> CallResult:
    """An array that is an entry of an archive."""
    header = headers[name]
    size = opened.entries[name].size - header.start
    data = _EntryBytes(io.BytesIO(), header.start, size, opened, name)
    return _array(header.shape, _dtype(header.dtype), data, fortran=header.fortran)


def _objects(values: list[Any], shape: Any) -> CallResult:
    """An array of objects, whose nested lists NumPy would make its dimensions."""
    dimensions = shape if len(shape) != 1 else (len(values),)
    for size in dimensions[1:]:
        rows = [row for row in values if isinstance(row, Container) and row.length == size]
        demand(len(rows) == len(values), "an array of objects of another shape")
        values = [each for row in rows for each in row.members]
        demand(len(values) == size * len(rows), "an array of other objects")
    return _array(dimensions, _OBJECTS, _listed(values))
