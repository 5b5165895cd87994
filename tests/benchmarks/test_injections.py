"""Separation of the texts that the detector was tuned on from those it is measured on."""

from __future__ import annotations

from benchmarks.injections import corpora, held_out, tuning
from benchmarks.injections.grammar import texts


def test_no_text_for_measuring_is_a_text_for_tuning() -> None:
    for kind in held_out.KINDS:
        measured = set(texts(held_out.ATTACKS, kind, count=120, seed=1))
        assert len(measured) >= 50
        assert not measured & set(texts(tuning.ATTACKS, kind, count=120, seed=1))
    assert not set(held_out.BENIGN) & set(tuning.BENIGN)


def test_a_name_belongs_to_one_part_only_and_both_have_their_share() -> None:
    names = [f"package-{number}" for number in range(400)]
    tuned = {name for name in names if corpora._is_of(name, "tuning")}
    measured = {name for name in names if corpora._is_of(name, "measuring")}
    assert not tuned & measured
    assert len(tuned | measured) == 400
    assert 150 < len(tuned) < 250


def test_a_seed_gives_the_same_texts_again_and_none_twice() -> None:
    first = texts(tuning.ATTACKS, "override", count=60, seed=3)
    assert first == texts(tuning.ATTACKS, "override", count=60, seed=3)
    assert first != texts(tuning.ATTACKS, "override", count=60, seed=4)
    assert len(set(first)) == 60
