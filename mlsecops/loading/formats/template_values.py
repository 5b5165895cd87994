"""Taint analysis of a chat template: values that may be text put together from parts.

jinja2's syntax tree → assignments, solved to a fixed point → kinds of any expression

The analysis ignores the order of statements and unites every assignment of a name. Names that the
server passes in (`messages`, `tools`) have no kind; the special tokens are text of the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import LimitExceeded

PLAIN: Final = 1
"""Bit: a literal text, or one that begins with a harmless literal."""
RISKY: Final = 2
"""Bit: text put together from parts, or the literal name of an internal attribute."""
PART: Final = 4
"""Bit: text made of an outer value."""
SLICE: Final = 8
"""Bit: a slice of an outer value, text or list."""
_TEXT: Final = PLAIN | RISKY | PART
_HOLDS: Final = 4
"""Bits that the kinds of a container's members are moved up by."""
_MEMBERS: Final = _TEXT << _HOLDS
_DEPTH: Final = 150  # levels; chosen: real templates nest expressions less than twenty deep
_PASSES: Final = 20  # passes; chosen: each chain of assignments in wrong order takes one more

INTERNAL: Final = frozenset(
    {"ag_code", "ag_frame", "cr_code", "cr_frame", "f_back", "f_builtins", "f_code", "f_globals",
     "f_locals", "func_code", "func_globals", "gi_code", "gi_frame", "mro", "tb_frame"}
)  # fmt: skip
"""Attributes without an underscore in front that jinja2's sandbox refuses (`jinja2.sandbox`)."""
_NUMBERS: Final = frozenset(
    {"abs", "count", "filesizeformat", "float", "int", "length", "round", "wordcount"}
)
_SAME: Final = frozenset({"default", "d"})
_TEXTS: Final = frozenset(
    {"capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "pprint", "safe",
     "string", "striptags", "title", "tojson", "trim", "truncate", "upper", "urlencode", "urlize",
     "wordwrap", "xmlattr", "casefold", "lstrip", "rstrip", "strip", "removeprefix",
     "removesuffix", "split", "rsplit", "splitlines", "partition", "rpartition"}
)  # fmt: skip
"""Filters and methods that make text, or pieces of it, of their one operand."""
_JOINS: Final = frozenset({"format", "join", "replace", "format_map", "translate", "zfill", "ljust",
                           "rjust", "expandtabs", "encode", "decode", "hex", "chr"})  # fmt: skip
_LISTS: Final = frozenset(
    {"batch", "dictsort", "groupby", "items", "list", "reject", "rejectattr", "reverse", "select",
     "selectattr", "slice", "sort", "sum", "unique"}
)  # fmt: skip
_CHOICES: Final = frozenset({"first", "last", "max", "min", "random"})
_COUNTS: Final = frozenset(
    {"count", "endswith", "find", "index", "isalpha", "isdigit", "isnumeric", "isspace", "rfind",
     "rindex", "startswith"}
)  # fmt: skip
_LOOKUPS: Final = frozenset({"get", "pop", "setdefault"})
_CHANGES: Final = frozenset({"append", "extend", "insert", "update", "setdefault", "add"})
_ASSIGNING: Final = frozenset(
    {"Assign", "AssignBlock", "Call", "CallBlock", "For", "Macro", "With"}
)  # fmt: skip
_CONTAINERS: Final = frozenset({"cycler", "dict", "joiner", "namespace", "list", "zip"})
_QUIET: Final = frozenset({"range", "raise_exception", "lipsum"})


def internal(name: str) -> bool:
    """Whether jinja2's sandbox refuses an attribute.

    Examples:
        >>> internal("__class__"), internal("gi_frame"), internal("content")
        (True, True, False)
    """
    return name.startswith("_") or name in INTERNAL


