"""Every attack by its name: ``from tests.attacker import malicious_pickle``.

The attacks stand in ``tests/attackers/``, one module for each room of the library; this face has
whatever those modules define, so that a new attack needs no entry here. A name that several rooms
use has the room in front: ``signing_flip_byte``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path


def _attacks() -> Iterator[tuple[str, str, object]]:
    """Room, name and attack."""
    for file in sorted(Path(__file__).with_name("attackers").glob("[!_]*.py")):
        module = import_module(f"tests.attackers.{file.stem}")
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__:
                yield file.stem, name, value


_ALL = list(_attacks())
_USES = Counter(name for _, name, _ in _ALL)
globals().update(
    {name if _USES[name] == 1 else f"{room}_{name}": attack for room, name, attack in _ALL}
)
