"""Real models, made by the libraries themselves, on which no scanner may raise an alarm."""

from __future__ import annotations

import argparse
import io
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

COMPRESSIONS: tuple[Any, ...] = (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3))


def save_torch(folder: Path) -> None:
    """State dicts, checkpoints and whole modules of torch, in both of its containers."""
    import torch  # noqa: PLC0415 - an optional package

    folder.mkdir()
    for name, net in torch_networks(torch).items():
        torch.save(net.state_dict(), folder / f"{name}.pt")
        torch.save(net, folder / f"{name}-module.pt")
        torch.save(
            net.state_dict(), folder / f"{name}-old.pth", _use_new_zipfile_serialization=False
        )
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop):
        optimizer = kind(net.parameters(), lr=0.1)
        net(torch.rand(4, 3)).sum().backward()
        optimizer.step()
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        torch.save(
            {
                "model": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": 3,
                "args": argparse.Namespace(lr=0.1, name="a run", layers=[1, 2]),
            },
            folder / f"run-{kind.__name__}.ckpt",
        )
    kinds = (torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
    torch.save({str(kind): torch.ones(3).to(kind) for kind in kinds}, folder / "kinds.bin")
    torch.save(torch.eye(3).to_sparse(), folder / "sparse.pt")
    torch.save([torch.nn.Parameter(torch.ones(2)), torch.Size([2, 3])], folder / "list.pt")


def torch_networks(torch: Any) -> dict[str, Any]:
    """A network for each family of layers."""
    nn = torch.nn
    return {
        "mlp": nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(), nn.Linear(8, 2)),
        "cnn": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(4, 2)),
        "lstm": nn.ModuleDict({"lstm": nn.LSTM(4, 3, 2, bidirectional=True), "gru": nn.GRU(3, 2)}),
        "transformer": nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        "embedding": nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4), nn.SiLU()),
        "attention": nn.MultiheadAttention(8, 2),
        "upsample": nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Upsample(scale_factor=2),
                                  nn.InstanceNorm2d(2), nn.PReLU(), nn.Softmax(1)),
    }  # fmt: skip


SMALL: dict[str, dict[str, Any]] = {
    "AdaBoostClassifier": {"n_estimators": 2},
    "BaggingClassifier": {"n_estimators": 2},
    "ExtraTreesRegressor": {"n_estimators": 2},
    "GradientBoostingRegressor": {"n_estimators": 2},
    "HistGradientBoostingClassifier": {"max_iter": 2},
    "IsolationForest": {"n_estimators": 2},
    "KMeans": {"n_init": 1, "max_iter": 2},
    "MLPClassifier": {"max_iter": 2},
    "RandomForestClassifier": {"n_estimators": 2},
}
SLOW = {
    "BaggingRegressor", "BisectingKMeans", "GaussianProcessClassifier", "MiniBatchNMF", "MDS",
    "MLPRegressor", "FastICA", "EllipticEnvelope", "MiniBatchSparsePCA", "MinCovDet", "LassoCV",
    "ElasticNetCV", "AdaBoostRegressor", "PowerTransformer", "LatentDirichletAllocation",
    "GraphicalLassoCV", "RandomForestRegressor", "ExtraTreesClassifier", "RandomTreesEmbedding",
    "OPTICS", "SpectralClustering", "SpectralCoclustering", "NeighborhoodComponentsAnalysis",
    "HistGradientBoostingRegressor", "TheilSenRegressor", "GradientBoostingClassifier",
    "GaussianProcessRegressor", "MiniBatchDictionaryLearning", "MeanShift", "DictionaryLearning",
    "CalibratedClassifierCV", "MiniBatchKMeans", "SpectralBiclustering", "TSNE", "HuberRegressor",
}  # fmt: skip


def estimators() -> dict[str, Any]:
    """Fitted estimators of scikit-learn, one of each kind, on tiny data."""
    import sklearn.exceptions  # noqa: PLC0415 - an optional package
    from sklearn.utils import all_estimators  # noqa: PLC0415 - as above

    x = np.abs(np.random.default_rng(0).normal(size=(60, 6)))
    fitted = {}
    for name, kind in all_estimators():
        if name in SLOW:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                target = x[:, 0] if "Regress" in name else (np.arange(60) % 3)
                fitted[name] = kind(**SMALL.get(name, {})).fit(x, target)
            except (TypeError, ValueError, AttributeError, sklearn.exceptions.NotFittedError):
                continue  # it takes other data than these
    return fitted


