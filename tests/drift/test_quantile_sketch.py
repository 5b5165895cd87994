from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import ContentRefused, FormatRefused, MissingExtra, UsageError
from mlsecops.monitoring import Baseline, Sketch
from tests.attackers.drift import flipped

NAMES = ("a", "b")


def rows(seed: int, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(count, 2))
    table[::10, 1] = np.nan
    return table


def test_sketched_distance_is_within_its_bound_of_the_exact_one() -> None:
    baseline = Baseline.fit(rows(0, 20_000), None)
    kept = []
    for seed in range(1, 41):
        traffic = rows(seed, 20_000) + 0.01 * seed
        exact = baseline.drift(traffic).features
        found = baseline.drift(baseline.sketch().update(traffic)).features
        kept += [abs(exact[n].ks - found[n].ks) <= found[n].error_bound for n in baseline.names]
        assert found["f1"].missing == exact["f1"].missing == 0.1
    assert np.mean(kept) >= 0.95


def test_merged_replicas_read_like_one_and_name_the_drifted_feature() -> None:
    baseline = Baseline.fit(rows(0, 20_000), None)
    traffic = rows(1, 16_000)
    traffic[:, 0] += 0.5
    merged = baseline.sketch()
    for part in np.array_split(traffic, 16):
        merged.merge(Sketch.from_bytes(baseline.sketch().update(part).to_bytes()))
    report = baseline.drift(merged)
    assert merged.count == report.rows == 16_000
    assert report.drifted == ("f0",)
    exact = baseline.drift(traffic).features["f0"]
    assert report.features["f0"].psi == pytest.approx(exact.psi, rel=0.2)


def test_a_sketch_of_a_million_rows_is_under_three_kilobytes_a_feature() -> None:
    sketch = Sketch(("a",))
    for seed in range(10):
        sketch.update(np.random.default_rng(seed).normal(size=(100_000, 1)))
    assert len(sketch.to_bytes()) < 3000


def test_values_that_float32_rounds_do_not_drift() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 5, size=(9000, 1)) / 10 + 0.1
    baseline = Baseline.fit(table, None)
    read = baseline.drift(baseline.sketch().update(table[:5000])).features["f0"]
    assert read.ks < 0.03
    assert read.psi < 0.01


def test_infinities_are_values_and_an_empty_sketch_says_nothing() -> None:
    baseline = Baseline.fit(rows(0), None)
    assert baseline.drift(baseline.sketch()).drifted == ()
    traffic = rows(1)
    traffic[::3, 0] = np.inf
    assert baseline.drift(baseline.sketch().update(traffic)).drifted == ("f0",)


@pytest.mark.parametrize("count", [0, 1, 2, 150, 5000])
@pytest.mark.parametrize("k", [8, 200])
def test_sketches_survive_their_bytes(count: int, k: int) -> None:
    sketch = Sketch(NAMES, k=k)
    if count:
        sketch.update(rows(0, count))
    again = Sketch.from_bytes(sketch.to_bytes())
    assert again.to_bytes() == sketch.to_bytes()
    assert again.merge(sketch).count == 2 * count


def test_sketches_of_other_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="merged"):
        Sketch(NAMES).merge(Sketch(("a", "c")))
    with pytest.raises(UsageError, match="merged"):
        Sketch(NAMES).merge(Sketch(NAMES, k=100))
    with pytest.raises(UsageError, match="columns"):
        Baseline.fit(rows(0), None).drift(Sketch(NAMES))
    with pytest.raises(UsageError, match="columns"):
        Sketch(NAMES).update(np.ones((3, 5)))
    with pytest.raises(UsageError, match="k: expected"):
        Sketch(NAMES, k=7)


def repacked(data: bytes, change: object) -> bytes:
    """A forged sketch with a checksum that fits."""
    facts, arrays = unpack(data, "sketch", where="sketch")
    facts, arrays = change(facts, arrays)  # type: ignore[operator] # a lambda of a test
    return pack("sketch", facts, arrays)


def patched(column: int, place: int, value: bytes) -> object:
    """Overwrite bytes of one serialised column."""

    def change(facts: dict, arrays: dict) -> tuple[dict, dict]:
        blob = arrays["columns"].copy()
        start = int(arrays["lengths"][:column].sum()) + place
        blob[start : start + len(value)] = np.frombuffer(value, np.uint8)
        return facts, {**arrays, "columns": blob}

    return change


NAN = np.array([np.nan], "<f4").tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda f, a: ({**f, "k": 8}, a),
        lambda f, a: ({**f, "count": f["count"] + 1}, a),
        lambda f, a: ({**f, "count": 10.5}, a),
        lambda f, a: ({**f, "names": ["a"]}, a),
        lambda f, a: (f, {**a, "lengths": a["lengths"] - 1}),
        lambda f, a: (f, {**a, "lengths": np.array([2**62, 2**62])}),
        lambda f, a: (f, {**a, "missing": a["missing"] * 0}),
        lambda f, a: (f, {**a, "columns": a["columns"][:-4]}),
        lambda f, a: (f, {"columns": a["columns"]}),
        patched(0, 2, b"\x07"),  # another family of sketches
        patched(0, 4, b"\xff\xff"),  # another k
        patched(0, 8, b"\xff" * 8),  # rows
        patched(0, 16, b"\x08\x00"),  # the smallest k it was merged from
        patched(0, 18, b"\xff"),  # levels
        patched(0, 20, b"\x00" * 4),  # the first level starts elsewhere
        patched(0, 20, b"\xff" * 4),
        patched(0, 24, b"\xff" * 4),  # a level ends before it starts
        patched(0, 60, NAN),
    ],
)
def test_forged_sketches_with_a_fitting_checksum_are_refused(change: object) -> None:
    data = repacked(Sketch(NAMES).update(rows(0)).to_bytes(), change)
    with pytest.raises(ContentRefused):
        Sketch.from_bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4000), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_gives_a_sketch_that_still_works(
    place: int, bits: int
) -> None:
    honest = Sketch(NAMES).update(rows(0)).to_bytes()

    def change(facts: dict, arrays: dict) -> tuple[dict, dict]:
        blob = arrays["columns"].copy()
        blob[place % len(blob)] ^= bits
        return facts, {**arrays, "columns": blob}

    try:
        sketch = Sketch.from_bytes(repacked(honest, change))
    except FormatRefused:
        return
    assert sketch.merge(Sketch(NAMES).update(rows(1))).count == 6000
    assert np.isfinite(sketch.distances([np.arange(5.0)] * 2)).all()


def test_every_flipped_bit_is_refused() -> None:
    data = Sketch(NAMES).update(rows(0, 50)).to_bytes()
    for place in range(0, len(data), 7):
        with pytest.raises(FormatRefused):
            Sketch.from_bytes(flipped(data, place))


def test_without_the_extra_the_missing_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasketches", None)
    with pytest.raises(MissingExtra, match="sketches"):
        Sketch(NAMES)
