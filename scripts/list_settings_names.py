"""Generator of the allowlist of names that settings may have built (`allowed/settings.txt`).

unpacked wheels (read as syntax trees, never imported) and installed torch and scikit-learn → names

    pip download --no-deps transformers diffusers sentence-transformers
    unzip each into one folder, then: python scripts/list_settings_names.py FOLDER
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import sklearn
import torch
from sklearn.utils import all_estimators

TARGET = Path(__file__).parent.parent / "mlsecops" / "loading" / "allowed" / "settings.txt"
PART = re.compile(
    r"[A-Z]\w*?(Model|For[A-Z]\w*|Encoder|Decoder|Tokenizer|TokenizerFast|Processor|ProcessorFast"
    r"|ProcessorPil|FeatureExtractor|Config|Backbone|WithProjection|Auto\w*|Classifier|Head"
    r"|Checker)"
)
BEFORE_5 = (("Tokenizer", "TokenizerFast"), ("ImageProcessor", "FeatureExtractor"),
            ("ImageProcessor", "ImageProcessorFast"))  # fmt: skip
"""Endings of class names in transformers 5 and 4."""
SENTENCE_TRANSFORMERS = """
Asym BoW CLIPModel CNN Dense Dropout LayerNorm LSTM Normalize Pooling Router StaticEmbedding
Transformer WeightedLayerPooling WordEmbeddings WordWeights
""".split()  # noqa: SIM905 - a list of words to read; the names that releases before 6 wrote
SPARSE = ["MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding", "SpladePooling"]
FLAVORS = """
catboost diviner dspy fastai gluon h2o haystack johnsnowlabs keras langchain lightgbm llama_index
mleap onnx openai paddle pmdarima promptflow prophet pyfunc.loaders.chat_agent
pyfunc.loaders.chat_model pyfunc.loaders.code_model pyfunc.loaders.responses_agent pyfunc.model
pytorch sentence_transformers shap sklearn spacy spark statsmodels tensorflow transformers xgboost
""".split()  # noqa: SIM905 - as above; the flavours of MLflow 1 to 3
RUNTIMES = """
mlserver_alibi_detect.AlibiDetectRuntime mlserver_alibi_explain.AlibiExplainRuntime
mlserver_catboost.CatboostModel mlserver_huggingface.HuggingFaceRuntime
mlserver_lightgbm.LightGBMModel mlserver_mlflow.MLflowRuntime mlserver_mllib.MLlibModel
mlserver_onnx.OnnxModel mlserver_sklearn.SKLearnModel mlserver_xgboost.XGBoostModel
""".split()  # noqa: SIM905 - as above


def torch_names() -> Iterator[str]:
    """Modules, optimizers and schedules, under their public and their defining modules."""
    homes = ((torch.nn, torch.nn.Module), (torch.optim, torch.optim.Optimizer),
             (torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler))  # fmt: skip
    for home, base in homes:
        for name, value in vars(home).items():
            if isinstance(value, type) and issubclass(value, base) and name.isidentifier():
                yield f"{home.__name__}.{name}"
                if not value.__module__.startswith("torch.nn.parallel"):
                    yield f"{value.__module__}.{value.__qualname__}"


def sklearn_names() -> Iterator[str]:
    """Estimators, under their public modules."""
    for name, value in all_estimators():
        parts = value.__module__.split(".")
        public = [part for part in parts if not part.startswith("_")]
        yield f"{'.'.join(public)}.{name}"
        yield f"{value.__module__}.{name}"


def classes(folder: Path, base: Path) -> Iterator[tuple[str, str]]:
    """(Module, class) of every public class below a folder, by syntax tree."""
    for file in sorted(folder.rglob("*.py")):
        module = ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield module, node.name


def transformers_names(base: Path) -> Iterator[str]:
    """Models, tokenizers, processors and their configurations."""
    yield from ("transformers.GenerationConfig", "transformers.BitsAndBytesConfig")
    for module, name in classes(base / "transformers" / "models", base):
        if not PART.fullmatch(name) or name.endswith("PreTrainedModel"):
            continue
        yield f"transformers.{name}"
        for new, old in BEFORE_5:
            if name.endswith(new):
                yield f"transformers.{name.removesuffix(new)}{old}"
        if ".modeling_" in module:
            yield f"{module}.{name}"


def diffusers_names(base: Path) -> Iterator[str]:
    """Models, schedulers and pipelines with the classes in their modules."""
    for home in ("models", "schedulers", "pipelines"):
        for module, name in classes(base / "diffusers" / home, base):
            if name.endswith("Output") or "Mixin" in name:
                continue
            yield f"diffusers.{name}"
            if home == "pipelines":
                yield f"diffusers.pipelines.{module.split('.')[2]}.{name}"
            elif home == "models":
                yield f"{module}.{name}"


def sentence_transformers_names(base: Path) -> Iterator[str]:
    """Modules of Sentence Transformers, under the names of all releases."""
    for name in SENTENCE_TRANSFORMERS:
        yield from (f"sentence_transformers.models.{name}",
                    f"sentence_transformers.models.{name}.{name}")  # fmt: skip
    yield from (f"sentence_transformers.sparse_encoder.models.{name}" for name in SPARSE)
    for module, name in classes(base / "sentence_transformers", base):
        if (".modules" in module or ".models" in module) and "Lambda" not in name:
            yield f"{module}.{name}"
            yield f"{module.rpartition('.')[0]}.{name}"


def main() -> None:
    """Write the list."""
    base = Path(sys.argv[1])
    names = {*torch_names(), *sklearn_names(), *RUNTIMES, *(f"mlflow.{name}" for name in FLAVORS)}
    names |= {*transformers_names(base), *diffusers_names(base), *sentence_transformers_names(base)}
    versions = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    head = f"# {versions}; written by scripts/{Path(inspect.getfile(main)).name}"
    homes: dict[str, list[str]] = {}
    for name in sorted(names):
        home, _, leaf = name.rpartition(".")
        homes.setdefault(home, []).append(leaf)
    lines = [head, *(f"{home}: {' '.join(leaves)}" for home, leaves in sorted(homes.items()))]
    TARGET.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
