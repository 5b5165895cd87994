"""Recognition of pickles without a header, under any name.

first bytes of a file → symbolic execution up to where it fails → whether Python would run code

Text may begin as a pickle does (`cat`, `dog` on two lines import `at.dog`), and so may numbers. A
file counts as a pickle if it is whole and imports something, or has made a call where it ends.
"""

from __future__ import annotations

import io
import itertools
import pickletools
from typing import Final

from mlsecops.errors import ContentRefused
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.pickle_vm.walker import Walker

SEARCHED: Final = 16 * MIB  # bytes; chosen: a file whose first import is behind them stays unknown
_OPCODES: Final = 200_000  # opcodes; chosen: other content ends after a few
_CALLS: Final = frozenset({"BUILD", "INST", "NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"})


def runs_as_pickle(data: bytes) -> bool:
    r"""Whether Python's pickle reader would import and call something.

    Args:
        data: The file's first `SEARCHED` bytes.

    Examples:
        >>> runs_as_pickle(b"cos\nsystem\n(S'true'\ntR."), runs_as_pickle(b"cat\ndog\nmouse\n")
        (True, False)
    """
    limits = Limits(opcodes=_OPCODES)
    walker = Walker(allowed=(), limits=limits, artifact="", where="pickle")
    whole, failed = False, 0
    try:
        whole = bool(walker.run(io.BytesIO(data)).end)
    except (ContentRefused, RecursionError) as error:
        failed = int(isinstance(error.__cause__, (IndexError, KeyError, TypeError)))
    imports = any(each.rule != "pickle-persistent" for each in walker.walk.findings)
    return imports and (whole or has_called(data, walker.walk.opcodes - failed))


def has_called(data: bytes, opcodes: int) -> bool:
    """Whether a call is among the first opcodes."""
    made = itertools.islice(pickletools.genops(data), opcodes)
    return any(opcode.name in _CALLS for opcode, _, _ in made)
