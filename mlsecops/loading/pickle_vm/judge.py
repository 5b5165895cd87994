"""Findings about calls and states, as a walker meets them.

objections of `call_rules` and errors of `states` → findings and unchecked parts of a `Walk`
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops.findings import Finding, Severity
from mlsecops.loading.pickle_vm.arrays import ArrayReader
from mlsecops.loading.pickle_vm.call_rules import Objection, state_objection
from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE, layout
from mlsecops.loading.pickle_vm.stack import CallResult
from mlsecops.loading.pickle_vm.states import require_state_inside
from mlsecops.loading.pickle_vm.walk import Walk
from mlsecops.loading.verdict import Unchecked


class Judge:
    """Collector of findings at the current position.

    Args:
        artifact: Name for findings.
        where: Entry or stream of the pickles.
        audited: Names that the caller allows whatever they are called with.
    """

    def __init__(self, *, artifact: str, where: str, audited: Collection[str]) -> None:
        self.walk = Walk()
        self._artifact, self._where, self._audited = artifact, where, audited
        self._reader = ArrayReader()
        self._at = 0

    @property
    def _place(self) -> str:
        return f"{self._where} byte {self._at}"

    def _find(self, rule: str, message: str, *, severity: Severity = Severity.CRITICAL) -> None:
        self.walk.findings.append(
            Finding(
                rule=rule,
                severity=severity,
                message=message,
                where=self._place,
                artifact=self._artifact,
            )
        )

    def _object(self, rule: str, found: Objection | None) -> None:
        if found is not None and found.refuses:
            self._find(rule, found.reason)
        elif found is not None:
            self.walk.unchecked.setdefault(
                found.reason, Unchecked(what=f"{self._artifact}: {self._place}", why=found.reason)
            )

    def _set_state(self, target: CallResult, state: object) -> None:
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
        else:
            self._check_state(target)

    def _check_state(self, target: CallResult) -> None:
        state, arguments = target.state, target.arguments
        found = state_objection(target.name, state, arguments=arguments, audited=self._audited)
        self._object("pickle-build", found)
        self._reader.position = self._at
        try:
            require_state_inside(target, self._reader)
        except ValueError as error:
            problem = f"sets the state of {target.name} to {error}"
            self._find("pickle-state", problem, severity=Severity.HIGH)
