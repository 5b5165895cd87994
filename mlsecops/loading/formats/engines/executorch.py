"""ExecuTorch program scanner: operators of known libraries, delegates named.

Source: ExecuTorch `schema/program.fbs`; `docs/source/pte-file-format.md`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.flatbuffers import FlatTables, flat_tables
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked, unlisted

_LIBRARIES: Final = frozenset(
    {"aten", "dim_order_ops", "executorch_prim", "et_copy", "prim", "quantized_decomposed", "llama",
     "torchao", "quantized"}
)  # fmt: skip
"""Namespaces of the operators that ExecuTorch and its own kernel libraries register."""
_PLANS: Final = 1  # field number; program.fbs, `execution_plan`
_PLAN_OPERATORS, _PLAN_DELEGATES = 6, 7


def examine_executorch(
    source: Source, limits: Limits, allowed: Collection[str] = ()
) -> Examination:
    """Check the operators of each plan; `allowed`: namespaces of operators."""
    findings: dict[str, Finding] = {}
    unchecked: dict[str, Unchecked] = {}
    with flat_tables(source, limits) as tables:
        for plan in tables.tables(tables.root(), _PLANS):
            for name in _operators(tables, plan):
                home = name.partition("::")[0]
                if home not in _LIBRARIES and home not in allowed:
                    findings[home] = unlisted(
                        "executorch-operator",
                        f"uses operator {name[:200]!r}, which a library outside implements",
                        home[:200],
                        where=name[:200],
                        artifact=source.name,
                        severity=Severity.HIGH,
                    )
            for delegate in tables.tables(plan, _PLAN_DELEGATES):
                name = tables.text(delegate, 0)[:80]
                why = f"a part compiled for the delegate {name!r}"
                unchecked[name] = Unchecked(what=source.name, why=why)
    return Examination(findings=tuple(findings.values()), unchecked=tuple(unchecked.values()))


def _operators(tables: FlatTables, plan: int) -> list[str]:
    return [tables.text(each, 0) for each in tables.tables(plan, _PLAN_OPERATORS)]
