"""Conversation of one attempt, over one or several turns.

attempt → answer → score → while it is resisted: the next text of the attacker → the deciding turn.
With several texts to choose from, each is tried from the same history, and the answer that came
nearest to success goes on: a tree of attacks whose requests are at most 1 + turns × branches.

Source: Russinovich, Salem and Eldan, "Great, Now Write an Article About That: The Crescendo
Multi-Turn LLM Jailbreak Attack" (2024); Mehrotra et al., "Tree of Attacks" (2023), here with seeded
texts in place of a model that writes them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Final

from mlsecops.llm.redteam.answers import Answer
from mlsecops.llm.redteam.attempts import Attempt, Message
from mlsecops.llm.redteam.journal import KEPT, JournalEntry
from mlsecops.llm.redteam.scoring import score
from mlsecops.llm.redteam.target import Channel
from mlsecops.llm.text.unicode import joined

__all__ = ["converse"]

_COMPARED: Final = 2000  # characters of an answer that are compared with the evidence; chosen
_WORDLESS: Final = "(no words)"


async def converse(channel: Channel, attempt: Attempt) -> JournalEntry:
    """Hold the conversation of an attempt, to its first success or its end."""
    entry, answer = await _asked(channel, attempt, attempt.messages, 1)
    history = attempt.messages
    for turn, texts in enumerate(attempt.follow_ups, start=2):
        if entry.outcome != "resisted" or answer is None:
            break
        history = (*history, {"role": "assistant", "content": answer.text or _WORDLESS})
        tried: list[tuple[JournalEntry, Answer | None, tuple[Message, ...]]] = []
        for text in texts:
            messages = (*history, {"role": "user", "content": text})
            found, said = await _asked(channel, attempt, messages, turn)
            entry = replace(found, usage=entry.usage + found.usage)
            tried.append((entry, said, messages))
            if found.outcome == "success":
                return entry
        best = max(tried, key=lambda each: _progress(attempt, each[1]))
        entry, answer, history = replace(best[0], usage=entry.usage), best[1], best[2]
    return entry


async def _asked(
    channel: Channel, attempt: Attempt, messages: tuple[Message, ...], turn: int
) -> tuple[JournalEntry, Answer | None]:
    asked = await channel.ask(replace(attempt, messages=messages))
    if asked.answer is None:
        reason = asked.reason
        return JournalEntry(outcome="error", usage=asked.usage, reason=reason, turn=turn), None
    outcome, reason = score(attempt, asked.answer)
    entry = JournalEntry(
        outcome=outcome, usage=asked.usage, reason=reason, answer=_kept(asked.answer), turn=turn
    )
    return entry, asked.answer


def _kept(answer: Answer) -> str:
    calls = "\n".join(f"{call.name}({call.arguments})" for call in answer.tool_calls)
    text = "\n".join(part for part in (answer.text, calls) if part)[:KEPT]
    return str(json.loads(json.dumps(text)))


def _progress(attempt: Attempt, answer: Answer | None) -> float:
    """How near an answer came to success: the longest part of the evidence in it."""
    if answer is None:
        return -1.0
    wanted, said = joined(attempt.expect.value), joined(answer.text[:_COMPARED])
    matcher = SequenceMatcher(None, wanted, said, autojunk=False)
    return matcher.find_longest_match().size / max(len(wanted), 1)
