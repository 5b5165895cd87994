"""Models of libraries that our own environment lacks, each written by the library itself.

``python make_formats.py FOLDER`` in the environment of ``formats.txt``; it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

X = np.random.default_rng(0).normal(size=(300, 5))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
CLASSES = np.arange(300) % 3


def xgboost(out: Path) -> None:
    """Boosters of each kind, in JSON and in UBJSON."""
    import pandas as pd  # noqa: PLC0415 - the environment of this script
    import xgboost as xgb  # noqa: PLC0415 - as above

    kinds: dict[str, tuple[dict[str, Any], Any]] = {
        "binary": ({"objective": "binary:logistic"}, Y),
        "classes": ({"objective": "multi:softprob", "num_class": 3}, CLASSES),
        "dart": ({"booster": "dart"}, Y),
        "linear": ({"booster": "gblinear"}, Y),
        "pruned": ({"tree_method": "exact", "gamma": 2}, Y),
        "leaves": ({"tree_method": "approx", "max_leaves": 9, "grow_policy": "lossguide"}, Y),
    }
    models = {n: xgb.train(o, xgb.DMatrix(X, y), 5) for n, (o, y) in kinds.items()}
    frame = pd.DataFrame({"a": pd.Categorical(CLASSES), "b": X[:, 0]})
    table = xgb.XGBClassifier(n_estimators=4, enable_categorical=True).fit(frame, Y)
    several = xgb.XGBRegressor(n_estimators=4, multi_strategy="multi_output_tree")
    models |= {"categories": table, "vectors": several.fit(X, X[:, :2])}
    for name, model in models.items():
        for suffix in ("json", "ubj"):
            model.save_model(out / f"xgboost-{name}.{suffix}")


def lightgbm(out: Path) -> None:
    """Boosters of each kind as text."""
    import lightgbm as lgb  # noqa: PLC0415 - as above

    quiet = {"verbose": -1, "min_data_in_leaf": 2}
    kinds: dict[str, tuple[dict[str, Any], Any]] = {
        "binary": ({"objective": "binary"}, Y),
        "classes": ({"objective": "multiclass", "num_class": 3}, CLASSES),
        "linear": ({"objective": "regression", "linear_tree": True}, X[:, 2]),
        "dart": ({"boosting": "dart", "objective": "binary"}, Y),
    }
    for name, (options, y) in kinds.items():
        lgb.train(options | quiet, lgb.Dataset(X, y), 5).save_model(out / f"lightgbm-{name}.txt")
    data = lgb.Dataset(np.c_[CLASSES, X], Y, categorical_feature=[0])
    lgb.train({"objective": "binary", **quiet}, data, 5).save_model(out / "lightgbm-cat.model")
    stump = lgb.train({"objective": "binary", **quiet}, lgb.Dataset(X[:9] * 0, Y[:9]), 2)
    stump.save_model(out / "lightgbm-stump.txt")


def catboost(out: Path) -> None:
    """Models in CatBoost's own format and in those that it exports."""
    import catboost as cb  # noqa: PLC0415 - as above

    quiet = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
    for name, model, y in (
        ("binary", cb.CatBoostClassifier(**quiet), Y),
        ("classes", cb.CatBoostClassifier(loss_function="MultiClass", **quiet), CLASSES),
        ("leaves", cb.CatBoostRegressor(grow_policy="Lossguide", **quiet), Y),
    ):
        model.fit(X, y).save_model(str(out / f"catboost-{name}.cbm"))
        if name == "binary":
            for form, suffix in (("pmml", "pmml"), ("coreml", "mlmodel"), ("onnx", "onnx")):
                model.save_model(str(out / f"catboost.{suffix}"), format=form)


def openvino(out: Path) -> None:
    """A network with and without compressed constants."""
    import openvino as ov  # noqa: PLC0415 - as above
    from openvino import opset13 as ops  # noqa: PLC0415 - as above

    place = ops.parameter([1, 8], np.float32)
    weights = ops.constant(np.ones((8, 4), np.float32))
    model = ov.Model(
        [ops.softmax(ops.matmul(place, weights, transpose_a=False, transpose_b=False), 1)], [place]
    )
    ov.save_model(model, out / "openvino-half.xml")
    ov.serialize(model, out / "openvino.xml")


def coreml(out: Path) -> None:
    """A package with its weights in a file of their own."""
    import coremltools as ct  # noqa: PLC0415 - as above
    from coremltools.converters.mil import Builder  # noqa: PLC0415 - as above

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 64))])
    def network(x: Any) -> Any:
        return Builder.relu(x=Builder.matmul(x=x, y=np.ones((64, 64), np.float32)))

    ct.convert(network, convert_to="mlprogram").save(str(out / "net.mlpackage"))


def words(out: Path) -> None:
    """Vectors of fastText and word2vec."""
    import fasttext  # noqa: PLC0415 - as above
    from gensim.models import Word2Vec  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        lines = (f"__label__{n % 2} word{n} word{n + 1} hello\n" for n in range(400))
        text.write_text("".join(lines))
        fasttext.train_supervised(str(text), dim=8, epoch=1, verbose=0).save_model(
            str(out / "fasttext-labels.bin")
        )
        fasttext.train_unsupervised(str(text), dim=8, epoch=1, minCount=1, verbose=0).save_model(
            str(out / "fasttext-words.bin")
        )
    vectors = Word2Vec([["hello", "world"] * 20], vector_size=8, min_count=1).wv
    vectors.save_word2vec_format(str(out / "word2vec.bin"), binary=True)


def others(out: Path) -> None:
    """Flax, GGUF and R."""
    import gguf  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above
    import rdata  # noqa: PLC0415 - as above
    from flax import serialization  # noqa: PLC0415 - as above

    value = {"params": {"dense": {"kernel": np.ones((3, 4), np.float32)}}}
    (out / "flax_model.msgpack").write_bytes(serialization.to_bytes(value))
    writer = gguf.GGUFWriter(out / "tiny.gguf", "llama")
    writer.add_tensor("a", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    rdata.write_rds(out / "frame.rds", pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    rdata.write_rda(out / "values.rda", {"v": np.arange(4), "w": ["a"]})


def main() -> None:
    """Write everything; a library that fails is named on standard error."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for make in (xgboost, lightgbm, catboost, openvino, coreml, words, others):
            try:
                make(out)
            except Exception as error:  # noqa: BLE001 - the others are still made
                print(f"{make.__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    main()
