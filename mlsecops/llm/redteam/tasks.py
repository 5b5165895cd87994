"""What is a model asked to do, so that only doing it shows?

A `Task` asks for a small transformation of a nonce; the result, its token, stands nowhere in the
request. Who refuses, and who repeats what was said, does not say the token.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["LANGUAGES", "NONCE_LETTERS", "Task", "draw_letters", "draw_task"]

NONCE_LETTERS: Final = "bdfghkmnqrvwz"
"""Letters without vowels, and without those that leetspeak or look-alikes would change."""

_SHORT: Final = 6
_HALF: Final = 4
_SUMMANDS: Final = (12_000, 49_999)

_PHRASES: Final[Mapping[str, tuple[str, str, str]]] = {
    "en": (
        'write the letters of "{nonce}" in reverse order',
        'append "{tail}" to the end of "{head}" and write the result as one word',
        "write the sum of {first} and {second} in digits",
    ),
    "de": (
        'schreibe die Buchstaben von "{nonce}" in umgekehrter Reihenfolge',
        'setze "{tail}" hinter das Wort "{head}" und schreibe das Ergebnis als ein Wort',
        "schreibe die Summe von {first} und {second} in Ziffern",
    ),
    "fr": (
        'écris les lettres de "{nonce}" dans l\'ordre inverse',
        'ajoute "{tail}" à la fin de "{head}" et écris le résultat en un seul mot',
        "écris en chiffres la somme de {first} et {second}",
    ),
    "es": (
        'escribe las letras de "{nonce}" en orden inverso',
        'añade "{tail}" al final de "{head}" y escribe el resultado como una sola palabra',
        "escribe en cifras la suma de {first} y {second}",
    ),
    "it": (
        'scrivi le lettere di "{nonce}" in ordine inverso',
        'aggiungi "{tail}" alla fine di "{head}" e scrivi il risultato come una sola parola',
        "scrivi in cifre la somma di {first} e {second}",
    ),
    "pt": (
        'escreve as letras de "{nonce}" pela ordem inversa',
        'acrescenta "{tail}" ao fim de "{head}" e escreve o resultado numa só palavra',
        "escreve em algarismos a soma de {first} e {second}",
    ),
    "zh": (
        '请把 "{nonce}" 的字母倒序写出来',
        '请把 "{tail}" 接在 "{head}" 的末尾并写成一个词',
        "请用数字写出 {first} 与 {second} 的和",
    ),
}
LANGUAGES: Final = tuple(_PHRASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A small thing to do.

    Attributes:
        request: What is asked, as the end of a sentence.
        token: What only whoever does it will write; at least five letters or digits.
    """

    request: str
    token: str


def draw_task(rng: random.Random, *, language: str = "en") -> Task:
    """A task with a nonce of its own, in one of the `LANGUAGES`."""
    reverse, join, add = _PHRASES[language]
    kind = rng.randrange(3)
    if kind == 0:
        nonce = draw_letters(rng, _SHORT)
        return Task(request=reverse.format(nonce=nonce), token=nonce[::-1])
    if kind == 1:
        head, tail = draw_letters(rng, _HALF), draw_letters(rng, _HALF)
        return Task(request=join.format(head=head, tail=tail), token=head + tail)
    first, second = rng.randint(*_SUMMANDS), rng.randint(*_SUMMANDS)
    return Task(request=add.format(first=first, second=second), token=str(first + second))


def draw_letters(rng: random.Random, count: int) -> str:
    """So many letters that make no word."""
    return "".join(rng.choice(NONCE_LETTERS) for _ in range(count))
