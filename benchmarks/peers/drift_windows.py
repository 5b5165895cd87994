"""Windows that a peer flags as drifted; its own environment runs this file.

known.parquet, fresh.parquet, rows of a window → a JSON list with a boolean for each window

Each peer has its defaults. A window counts where any column is flagged: Evidently's preset (its
own verdict, half of the columns, is rarer), NannyML's univariate calculator, and alibi-detect's
`TabularDrift` (p < 0.05 after Bonferroni's correction), which takes neither texts nor missing
values: categories are numbered, and gaps are filled with the reference's median.
"""

# ruff: noqa: PLC0415 - a peer is imported where its environment has it

from __future__ import annotations

import json
import sys
from typing import Any


def evidently(known: Any, fresh: Any, rows: int) -> list[bool]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def flagged(window: Any) -> bool:
        found = Report([DataDriftPreset()]).run(window, known).dict()["metrics"]
        return bool(found[0]["value"]["count"] > 0)

    return [flagged(fresh[start : start + rows]) for start in range(0, len(fresh), rows)]


def nannyml(known: Any, fresh: Any, rows: int) -> list[bool]:
    import nannyml

    names = list(known.columns)
    made = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=rows).fit(known)
    found = made.calculate(fresh).filter(period="analysis").to_df()
    return [bool(each) for each in found.xs("alert", axis=1, level=-1).any(axis=1)]


def alibi(known: Any, fresh: Any, rows: int) -> list[bool]:
    import pandas as pd
    from alibi_detect.cd import TabularDrift

    both, coded = pd.concat([known, fresh]), {}
    for place, name in enumerate(both.columns):
        if pd.api.types.is_numeric_dtype(both[name]) and both[name].dtype != bool:
            both[name] = both[name].fillna(known[name].median())
        else:
            both[name] = both[name].astype("category").cat.codes
            coded[place] = None
    table = both.to_numpy(dtype="float64")
    detector = TabularDrift(table[: len(known)], p_val=0.05, categories_per_feature=coded or None)
    parts = [table[start : start + rows] for start in range(len(known), len(table), rows)]
    return [bool(detector.predict(part)["data"]["is_drift"]) for part in parts]


def main() -> None:
    """Run the peer that the first argument names."""
    import pandas as pd

    peer, *paths, rows = sys.argv[1:]
    known, fresh = (pd.read_parquet(path) for path in paths)
    run = {"evidently": evidently, "nannyml": nannyml, "alibi": alibi}[peer]
    print(json.dumps(run(known, fresh, int(rows))))


if __name__ == "__main__":
    main()
