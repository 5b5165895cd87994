"""What a step of a playbook says before anything is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Approval", "PlaybookStep"]

Approval = Literal["none", "automatic", "required"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookStep:
    """One step of a playbook.

    Attributes:
        name: Unique in the playbook.
        action: `isolate`, `evidence`, `assess`, `rollback`, `remediate`, `validate`,
            `close`, or `manual` for what people do.
        title: For people.
        instructions: What is done, or what people are asked to do.
        approval: `none`, `automatic` or `required`.
    """

    name: str
    action: str
    title: str
    instructions: str
    approval: Approval = "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "action": self.action,
            "title": self.title,
            "instructions": self.instructions,
            "approval": self.approval,
        }