def save_sklearn(folder: Path) -> int:
    """Estimators under each of joblib's compressions, and some as plain pickles and skops."""
    import joblib  # noqa: PLC0415 - an optional package
    import skops.io  # noqa: PLC0415 - as above

    folder.mkdir()
    models = estimators()
    for number, (name, model) in enumerate(models.items()):
        compress = COMPRESSIONS[number % len(COMPRESSIONS)]
        joblib.dump(model, folder / f"{name}.joblib", compress=compress)
        if number % 4 == 0:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(model, protocol=2 + number % 4))
        if name in SKOPS:
            skops.io.dump(model, folder / f"{name}.skops")
    return len(models)


SKOPS = {
    "LogisticRegression", "RandomForestClassifier", "GradientBoostingRegressor", "StandardScaler",
    "KMeans", "PCA", "SVC", "KNeighborsClassifier", "MLPClassifier", "DecisionTreeRegressor",
    "GaussianNB", "Ridge", "OneHotEncoder", "HistGradientBoostingClassifier", "SGDClassifier",
}  # fmt: skip


def save_numpy(folder: Path) -> None:
    """Arrays of NumPy, alone and in archives."""
    folder.mkdir()
    for kind in ("f2", "f4", "f8", "i1", "u2", "i8", "?", "c8", "U5", "S3", "M8[s]"):
        np.save(folder / f"{kind.strip('?')}x.npy", np.zeros((3, 2), kind))
    np.savez(folder / "a.npz", w=np.ones((4, 4)), b=np.arange(4))
    np.savez_compressed(folder / "b.npz", w=np.random.default_rng(0).normal(size=50))
    np.save(folder / "order.npy", np.asfortranarray(np.ones((3, 4))))
    np.save(folder / "record.npy", np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]))


def save_safetensors(folder: Path) -> None:
    """Safetensors, alone and sharded with an index."""
    import json  # noqa: PLC0415 - here only

    import safetensors.numpy as st  # noqa: PLC0415 - an optional package

    folder.mkdir()
    shards = {f"model-0000{n}-of-00002.safetensors": f"w{n}" for n in (1, 2)}
    for file, tensor in shards.items():
        st.save_file({tensor: np.ones((2, 3), np.float32)}, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": 48}, "weight_map": {t: f for f, t in shards.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for kind in ("f2", "f4", "f8", "i1", "u1", "i8", "?"):
        st.save_file({"x": np.zeros((2, 2), kind)}, folder / f"k{kind.strip('?')}.safetensors")
    st.save_file({}, folder / "empty.safetensors")


def save_onnx(folder: Path) -> None:
    """ONNX models with tensors inside, beside, in attributes and in branches."""
    import onnx  # noqa: PLC0415 - an optional package
    from onnx import helper, numpy_helper  # noqa: PLC0415 - as above

    folder.mkdir()
    for number, kind in enumerate((np.float32, np.float64, np.float16, np.int64)):
        onnx.save(onnx_model(kind), folder / f"m{number}.onnx")
    onnx.save(
        onnx_model(np.float32), folder / "big.onnx", save_as_external_data=True,
        location="big.onnx.data", size_threshold=0,
    )  # fmt: skip
    out = helper.make_tensor_value_info("z", 1, None)
    weights = numpy_helper.from_array(np.ones(2, np.float32))
    branch = helper.make_graph([helper.make_node("Constant", [], ["z"], value=weights)], "b", [],
                               [out])  # fmt: skip
    flag = helper.make_tensor_value_info("c", 9, [])
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)],
        "g", [flag], [out],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), folder / "if.onnx")
    own = helper.make_function("own", "Twice", ["a"], ["y"], [helper.make_node("Add", ["a", "a"],
                               ["y"])], [helper.make_opsetid("", 20)])  # fmt: skip
    calling = helper.make_graph([helper.make_node("Twice", ["x"], ["z"], domain="own")], "g",
                                [helper.make_tensor_value_info("x", 1, [2])], [out])  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(calling, functions=[own], opset_imports=opsets),
              folder / "function.onnx")  # fmt: skip


