"""Tree ensembles: what is certified, what is attacked, and how long it takes, beside ART.

Trains ensembles of 100 trees (a round is one tree a class) on the data sets that scikit-learn ships
and measures up to 500 held-out samples in an Linf ball, values scaled to [0, 1]. ART's clique
verifier (`max_clique=2, max_level=2`, its defaults) and its ZOO attack run on the first samples of
the same data, since they take seconds for each; ours is given for those samples too.

    python -m benchmarks trees
    python -m benchmarks.trees --eps 0.05 --sets wine,digits --art 20
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.integrations.art_attacks import ArtAttack
from mlsecops.robustness import Square, evaluate_robustness

TREES = 100
SAMPLES = 500
HEAD = (
    "| data | model | n | clean | certified | attacked | gap | seconds | ART certified | ours | "
    "ART s | ZOO | ours |"
)


def data_sets() -> dict[str, tuple[Any, Any]]:
    """Name → inputs in [0, 1] and labels from 0."""
    from sklearn import datasets  # noqa: PLC0415 - only where it runs

    cancer, wine, iris = datasets.load_breast_cancer(), datasets.load_wine(), datasets.load_iris()
    digits, diabetes = datasets.load_digits(), datasets.load_diabetes()
    pair = np.isin(digits.target, (3, 8))
    found = {
        "breast cancer": (cancer.data, cancer.target),
        "digits 3/8": (digits.data[pair], (digits.target[pair] == 8).astype(int)),
        "digits": (digits.data, digits.target),
        "diabetes": (diabetes.data, (diabetes.target > np.median(diabetes.target)).astype(int)),
        "wine": (wine.data, wine.target),
        "iris": (iris.data, iris.target),
    }
    return {name: (scaled(x), y) for name, (x, y) in found.items()}


def scaled(x: Any) -> Any:
    """Columns in [0, 1], float32."""
    low, span = x.min(axis=0), np.ptp(x, axis=0)
    return np.clip((x - low) / np.where(span == 0, 1, span), 0, 1).astype(np.float32)


def models() -> dict[str, Callable[[], Any]]:
    """Name → untrained ensemble."""
    import catboost  # noqa: PLC0415 - as above
    import lightgbm  # noqa: PLC0415 - as above
    import xgboost  # noqa: PLC0415 - as above
    from sklearn import ensemble, tree  # noqa: PLC0415 - as above

    return {
        "one tree": lambda: tree.DecisionTreeClassifier(random_state=0),
        "random forest": lambda: ensemble.RandomForestClassifier(TREES, random_state=0),
        "extra trees": lambda: ensemble.ExtraTreesClassifier(TREES, random_state=0),
        "gradient boosting": lambda: ensemble.GradientBoostingClassifier(
            n_estimators=TREES, random_state=0
        ),
        "histogram boosting": lambda: ensemble.HistGradientBoostingClassifier(
            max_iter=TREES, random_state=0
        ),
        "XGBoost": lambda: xgboost.XGBClassifier(n_estimators=TREES, n_jobs=1),
        "LightGBM": lambda: lightgbm.LGBMClassifier(n_estimators=TREES, verbose=-1, n_jobs=1),
        "CatBoost": lambda: catboost.CatBoostClassifier(
            iterations=TREES, verbose=0, allow_writing_files=False, thread_count=1
        ),
    }


def art_view(model: Any) -> Any:
    """ART's classifier of a model whose trees it reads, or None."""
    from art.estimators import classification  # noqa: PLC0415 - as above
    from art.estimators.classification import scikitlearn  # noqa: PLC0415 - as above

    kinds = {
        "RandomForestClassifier": scikitlearn.ScikitlearnRandomForestClassifier,
        "ExtraTreesClassifier": scikitlearn.ScikitlearnExtraTreesClassifier,
        "DecisionTreeClassifier": scikitlearn.ScikitlearnDecisionTreeClassifier,
        "GradientBoostingClassifier": scikitlearn.ScikitlearnGradientBoostingClassifier,
    }
    name = type(model).__name__
    if name == "XGBClassifier":
        classes = len(model.classes_)
        return classification.XGBoostClassifier(
            model=model, nb_features=model.n_features_in_, nb_classes=classes
        )
    if name == "LGBMClassifier":
        return classification.LightGBMClassifier(model=model.booster_)
    return kinds[name](model=model) if name in kinds else None


