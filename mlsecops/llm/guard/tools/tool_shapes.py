"""Shapes of tool definitions: functions, chat completions, responses, Anthropic messages and MCP.

definition, mapping or object → its members by name, those of an inner `function` included
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["tool_members"]

_NAMES: Final = (
    "name", "title", "description", "parameters", "input_schema", "inputSchema", "outputSchema",
    "annotations", "strict", "effect", "type",
)  # fmt: skip


def tool_members(tool: Any) -> dict[str, Any]:
    """Members of a definition; of a function, its name, signature and documentation.

    Examples:
        >>> tool_members({"type": "function", "function": {"name": "pay"}})["name"]
        'pay'
    """
    if isinstance(tool, Mapping):
        inner = tool.get("function")
        return dict(inner) if isinstance(inner, Mapping) else dict(tool)
    dump = getattr(tool, "model_dump", None)
    if callable(dump):
        found = dump(mode="json", by_alias=True, exclude_none=True)
        return dict(found) if isinstance(found, Mapping) else {}
    if inspect.isroutine(tool) or hasattr(tool, "guarded_effect"):
        return {
            "name": getattr(tool, "guarded_name", None) or getattr(tool, "__name__", ""),
            "description": inspect.getdoc(tool) or "",
            "parameters": str(inspect.signature(tool)),
            "effect": getattr(tool, "guarded_effect", None),
        }
    return {name: getattr(tool, name) for name in _NAMES if getattr(tool, name, None) is not None}
