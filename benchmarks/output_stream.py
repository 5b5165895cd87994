"""Output filter in a stream: equality with the whole answer over random splits, and what it holds.

Honest answers and leaks, each split at random 10,000 times in all, are fed piece by piece. Printed
are the splits whose result differs from that of the whole answer, and the most bytes held back of
an answer of which nothing is removed.
"""

from __future__ import annotations

import random

from mlsecops.llm import OutputFilter
from tests.attackers.llm_guard import LEAKS

SPLITS = 10_000  # random splits; chosen: the project's figure
PIECES = (1, 7, 60, 900)  # characters of a piece at most
HOST = "good.example"
HONEST = (
    "See [the manual](https://good.example/a_(b)) and `handlers[0](event)`.\n\n" * 9,
    "1. Run\n\n   ```sh\n   curl https://other.example/x\n   ```\n2. Done\n\n" * 9,
    "```python\n" + "print(a[0](b))\n" * 400 + "```\n\nDone.\n",
    "- item `a` and https://good.example/x\n" * 150,
    "word " * 2_000,
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u53bb\u516c\u56ed\u3002" * 200,
    "| a | b |\n|---|---|\n" + "| `x` | 2 |\n" * 300,
)


def split(text: str, rng: random.Random) -> list[str]:
    """A random split of a text."""
    most = rng.choice(PIECES)
    pieces, place = [], 0
    while place < len(text):
        step = rng.randint(1, most)
        pieces.append(text[place : place + step])
        place += step
    return pieces


def main() -> None:
    """Print the differing splits and the most bytes held back."""
    rng = random.Random(0)  # noqa: S311 - repeatable
    keeper = OutputFilter(links=[HOST], images=[HOST])
    texts = [*HONEST, *(f"Sure:\n\n{leak}\n\nDone." for leak in LEAKS.values())]
    whole = [keeper.clean(text).text for text in texts]
    wrong = held = 0
    for number in range(SPLITS):
        index = number % len(texts)
        stream, shown, fed = keeper.stream(), "", 0
        for piece in split(texts[index], rng):
            shown += stream.feed(piece)
            fed += len(piece.encode("utf-8", "surrogatepass"))
            if index < len(HONEST):
                held = max(held, fed - len(shown.encode("utf-8", "surrogatepass")))
        wrong += shown + stream.close() != whole[index]
    print(f"{wrong} of {SPLITS} random splits differ from the whole answer; {held} bytes held back")


if __name__ == "__main__":
    main()
