"""Published texts about prompt injection, by source: attacks and benign texts.

Copies of public repositories in one folder (`CLONES` names them) → texts of each source

None of them was used to tune the shipped detector; of tensor-trust, one half was and is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / ".cache" / "injections"
CLONES: Final = (
    "leolee99/PIGuard",
    "HumanCompatibleAI/tensor-trust-data",
    "meta-llama/PurpleLlama",
)
_PIGUARD: Final = "PIGuard/datasets"
_TRUST: Final = "tensor-trust-data/benchmarks"
_CYBER: Final = "PurpleLlama/CybersecurityBenchmarks/datasets/prompt_injection"
_TRANSLATED: Final = "prompt_injection_multilingual_machine_translated.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Texts of one source: `attack` says whether they should be flagged."""

    name: str
    attack: bool
    texts: tuple[str, ...]


def sources(folder: Path) -> Iterator[Source]:
    """Sources whose repositories are in the folder."""
    for read in (_piguard, _tensor_trust, _cyber_sec_eval):
        try:
            found = list(read(folder))
        except FileNotFoundError:
            continue
        for name, attack, texts in found:
            yield Source(name=name, attack=attack, texts=tuple(dict.fromkeys(filter(None, texts))))


def _piguard(folder: Path) -> Iterator[tuple[str, bool, list[str]]]:
    home = folder / _PIGUARD
    notinject = [
        row for each in ("one", "two", "three") for row in _rows(home / f"NotInject_{each}.json")
    ]
    valid = _rows(home / "valid.json")
    yield "NotInject", False, [row["prompt"] for row in notinject]
    yield (
        "PIGuard, WildGuard's benign",
        False,
        [x["prompt"] for x in _rows(home / "wildguard.json")],
    )
    yield "PIGuard, valid, attacks", True, [x["prompt"] for x in valid if str(x["label"]) == "1"]
    bipia = [_rows(home / f"BIPIA_{each}.json") for each in ("text", "code")]
    yield (
        "BIPIA, bare goals",
        True,
        [text for part in bipia for goals in part.values() for text in goals],
    )


def _tensor_trust(folder: Path) -> Iterator[tuple[str, bool, list[str]]]:
    found = {
        name: _lines(folder / _TRUST / f"{name}-robustness/v1/{name}_robustness_dataset.jsonl")
        for name in ("extraction", "hijacking")
    }
    both = found["extraction"] + found["hijacking"]
    defences = _unseen(row["pre_prompt"] for row in both)
    yield "tensor-trust, defences (system prompts), half", False, defences
    for name, rows in found.items():
        yield f"tensor-trust, {name}, half", True, _unseen(row["attack"] for row in rows)


def _unseen(texts: Iterable[str]) -> list[str]:
    """The half of texts that was not used to tune, by their hashes."""
    raw = ((text, text.encode("utf-8", "surrogatepass")) for text in texts)
    return [text for text, content in raw if hashlib.sha256(content).digest()[0] % 2]


def _cyber_sec_eval(folder: Path) -> Iterator[tuple[str, bool, list[str]]]:
    home = folder / _CYBER
    english, translated = _rows(home / "prompt_injection.json"), _rows(home / _TRANSLATED)
    for kind in ("direct", "indirect"):
        rows = [row for row in english if row["injection_type"] == kind]
        yield f"CyberSecEval, {kind}", True, [row["user_input"] for row in rows]
    yield "CyberSecEval, multilingual", True, [row["user_input"] for row in translated]
    yield "CyberSecEval, system prompts", False, [row["test_case_prompt"] for row in english]


def _rows(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
