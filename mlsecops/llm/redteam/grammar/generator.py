"""Generator of attack attempts and honest questions.

seed, index → family → draft in a scene → mutators → `Attempt`. Each attempt depends on the seed and
its index alone, so the first hundred are the same in a campaign of a thousand. An attempt is kept
only if its messages do not contain the evidence of success, even decoded; a canary is in the system
message alone.
"""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked, some_of
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.attempts import ABILITY, BENIGN, Attempt, Expectation, Message
from mlsecops.llm.redteam.disclosure import discloses
from mlsecops.llm.redteam.grammar.application import Application
from mlsecops.llm.redteam.grammar.attack_texts import filled
from mlsecops.llm.redteam.grammar.families import FAMILIES, Draft, Family, ability_draft
from mlsecops.llm.redteam.grammar.mutators import draw_mutators
from mlsecops.llm.redteam.grammar.scenes import Ground, Scene

__all__ = ["Plan", "draw_attempts", "iter_attempts"]

_DRAWS: Final = 100  # draws of an attempt; chosen: nearly all succeed at once, so 100 show a bug
_ECHOED: Final = 200  # characters that a repetition may add; chosen
_VERSION: Final = "mlsecops.fuzz/2"  # to be changed with the grammar
QUESTIONS: Final = 2
"""Plain questions about each ability that nothing else showed; chosen."""

