"""PyRIT's side of `benchmarks.scanners`, run by the Python of its environment."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pyrit
from pyrit.models import Message, MessagePiece
from pyrit.prompt_target import PromptTarget
from pyrit.prompt_target.common.target_capabilities import TargetCapabilities
from pyrit.prompt_target.common.target_configuration import TargetConfiguration
from pyrit.setup import initialize_pyrit_async

from mlsecops.integrations.pyrit import CLASS, pyrit_target, pyrit_templates
from mlsecops.llm import fuzz

ATTEMPTS = 128


class Repeating(PromptTarget):
    """A target that repeats what it is asked, and keeps the roles of its conversations."""

    _DEFAULT_CONFIGURATION = TargetConfiguration(
        capabilities=TargetCapabilities(
            supports_multi_turn=True, supports_system_prompt=True, supports_editable_history=True
        )
    )

    def __init__(self) -> None:
        super().__init__()
        self.roles: Counter[tuple[str, ...]] = Counter()

    async def _send_prompt_to_target_async(
        self, *, normalized_conversation: list[Any]
    ) -> list[Any]:
        self.roles[tuple(each.message_pieces[0].role for each in normalized_conversation)] += 1
        asked = normalized_conversation[-1].message_pieces[0]
        said = MessagePiece(
            role="assistant",
            original_value=str(asked.original_value),
            conversation_id=asked.conversation_id,
        )
        return [Message(message_pieces=[said])]


def main() -> None:
    """Run and print."""
    asyncio.run(initialize_pyrit_async("InMemory"))
    folder = Path(pyrit.__file__).parent / "datasets" / "jailbreak" / "templates"
    target = Repeating()
    own = pyrit_templates(folder)
    campaign = fuzz(pyrit_target(target), attempts=ATTEMPTS, own=own)
    outcomes = Counter(result.outcome for result in campaign.results)
    carried = sum(result.attempt.family == CLASS for result in campaign.results)
    print(f"PyRIT: {ATTEMPTS} attempts, {carried} in its templates: {dict(outcomes)}")
    print(f"conversations by roles: {dict(target.roles)}")


if __name__ == "__main__":
    main()
