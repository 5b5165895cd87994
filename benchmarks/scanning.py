"""Detection, false alarms, formats and time of `scan` and of four peers, on the same files.

Each peer runs in an environment of its own (``make peers``). Sets of files: the hostile corpus and
the real models of our own tests, which our lists were made with; two that nothing was tuned on,
callables of the standard library drawn at random, and models that the tests do not hold; hostile
files of other engines' formats, and settings that name code; and real files of such formats, which
``peers/formats.txt`` brings the libraries for. ``--sets formats settings`` chooses by a word.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mlsecops.loading import scan
from mlsecops.robustness import clopper_pearson
from tests.attackers import companions, engine_files, model_files, model_folders
from tests.loading.formats import real_models

HERE = Path(__file__).parent
DRAWN = 200
PEERS = ("picklescan", "picklescan-strict", "modelscan", "fickling", "modelaudit")
SAMPLED = {"modelaudit": 60}
"""A peer that takes a second a file gets as many of each set, drawn at random."""
NOT_DRAWN = {"antigravity", "this", "idlelib", "test", "turtledemo"}


def ours(paths: Iterable[Path]) -> dict[Path, tuple[str, float]]:
    """What `scan` says of each file."""
    found = {}
    for path in paths:
        start = time.process_time()
        verdict = scan(path, allow_globals=["own>Own"])
        outcome = "refused" if verdict.refused else "unchecked" if verdict.unchecked else "passed"
        found[path] = outcome, time.process_time() - start
    return found


def peer(name: str) -> Callable[[Iterable[Path]], dict[Path, tuple[str, float]]]:
    """A peer in its environment."""
    python = HERE / f".env-{name.partition('-')[0]}" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python}: run 'make peers' first")

    def judge(paths: Iterable[Path]) -> dict[Path, tuple[str, float]]:
        done = subprocess.run(
            [python, HERE / "peers" / "scan.py", name],
            input="\n".join(map(str, paths)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, check=False, cwd=tempfile.gettempdir(),
        )  # fmt: skip
        answers = map(json.loads, done.stdout.splitlines())
        return {Path(each["path"]): (each["outcome"], each["seconds"]) for each in answers}

    return judge


def drawn_callables(folder: Path) -> list[Path]:
    """Callables of the standard library that are on no list of ours, in containers in turn."""
    import importlib  # noqa: PLC0415 - here only

    from mlsecops.loading.allowed import pickle_globals  # noqa: PLC0415 - as above

    names = set()
    modules = sorted(set(sys.stdlib_module_names) - NOT_DRAWN)
    for module in (each for each in modules if not each.startswith("_")):
        try:
            found = importlib.import_module(module)
        except Exception:  # noqa: BLE001, S112 - a module of another system
            continue
        names |= {f"{module}.{name}" for name, value in vars(found).items() if callable(value)}
    chosen = random.Random(0).sample(sorted(names - pickle_globals()), DRAWN)  # noqa: S311 - a sample
    folder.mkdir()
    suffixes = [*model_files.CONTAINERS][:6]
    placed = []
    for number, name in enumerate(chosen):
        suffix = suffixes[number % len(suffixes)]
        data = model_files.calling(name, "echo", protocol=(0, 2, 4)[number % 3])
        placed.append(folder / f"{number}-{name}{suffix}")
        placed[-1].write_bytes(model_files.CONTAINERS[suffix](data))
    return placed


def other_models(folder: Path) -> list[Path]:
    """Models that no test holds: other estimators, every layer of torch, other Keras networks."""
    folder.mkdir()
    other_estimators(folder)
    other_modules(folder)
    other_keras(folder)
    return sorted(folder.iterdir())


def other_estimators(folder: Path) -> None:
    """Slow estimators, and those that hold others."""
    import joblib  # noqa: PLC0415 - an optional package
    from sklearn import (  # noqa: PLC0415 - as above
        compose,
        ensemble,
        linear_model,
        model_selection,
        pipeline,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.utils import all_estimators  # noqa: PLC0415 - as above

    x, y = np.abs(np.random.default_rng(1).normal(size=(60, 5))), np.arange(60) % 3
    pairs = [("a", tree.DecisionTreeClassifier()), ("b", linear_model.LogisticRegression())]
    models: dict[str, Any] = {
        "grid": model_selection.GridSearchCV(svm.SVC(), {"C": [1, 10]}, cv=2),
        "pipeline": pipeline.make_pipeline(preprocessing.PolynomialFeatures(), pairs[1][1]),
        "columns": compose.make_column_transformer((preprocessing.StandardScaler(), [0, 1])),
        "stack": ensemble.StackingClassifier(pairs, cv=2),
        "vote": ensemble.VotingClassifier(pairs),
        "quantile": linear_model.QuantileRegressor(),
    }
    models |= {
        name: kind() for name, kind in all_estimators() if name in real_models.SLOW - {"TSNE"}
    }
    for number, (name, model) in enumerate(models.items()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model.fit(x, y)
            except (TypeError, ValueError):
                model.fit(x, x[:, 0])
        compress = real_models.COMPRESSIONS[number % len(real_models.COMPRESSIONS)]
        joblib.dump(model, folder / f"{name}.joblib", compress=compress)


def other_modules(folder: Path) -> None:
    """Each module of torch.nn that a few numbers make, as a whole and as its state."""
    import torch  # noqa: PLC0415 - an optional package

    for name in torch.nn.modules.__all__:
        for arguments in ((), (4,), (4, 4), (4, 4, 2), (4, 4, 4, 2)):
            try:
                module = getattr(torch.nn, name)(*arguments)
            except Exception:  # noqa: BLE001, S112 - it wants others
                continue
            torch.save(module, folder / f"{name}.pt")
            break


def other_keras(folder: Path) -> None:
    """Networks of layers that the tests do not hold."""
    import keras  # noqa: PLC0415 - an optional package

    layers = keras.layers
    stacks = {
        "lstm": ((8, 3), [layers.ConvLSTM1D, None]),
        "image": ((16, 16, 3), [lambda: layers.DepthwiseConv2D(3), lambda: layers.Conv2DTranspose(
            4, 3), lambda: layers.GroupNormalization(2), layers.GlobalMaxPooling2D]),
        "volume": ((6, 6, 6, 2), [lambda: layers.Conv3D(4, 3), layers.Flatten]),
        "words": ((9,), [lambda: layers.Embedding(50, 6), lambda: layers.SeparableConv1D(4, 3),
                         lambda: layers.Bidirectional(layers.LSTM(4))]),
        "table": ((12,), [lambda: layers.Dense(16, "gelu", kernel_constraint="max_norm"),
                          layers.PReLU, lambda: layers.GaussianNoise(0.1),
                          layers.SpectralNormalization]),
        "time": ((5, 4), [lambda: layers.TimeDistributed(layers.Dense(3)),
                          lambda: layers.GRU(4, reset_after=False), layers.Softmax]),
    }  # fmt: skip
    for name, (shape, makers) in stacks.items():
        try:
            made = [make() for make in makers if make is not None]
            model = keras.Sequential([keras.Input(shape), *made, layers.Dense(2)])
        except (TypeError, ValueError):
            continue
        model.save(folder / f"{name}.keras")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")


def sets(root: Path) -> dict[str, list[Path]]:
    """The four sets, by what they are."""
    hostile = model_folders.corpus(made(root / "hostile"), root / "ran")
    kinds = ("torch", "sklearn", "numpy", "safetensors", "onnx", "archives", "keras",
             "saved_models")  # fmt: skip
    real = made(root / "real")
    for kind in kinds:
        getattr(real_models, f"save_{kind}")(real / kind)
    parts = {".json", ".data", ".index"}
    models = [p for p in sorted(real.rglob("*")) if p.is_file() and p.suffix not in parts
        and "variables" not in p.parts and p.name != "fingerprint.pb"]  # fmt: skip
    return {
        "hostile (tests)": hostile,
        "hostile (drawn)": drawn_callables(root / "drawn"),
        "real (tests)": models,
        "real (others)": other_models(root / "others"),
    }


def format_sets(root: Path) -> dict[str, list[Path]]:
    """Files of other engines' formats, and settings that name code."""
    hostile = [placed(root / "f", files) for files in engine_files.hostile().values()]
    settings = [
        placed(root / "s", {Path(name).name: text.encode()})
        for name, text, _ in companions.SETTINGS.values()
    ]
    found = {"hostile (formats)": hostile, "hostile (settings)": settings}
    python = HERE / ".env-formats" / "bin" / "python"
    if not python.exists():
        print(f"{python}: run 'make peers' for real files of other formats", file=sys.stderr)
        return found
    made(root / "formats")
    subprocess.run(
        [python, HERE / "peers" / "make_formats.py", root / "formats"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    files = [p for p in sorted((root / "formats").rglob("*")) if p.is_file()]
    return found | {"real (formats)": [p for p in files if p.with_suffix(".xml") not in files]}


def placed(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a new folder below a folder; the first of them."""
    place = folder / f"{len(list(folder.glob('*'))):03}"
    place.mkdir(parents=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    return place / next(iter(files))


def made(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir()
    return folder


def line(name: str, kind: str, outcomes: dict[Path, tuple[str, float]], n: int) -> str:
    """A row of the table."""
    counts = {word: sum(o == word for o, _ in outcomes.values()) for word in ("refused", "passed")}
    wanted = counts["refused"] if kind.startswith("hostile") else n - counts["refused"]
    interval = clopper_pearson(wanted, n)
    median = statistics.median([s for _, s in outcomes.values()] or [0.0]) * 1e3
    return (
        f"{name:<18} {kind:<16} {n:>4} {counts['refused']:>8} {counts['passed']:>7} "
        f"{n - counts['refused'] - counts['passed']:>10}  {wanted / n:>6.3f} "
        f"[{interval.low:.3f}, {interval.high:.3f}] {median:>9.2f}"
    )


def formats(chosen: dict[str, list[Path]], outcomes: dict[Path, tuple[str, float]]) -> str:
    """Suffixes of which hostile files are refused and real ones pass."""
    told: dict[str, set[str]] = {}
    for kind, paths in chosen.items():
        right = "refused" if kind.startswith("hostile") else "passed"
        for path in paths:
            if outcomes.get(path, ("", 0.0))[0] == right:
                told.setdefault(path.suffix, set()).add(right)
    return " ".join(sorted(suffix for suffix, both in told.items() if len(both) == 2))


def gibibyte(root: Path) -> None:
    """Time of a torch archive of 1 GiB, whose tensors are not read."""
    import torch  # noqa: PLC0415 - an optional package

    file = root / "big.pt"
    torch.save({f"w{n}": torch.zeros(1 << 26) for n in range(4)}, file)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        assert not scan(file).refused  # noqa: S101 - a check of the measurement
        seconds.append(time.process_time() - start)
    print(f"torch archive of 1 GiB: median {statistics.median(seconds) * 1e3:.1f} ms")
    file.unlink()


def chosen_sets(root: Path, words: Iterable[str]) -> dict[str, list[Path]]:
    """The sets whose names have one of some words, or all; the others are not made."""
    words = tuple(words)
    own = any(word in {"formats", "settings"} for word in words)
    found = format_sets(root) if own or not words else {}
    if not words or any(word not in {"formats", "settings"} for word in words):
        found |= sets(root)
    return {n: p for n, p in found.items() if not words or any(word in n for word in words)}


def main() -> None:
    """Scan everything with everyone and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", help=f"by default {', '.join(PEERS)}")
    parser.add_argument("--sets", nargs="*", default=(), help="sets whose name has such a word")
    options = parser.parse_args()
    contestants: dict[str, Callable[[Iterable[Path]], dict[Path, tuple[str, float]]]] = {
        "mlsecops": ours
    }
    for name in options.peers or PEERS:
        try:
            contestants[name] = peer(name)
        except FileNotFoundError as error:
            print(error, file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        chosen = chosen_sets(root, options.sets)
        print(f"{'scanner':<18} {'files':<16} {'n':>4}  refused  passed  unchecked   right "
              f"[interval]      CPU ms")  # fmt: skip
        covered = {}
        for name, judge in contestants.items():
            everything: dict[Path, tuple[str, float]] = {}
            for kind, paths in chosen.items():
                most = min(len(paths), SAMPLED.get(name, len(paths)))
                given = random.Random(0).sample(paths, most)  # noqa: S311 - a sample
                outcomes = judge(given)
                everything |= outcomes
                print(line(name, kind, outcomes, most), flush=True)
            covered[name] = formats(chosen, everything)
        print("\nright: hostile files refused; real files not refused (unchecked is not refused)")
        print("formats of which it refuses a hostile file and passes a real one:")
        for name, suffixes in covered.items():
            print(f"  {name:<18} {suffixes}")
        if not options.sets:
            gibibyte(root)
        print(f"payloads that ran: {int((root / 'ran').exists())}")


if __name__ == "__main__":
    main()