Spotlighting: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign draws.

    Attributes:
        seed: Seed.
        families: Classes, which take turns.
        ground: What attempts grow out of.
        turns: Turns of a conversation, ≥ 1.
        branches: Texts to choose from in each further turn, ≥ 1.
        spotlight: Method that marks texts from outside, for a second attempt each; or None.
    """

    seed: int
    families: Mapping[str, Family]
    ground: Ground
    turns: int = 1
    branches: int = 1
    spotlight: Spotlighting | None = None

    def attempts(self, count: int) -> Iterator[tuple[Attempt, Attempt | None]]:
        """Draw attempts, and with `spotlight` the spotlit form of those from outside."""
        names = list(self.families)
        for index in range(count):
            name, number = names[index % len(names)], index // len(names)
            yield self._drawn(name, f"{name}\0{index}", number)

    def questions(self, need: str) -> tuple[Attempt, ...]:
        """Plain questions about an ability."""

        def draft(rng: random.Random, ground: Ground, _scene: Scene, _number: int) -> Draft:
            return ability_draft(rng, ground, need)

        plan = replace(self, families={ABILITY: replace(FAMILIES[ABILITY], draw=draft)})
        keys = (f"{ABILITY}\0{need}\0{each}" for each in range(QUESTIONS))
        return tuple(plan._drawn(ABILITY, key, 0)[0] for key in keys)  # noqa: SLF001 - its own class

    def _drawn(self, name: str, key: str, number: int) -> tuple[Attempt, Attempt | None]:
        text = f"{_VERSION}\0{self.seed}\0{key}\0{self.ground.version}"
        rng = random.Random(text)  # noqa: S311 - repeatable, no secret
        for _ in range(_DRAWS):
            pair = self._attempt(name, rng, number)
            own = name == BENIGN and self.ground.questions  # whose answers the duty may hold
            if own or all(_is_conclusive(each) for each in pair if each is not None):
                return pair
        raise AssertionError(f"{name}: each of {_DRAWS} draws contains its evidence of success")

    def _attempt(
        self, name: str, rng: random.Random, number: int
    ) -> tuple[Attempt, Attempt | None]:
        family, ground = self.families[name], self.ground
        scene = rng.choice(ground.scenes)
        draft = family.draw(rng, ground, scene, number)
        mutators = draw_mutators(rng, draft.text, group=family.group) if family.mutated else ()
        text = draft.text
        for mutator in mutators:
            text = mutator.change(text, rng, hint=ground.texts["hint"])
        duty = _duty(draft, scene, ground)
        turns = draft.turns(text, str)
        attempt = Attempt(
            family=name,
            mutators=tuple(mutator.name for mutator in mutators),
            owasp=family.owasp,
            atlas=family.atlas,
            messages=({"role": "system", "content": duty}, *turns),
            expect=_beyond_echo(draft.expect, duty, turns),
            tools=draft.tools,
            needs=(*draft.needs, *(mutator.name for mutator in mutators)),
        )
        if not attempt.control:
            attempt = replace(attempt, follow_ups=self._follow_ups(rng, draft))
        return attempt, self._spotlit(attempt, draft, text, duty, rng)

    def _follow_ups(self, rng: random.Random, draft: Draft) -> tuple[tuple[str, ...], ...]:
        known = self.ground.texts["follow_ups"]
        return tuple(
            tuple(
                filled(each, order=draft.text)
                for each in rng.sample(known, min(self.branches, len(known)))
            )
            for _ in range(self.turns - 1)
        )

    def _spotlit(
        self, attempt: Attempt, draft: Draft, text: str, duty: str, rng: random.Random
    ) -> Attempt | None:
        """The same attempt with what comes from outside marked, and the marks explained."""
        if self.spotlight is None or not draft.indirect:
            return None
        seeded = {"token": rng.randbytes} if _takes_token(self.spotlight) else {}
        said: list[str] = []

        def mark(outside: str) -> str:
            lit = self.spotlight(outside, **seeded) if self.spotlight else None
            said.append(str(lit.instruction) if lit is not None else "")
            return str(lit.text) if lit is not None else outside

        turns = draft.turns(text, mark)
        system = {"role": "system", "content": "\n".join([duty, *dict.fromkeys(said)])}
        return replace(attempt, messages=(system, *turns))


def _beyond_echo(expect: Expectation, duty: str, turns: Sequence[Message]) -> Expectation:
    """An expectation whose least size no repetition of the prompt has."""
    if not expect.least:
        return expect
    sent = len(duty) + sum(len(each["content"]) for each in turns)
    return replace(expect, least=max(expect.least, sent + _ECHOED))


def _takes_token(method: Spotlighting) -> bool:
    try:
        return "token" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False


def _duty(draft: Draft, scene: Scene, ground: Ground) -> str:
    if draft.system is not None:
        return draft.system
    if draft.expect.kind == "canary" and draft.expect.value not in scene.duty:
        return f"{scene.duty}\n{filled(ground.texts['secret'], value=draft.expect.value)}"
    return scene.duty


@checked
def draw_attempts(
    count: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    application: Application | None = None,
) -> tuple[Attempt, ...]:
    """Draw attempts as `iter_attempts` does, all at once.

    Examples:
        >>> [attempt.family for attempt in draw_attempts(2, families=["encoding", "benign"])]
        ['encoding', 'benign']
    """
    return tuple(iter_attempts(count, seed=seed, families=families, application=application))


def iter_attempts(
    count: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    application: Application | None = None,
) -> Iterator[Attempt]:
    """Draw attempts lazily, from each family in turn.

    Args:
        count: Number of attempts, ≥ 1.
        seed: Seed; the same one gives the same attempts, byte for byte.
        families: Names from `FAMILIES`; by default all.
        application: What the attempts grow out of; by default built-in scenes.

    Raises:
        UsageError: A family is unknown, or there is nothing to draw.
    """
    chosen = chosen_families(families)
    require_count(count)
    ground = (application or Application()).ground()
    plan = Plan(seed=seed, families=chosen, ground=ground)
    return (attempt for attempt, _ in plan.attempts(count))


def require_count(count: int) -> None:
    """Raise `UsageError` for a number of attempts that is none."""
    if count < 1:
        raise UsageError(f"attempts: expected at least 1, got {count}")


def chosen_families(
    names: Sequence[str] | None, own: Mapping[str, Family] | None = None
) -> dict[str, Family]:
    """Families by name, all by default; raises `UsageError` for an unknown one or none."""
    known = {**FAMILIES, **(own or {})}
    asked = known if names is None else some_of("classes", names, known)
    chosen = {name: known[name] for name in dict.fromkeys(asked)}
    if not chosen:
        raise UsageError(f"classes: expected some of {', '.join(known)}, got none")
    return chosen


def _is_conclusive(attempt: Attempt) -> bool:
    if attempt.expect.kind == "tool":
        return True
    sent = attempt.messages[1:] if attempt.expect.kind == "canary" else attempt.messages
    parts = [message["content"] for message in sent]
    parts += [json.dumps(message.get("tool_calls", "")) for message in sent]
    parts += [text for choice in attempt.follow_ups for text in choice]
    return not discloses(attempt.expect, [*parts, json.dumps(attempt.tools)])