def by_art(model: Any, x: Any, y: Any, eps: float) -> tuple[str, str]:
    """ART's certified accuracy at eps and its seconds, or why there is none."""
    from art.metrics import RobustnessVerificationTreeModelsCliqueMethod as Clique  # noqa: PLC0415 - as above

    if not len(x):
        return "–", "–"
    begin = time.perf_counter()
    try:
        view = art_view(model)
        if view is None:
            return "–", "–"
        _, error = Clique(classifier=view, verbose=False).verify(
            x, y, eps_init=eps, nb_search_steps=1, max_clique=2, max_level=2
        )
    except Exception as failure:  # noqa: BLE001 - whatever ART raises stands in the table
        return type(failure).__name__, "–"
    return f"{1 - error:.3f}", f"{time.perf_counter() - begin:.1f}"


def by_zoo(model: Any, x: Any, y: Any, eps: float) -> str:
    """Accuracy under ART's ZOO, its examples projected into the ball."""
    if not len(x):
        return "–"
    settings = {"max_iter": 20, "binary_search_steps": 3, "nb_parallel": 1, "use_resize": False,
                "use_importance": False, "variable_h": 0.05, "learning_rate": 0.1}  # fmt: skip
    attack = ArtAttack("ZooAttack", eps, norm="linf", settings=settings)
    try:
        report = evaluate_robustness(model, x, y, attack, checks=False)
    except UsageError as failure:
        return str(failure)[:20]
    return f"{next(iter(report.attacks.values())).accuracy:.3f}"


def rows(names: list[str], kinds: list[str], eps: float, few: int) -> Iterator[str]:
    """One row for each model on each data set."""
    for name, (x, y) in data_sets().items():
        if names and name not in names:
            continue
        order = np.random.default_rng(0).permutation(len(x))
        half = len(x) // 2
        train, test = order[:half], order[half : half + SAMPLES]
        for kind, build in models().items():
            if kinds and kind not in kinds:
                continue
            model = build().fit(x[train], y[train])
            yield row(name, kind, model, (x[test], y[test]), eps=eps, few=few)


def row(name: str, kind: str, model: Any, tested: tuple[Any, Any], *, eps: float, few: int) -> str:
    """Ours on all samples, and ART's on the first few."""
    x, y = tested
    if read_trees(model) is None:
        raise SystemExit(f"{kind}: no trees")
    begin = time.perf_counter()
    report = evaluate_robustness(model, x, y, Square(eps, queries=1))
    seconds = time.perf_counter() - begin
    proven, attacked = report.certified, report.attacks["trees"]
    if proven is None:
        return f"| {name} | {kind} | no certificate: {report.checks} |"
    head = slice(0, few)
    art, took = by_art(model, x[head], y[head], eps)
    zoo = by_zoo(model, x[head], y[head], eps)
    gap = 100 * (attacked.accuracy - proven.accuracy)
    ours = [f"{f.correct[head].mean():.3f}" if few else "–" for f in (proven, attacked)]
    return (
        f"| {name} | {kind} | {report.n} | {report.clean.accuracy:.3f} | {proven.accuracy:.3f} | "
        f"{attacked.accuracy:.3f} | {gap:.1f} | {seconds:.1f} | {art} | {ours[0]} | {took} | {zoo} "
        f"| {ours[1]} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees", description=__doc__)
    parser.add_argument("--eps", type=float, default=0.05, help="radius in [0, 1] (0.05)")
    parser.add_argument("--sets", default="", help="data sets, by name and comma (all)")
    parser.add_argument("--models", default="", help="models, by name and comma (all)")
    parser.add_argument("--art", type=int, default=10, help="samples for ART (10; 0: none)")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"eps {chosen.eps}, Linf, {TREES} trees\n\n{HEAD}\n|{'---|' * HEAD.count(' | ')}---|")
    sets, kinds = ([n for n in text.split(",") if n] for text in (chosen.sets, chosen.models))
    for line in rows(sets, kinds, chosen.eps, chosen.art):
        print(line, flush=True)


if __name__ == "__main__":
    main()