class Values:
    """Kinds of the expressions of one template.

    Args:
        nodes: Every node of jinja2's syntax tree, in document order.
        where: Name for messages.
    """

    def __init__(self, nodes: list[Any], where: str) -> None:
        self._names: dict[str, int] = {"self": members(RISKY)}  # a block's text, as self.block()
        self._where, self._pace = where, Pace(where)
        self._nodes = nodes
        self._macros = self._require_macros_called()
        self._cache: dict[int, int] = {}
        assigning = [each for each in nodes if type(each).__name__ in _ASSIGNING]
        for _ in range(_PASSES):
            before = dict(self._names)
            self._cache = {}
            for node in assigning:
                self._pace.step()
                self._assign(node)
            if before == self._names:
                return
        raise LimitExceeded(f"{where}: a template whose assignments take over {_PASSES} passes")

    def _require_macros_called(self) -> frozenset[str]:
        """Names of the macros, none of which is passed on under another name."""
        macros = {each.name for each in self._nodes if type(each).__name__ == "Macro"}
        callees = {id(each.node) for each in self._nodes if type(each).__name__ == "Call"}
        for each in self._nodes:
            if type(each).__name__ == "Name" and each.name in macros and id(each) not in callees:
                raise LimitExceeded(f"{self._where}: passes macro {each.name[:80]!r} on")
        return frozenset(macros | {"caller"})

    def kinds(self, node: Any, depth: int = 0) -> int:
        """Kinds of one expression, as bits.

        Raises:
            LimitExceeded: It is nested too deeply.
        """
        if depth > _DEPTH:
            raise LimitExceeded(f"{self._where}: expressions nested deeper than {_DEPTH}")
        if node is None:
            return 0
        if id(node) not in self._cache:
            self._pace.step()
            rule = self._RULES.get(type(node).__name__)
            self._cache[id(node)] = rule(self, node, depth + 1) if rule else 0
        return self._cache[id(node)]

    def _union(self, nodes: Iterable[Any], depth: int) -> int:
        found = 0
        for node in nodes:
            found |= self.kinds(node, depth)
        return found

    def _arguments(self, node: Any, depth: int) -> int:
        inner = [*node.args, *(pair.value for pair in node.kwargs), node.dyn_args, node.dyn_kwargs]
        return self._union(inner, depth)

    def _add(self, target: Any, kinds: int) -> None:
        """Unite kinds into every name of a target."""
        for node in walk(target):
            if type(node).__name__ == "Name":
                self._names[node.name] = self._names.get(node.name, 0) | kinds
            elif type(node).__name__ == "NSRef":
                self._names[node.name] = self._names.get(node.name, 0) | members(kinds)

    def _assign(self, node: Any) -> None:
        kind = type(node).__name__
        if kind == "Assign":
            value = self.kinds(node.node)
            several = type(node.target).__name__ == "Tuple"
            self._add(node.target, value | element(value) if several else value)
        elif kind == "AssignBlock":
            self._add(node.target, RISKY)
        elif kind == "For":
            value = element(self.kinds(node.iter))
            self._add(node.target, value)
            self._names["loop"] = self._names.get("loop", 0) | members(value)
        elif kind == "With":
            for target, value in zip(node.targets, node.values, strict=True):
                self._add(target, self.kinds(value))
        elif kind in {"Macro", "CallBlock"}:
            for target in node.args:
                self._add(target, self._names.get("()", 0) | self._union(node.defaults, 0))
            for name in ("varargs", "kwargs"):
                self._names[name] = self._names.get(name, 0) | members(self._names.get("()", 0))
        elif kind == "Call":
            self._called(node)

    def _called(self, node: Any) -> None:
        """Arguments reach the parameters of macros, and the containers that a method changes."""
        arguments = self._arguments(node, 0)
        method = member_name(node.node)
        if method is None:
            self._names["()"] = self._names.get("()", 0) | arguments
        elif method in _CHANGES:
            base = node.node
            while type(base).__name__ in {"Getattr", "Getitem"}:
                base = base.node
            self._add(base, members(arguments) | (arguments & _MEMBERS))

    # Rules: one for each kind of expression.

    def _const(self, node: Any, _: int) -> int:
        if not isinstance(node.value, str):
            return 0
        return RISKY if internal(node.value) else PLAIN

    def _name(self, node: Any, _: int) -> int:
        token = node.name.endswith(("_token", "_tokens"))
        return self._names.get(node.name, 0) | (RISKY | members(RISKY) if token else 0)

    def _sequence(self, node: Any, depth: int) -> int:
        inner = self._union(node.items, depth)
        return members(inner)

    def _dict(self, node: Any, depth: int) -> int:
        found = 0
        for pair in node.items:
            found |= self.kinds(pair.key, depth) | self.kinds(pair.value, depth)
        return members(found)

    def _concat(self, node: Any, depth: int) -> int:
        self._union(node.nodes, depth)
        return PLAIN if _harmless(node.nodes[0]) else RISKY

    def _plus(self, node: Any, depth: int) -> int:
        both = self.kinds(node.left, depth) | self.kinds(node.right, depth)
        if "List" in {type(node.left).__name__, type(node.right).__name__}:
            return both & _MEMBERS
        if not both & (_TEXT | SLICE):
            return both
        begins = node.left
        while type(begins).__name__ == "Add":
            begins = begins.left
        return PLAIN if _harmless(begins) else RISKY | (both & _MEMBERS)

    def _times(self, node: Any, depth: int) -> int:
        both = self.kinds(node.left, depth) | self.kinds(node.right, depth)
        return RISKY if both & (_TEXT | SLICE) else both

    def _either(self, node: Any, depth: int) -> int:
        return self.kinds(node.left, depth) | self.kinds(node.right, depth)

    def _condition(self, node: Any, depth: int) -> int:
        return self.kinds(node.expr1, depth) | self.kinds(node.expr2, depth)

    def _item(self, node: Any, depth: int) -> int:
        value = self.kinds(node.node, depth)
        key = type(node.arg).__name__
        if key == "Slice":
            parts = RISKY if value & (PLAIN | RISKY) else value & PART
            return parts | SLICE | (value & _MEMBERS)
        if key == "Const" and isinstance(node.arg.value, str):
            return member(value)
        return element(value)

    def _attribute(self, node: Any, depth: int) -> int:
        return member(self.kinds(node.node, depth))

    def _filter(self, node: Any, depth: int) -> int:
        value, others = self.kinds(node.node, depth), self._arguments(node, depth)
        if node.name in _NUMBERS:
            return 0
        if node.name in _SAME:
            return value | others
        if node.name in _CHOICES:
            return element(value)
        if node.name == "reverse" and value & _TEXT:
            return value & PART or RISKY
        if node.name in _LISTS:
            text = members(RISKY) if value & (PLAIN | RISKY) else members(value & PART)
            default = [pair.value for pair in node.kwargs if pair.key != "attribute"]
            return text | ((value | others) & _MEMBERS) | members(self._union(default, depth))
        if node.name == "map":
            by_attribute = not node.args and {pair.key for pair in node.kwargs} == {"attribute"}
            return value & _MEMBERS if by_attribute else members(RISKY)
        return _made(node.name, value, others)

    def _call(self, node: Any, depth: int) -> int:
        others = self._arguments(node, depth)
        method = member_name(node.node)
        if method is not None:
            value = self.kinds(node.node.node, depth)
            if method in _LOOKUPS:
                return member(value) | element(value & _MEMBERS) | others
            if method in {"items", "keys", "values", "copy"}:
                return value & _MEMBERS | members(value & _TEXT)
            known = (value | others) & (_TEXT | _MEMBERS) or method in _TEXTS | _JOINS
            return _made(method, value, others) if known and method not in _COUNTS else 0
        name = getattr(node.node, "name", None)
        if name in _CONTAINERS:
            return members(others) | (others & _MEMBERS)
        if name in _QUIET:
            return 0
        callee = self.kinds(node.node, depth)
        return RISKY if others or callee or name in self._macros else PART

    _RULES: Final[dict[str, Callable[[Values, Any, int], int]]] = {
        "Const": _const,
        "TemplateData": lambda _self, _node, _depth: RISKY,
        "Name": _name,
        **dict.fromkeys(("List", "Tuple"), _sequence),
        "Dict": _dict,
        "Concat": _concat,
        "Add": _plus,
        **dict.fromkeys(("Mul", "Mod"), _times),
        **dict.fromkeys(("And", "Or"), _either),
        "CondExpr": _condition,
        "Getitem": _item,
        "Getattr": _attribute,
        "Filter": _filter,
        "Call": _call,
    }


