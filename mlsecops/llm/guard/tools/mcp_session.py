"""Client session of the Model Context Protocol whose tools are pinned and guarded.

`mcp.ClientSession` → `VerifiedTools` → the same two methods: tools are listed only if they are as
hashed, and a call is made only of such a tool, checked again while running, with its effect and
within a `Session` as any guarded tool's

Source: Model Context Protocol specification (2025-06-18), "Tools" (`tools/list`, `tools/call`,
`notifications/tools/list_changed`).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.llm.guard.guarded_tools import guarded_tool
from mlsecops.llm.guard.session import Effect
from mlsecops.llm.guard.tools.tool_definitions import verify_tools
from mlsecops.llm.guard.tools.tool_shapes import tool_members

__all__ = ["VerifiedTools"]

_PAGES: Final = 100  # pages of a list of tools; chosen: a server that has more is refused


@concise_repr("_known", "_effects")
class VerifiedTools:
    """A client session that refuses tools which are new, changed or shadowed.

    Args:
        session: `mcp.ClientSession` or `mcp.Client`, or anything with their `list_tools` and
            `call_tool`.
        known: Hashes of the approved tools, from `hash_tools` or `ToolHashes.load`.
        effects: Effect of each tool by name; one without is `"execute"`, the most that it can be.
        recheck: Seconds after which the definitions are read again before a call, ≥ 0.
        clock: Returns seconds.

    Raises:
        UsageError: `recheck` is negative.
    """

    @checked
    def __init__(
        self,
        session: Any,
        known: Mapping[str, str],
        *,
        effects: Mapping[str, Effect] | None = None,
        recheck: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not recheck >= 0:
            raise UsageError(f"recheck: expected seconds from 0 on, got {recheck}")
        self._session, self._known = session, dict(known)
        self._effects: dict[str, Effect] = dict(effects or {})
        self._recheck, self._clock = recheck, clock
        self._checked_at: float | None = None
        self._names: frozenset[str] = frozenset()

    async def list_tools(self) -> list[Any]:
        """All tools of the server, verified.

        Raises:
            VerificationError: One is new or changed, or two names look the same.
            UsageError: The list has no end.
        """
        tools: list[Any] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await self._page(cursor)
            tools += page.tools
            cursor = getattr(page, "nextCursor", None) or getattr(page, "next_cursor", None)
            if cursor is None:
                break
        else:
            raise UsageError(f"tools: expected a list of at most {_PAGES} pages, got more")
        self._names = frozenset()
        verify_tools(tools, self._known)
        self._names = frozenset(str(tool_members(tool)["name"]) for tool in tools)
        self._checked_at = self._clock()
        return tools

    async def _page(self, cursor: str | None) -> Any:
        """A page of the list, from the server and not from a cache of the client."""
        takes = inspect.signature(self._session.list_tools).parameters
        options: dict[str, Any] = {"cache_mode": "refresh"} if "cache_mode" in takes else {}
        if cursor is not None and "cursor" in takes:
            options["cursor"] = cursor
        elif cursor is not None:
            options["params"] = require("mcp.types").PaginatedRequestParams(cursor=cursor)
        return await self._session.list_tools(**options)

    def changed(self) -> None:
        """Note that the server announced a change, so that the next call reads them again."""
        self._checked_at = None

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool within the open `Session`, as a guarded tool of its effect.

        Raises:
            AccessDenied: The server has no such approved tool, or the session denies the call.
            VerificationError: The definitions are no longer those that were approved.
        """
        at = self._checked_at
        if at is None or self._clock() - at >= self._recheck:
            await self.list_tools()
        if name not in self._names:
            raise AccessDenied(f"tool {name!a} is denied: expected an approved one of the server")

        @guarded_tool(effect=self._effects.get(name, "execute"), name=name)
        async def call(**given: Any) -> Any:
            return await self._session.call_tool(name, given)

        return await call(**dict(arguments or {}))