def onnx_model(kind: Any) -> Any:
    """A matrix product."""
    from onnx import helper, numpy_helper  # noqa: PLC0415 - an optional package

    weights = numpy_helper.from_array(np.ones((64, 3), kind), "w")
    place = helper.make_tensor_value_info("x", weights.data_type, [None, 64])
    out = helper.make_tensor_value_info("y", weights.data_type, [None, 3])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [place], [out], [weights]))


def save_keras(folder: Path) -> None:
    """Keras models as ``.keras``, whole ``.h5`` and weights."""
    folder.mkdir()
    for name, model in keras_networks().items():
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name != "subclassed":
                model.save(folder / f"{name}.h5")


def keras_networks() -> dict[str, Any]:
    """Sequential, functional and subclassed networks."""
    import keras  # noqa: PLC0415 - an optional package

    layers, first = keras.layers, keras.Input((8, 8, 1))

    @keras.saving.register_keras_serializable("own")
    class Own(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    subclassed = Own()
    subclassed(np.zeros((1, 3), np.float32))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(first))
    x = layers.Add()([keras.activations.relu(x), layers.SeparableConv2D(4, 3, padding="same")(x)])
    functional = keras.Model(first, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    words = keras.Input((5,), dtype="int32")
    y = layers.Embedding(20, 8)(words)
    y = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(y, y) + y)
    compiled = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu"), layers.Dense(3)])
    compiled.compile("adam", "mse", metrics=["mae"])
    compiled.fit(np.zeros((4, 6)), np.zeros((4, 3)), verbose=0)
    return {
        "sequential": keras.Sequential([first, layers.Flatten(), layers.Dense(2, "softmax")]),
        "functional": functional,
        "subclassed": subclassed,
        "attention": keras.Model(words, layers.Dense(2)(layers.Flatten()(y))),
        "recurrent": keras.Sequential([keras.Input((4, 3)), layers.LSTM(4, return_sequences=True),
                                       layers.Bidirectional(layers.GRU(3)), layers.Dense(1)]),
        "compiled": compiled,
        "quantities": keras.Sequential([keras.Input((3,)), layers.Normalization(),
                                        layers.Dense(64, kernel_regularizer="l2"),
                                        layers.UnitNormalization()]),
    }  # fmt: skip


def save_saved_models(folder: Path) -> None:
    """SavedModels of Keras' networks and of plain TensorFlow, and one as TensorFlow Lite."""
    import tensorflow as tf  # noqa: PLC0415 - an optional package

    folder.mkdir()
    networks = keras_networks()
    for name in ("sequential", "functional", "recurrent"):
        networks[name].export(str(folder / name), verbose=False)

    class Table(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            keys, values = tf.constant(["a", "b"]), tf.constant([1, 2])
            start = tf.lookup.KeyValueTensorInitializer(keys, values)
            self.table = tf.lookup.StaticHashTable(start, -1)
            self.scale = tf.Variable(3)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, words: Any) -> Any:
            found = self.table.lookup(words) * self.scale
            return tf.map_fn(lambda n: n + 1, found)

    tf.saved_model.save(Table(), str(folder / "table"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_keras_model(networks["functional"])
        (folder / "functional.tflite").write_bytes(converter.convert())


def save_archives(folder: Path) -> None:
    """Archives that hold models, one of them in another."""
    folder.mkdir()
    inner = io.BytesIO()
    np.save(inner, np.ones(3))
    members = {"model/w.npy": inner.getvalue(), "model/README.md": b"A model."}
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    for suffix in ("", "gz", "bz2", "xz"):
        with tarfile.open(folder / f"a.tar{suffix and '.'}{suffix}", f"w:{suffix}") as packed:
            packed.add(folder / "a.zip", "inner/a.zip")


def gguf_bytes(
    keys: dict[str, bytes] | None = None, tensors: bytes = b"", count: int = 0, data: bytes = b""
) -> bytes:
    """A GGUF file; values of keys come encoded."""
    import struct  # noqa: PLC0415 - here only

    body = b"GGUF" + struct.pack("<IQQ", 3, count, len(keys or {}))
    for key, value in (keys or {}).items():
        body += struct.pack("<Q", len(key)) + key.encode() + value
    body += tensors
    return body + bytes(-len(body) % 32) + data