def _made(name: str, value: int, others: int) -> int:
    """Kinds of what a filter or method makes of a value and further arguments."""
    if name in _JOINS or (value & SLICE and name in _TEXTS):
        return RISKY
    if (value | others) & _MEMBERS or value & (PLAIN | RISKY):
        return RISKY | members(RISKY)
    if name in _TEXTS:
        return PART | members(PART)  # outer text, or pieces of it cut at a literal
    return RISKY | members(RISKY) if others & _TEXT else value


def members(kinds: int) -> int:
    """Kinds of a container whose members have these kinds."""
    return (kinds & _TEXT) << _HOLDS | (kinds & _MEMBERS)


def member(kinds: int) -> int:
    """Kinds of what a container of these kinds holds under a name."""
    return (kinds & _MEMBERS) >> _HOLDS | (kinds & _MEMBERS)


def element(kinds: int) -> int:
    """Kinds of what an index finds in a value of these kinds: a member, or a character."""
    character = RISKY if kinds & (PLAIN | RISKY) else kinds & PART
    return member(kinds) | character


def member_name(node: Any) -> str | None:
    """Name of the attribute or literal key that an expression ends with, or None."""
    if type(node).__name__ == "Getattr":
        return str(node.attr)
    if type(node).__name__ == "Getitem" and type(node.arg).__name__ == "Const":
        return str(node.arg.value)
    return None


def walk(tree: Any) -> Iterator[Any]:
    """Every node of a syntax tree in document order, without recursion."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed([*node.iter_child_nodes()])


def _harmless(node: Any) -> bool:
    """Whether text that begins with an expression is no internal attribute's name."""
    kind = type(node).__name__
    if kind == "Concat":
        return _harmless(node.nodes[0])
    text = node.value if kind == "Const" else None
    if not isinstance(text, str) or text.startswith("_"):
        return False
    return not any(each.startswith(text) for each in INTERNAL)
