"""Settings that name code are refused by name; those of the usual libraries pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlsecops.loading import scan, scan_each
from tests.attackers import companions as attack

pytest.importorskip("yaml")
HONEST: dict[str, str] = {
    "config.json": json.dumps(
        {"_name_or_path": "gpt2", "activation_function": "gelu_new", "architectures": ["GPT2Model"],
         "model_type": "gpt2", "task_specific_params": {"text-generation": {"max_length": 50}},
         "torch_dtype": "float32", "quantization_config": {"_load_in_4bit": True}}),
    "cross/config.json": json.dumps(
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
         "sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}),
    "tokenizer_config.json": json.dumps(
        {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": {"0": {"content": "<unk>"}},
         "model_max_length": 10**30, "clean_up_tokenization_spaces": False}),
    "generation_config.json": json.dumps({"temperature": 0.6, "eos_token_id": [1, 2]}),
    "adapter_config.json": json.dumps(
        {"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "auto_mapping":
         {"base_model_class": "BertModel",
          "parent_library": "transformers.models.bert.modeling_bert"}}),
    "adapter2/adapter_config.json": json.dumps({"auto_mapping": None, "target_modules": "all"}),
    "model_index.json": json.dumps(
        {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
         "feature_extractor": ["transformers", "CLIPImageProcessor"],
         "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
         "scheduler": ["diffusers", "PNDMScheduler"], "image_encoder": [None, None],
         "text_encoder": ["transformers", "CLIPTextModel"], "requires_safety_checker": True,
         "tokenizer": ["transformers", "CLIPTokenizer"],
         "unet": ["diffusers", "UNet2DConditionModel"],
         "vae": ["diffusers", "AutoencoderKL"]}),
    "unet/config.json": json.dumps(
        {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0",
         "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}),
    "modules.json": json.dumps(
        [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
         {"idx": 1, "name": "1", "path": "1_P", "type": "sentence_transformers.models.Pooling"},
         {"idx": 2, "name": "2", "path": "2_Dense",
          "type": "sentence_transformers.base.modules.dense.Dense"}]),
    "2_Dense/config.json": json.dumps(
        {"in_features": 768, "activation_function": "torch.nn.modules.activation.Tanh"}),
    "router_config.json": json.dumps(
        {"types": {"query": "sentence_transformers.models.Transformer"},
         "structure": {"q": ["0"]}}),
    "model-settings.json": json.dumps(
        {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel",
         "parameters": {"uri": "./model.joblib"}}),
    "MLmodel": """artifact_path: model
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    model_path: model.pkl
    predict_fn: predict
    python_version: 3.11.4
  sklearn:
    code: null
    pickled_model: model.pkl
    serialization_format: cloudpickle
mlflow_version: 2.9.2
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]'
""",
    "conda.yaml": """channels:
- conda-forge
dependencies:
- python=3.11.4
- pip<=23.2
- pip:
  - mlflow==2.9.2
  - scikit-learn==1.3.0
name: mlflow-env
""",
    "nemo.yaml": """# a model of the toolkit
sample_rate: 16000
train_ds:
  manifest_filepath: ???
  trim_silence: true
encoder: {_target_: torch.nn.TransformerEncoderLayer, d_model: 8, nhead: 2}
decoder:
  _target_: transformers.AutoModelForCausalLM
optim: {name: adamw, lr: 1e-3, betas: [0.9, 0.98], sched: {name: CosineAnnealing}}
""",
    "hydra/config.yaml": """defaults: [_self_, {optimizer: adam}]
optimizer: {_target_: torch.optim.AdamW, lr: 0.001, _partial_: true}
scheduler: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 10}
model:
  _target_: torch.nn.Sequential
  _args_:
  - {_target_: torch.nn.Linear, in_features: 4, out_features: 2}
  - &relu {_target_: torch.nn.ReLU}
  - *relu
scaler: {_target_: sklearn.preprocessing.StandardScaler}
target: price
implementation: eager
""",
    "hparams.yaml": """betas: !!python/tuple
- 0.9
- 0.95
lr: 1.0e-3
data: !!binary aGVsbG8=
when: 2024-01-01
""",
    "pyproject.toml": "[project]\nname = 'model'\nversion = '1.0'\n",
    "trainer_state.json": json.dumps({"log_history": [{"loss": 0.1}], "target": "y.csv"}),
}  # fmt: skip


def placed(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", sorted(attack.SETTINGS))
def test_settings_that_name_code_are_refused_by_the_target(tmp_path: Path, kind: str) -> None:
    name, text, target = attack.SETTINGS[kind]
    file = placed(tmp_path, name, text)
    verdict = scan(file)
    assert verdict.refused
    assert {each.rule for each in verdict.findings} == {"settings-code"}
    assert {each.severity.label for each in verdict.findings} == {"high"}
    assert target in verdict.findings[0].message
    assert verdict.findings[0].where
    allowed = scan(file, allow_globals=[target])
    assert not allowed.refused
    assert {each.rule for each in allowed.findings} == {"allowed-by-name"}


@pytest.mark.parametrize("name", sorted(HONEST))
def test_settings_of_the_usual_libraries_pass(tmp_path: Path, name: str) -> None:
    verdict = scan(placed(tmp_path, name, HONEST[name]))
    assert verdict.findings == ()
    assert verdict.unchecked == ()


def test_the_place_is_the_line_or_the_key_path(tmp_path: Path) -> None:
    lines = placed(tmp_path, "a.yaml", "a: 1\nmodel:\n  - _target_: x.y\n")
    keys = placed(tmp_path, "a.json", json.dumps({"model": [{"_target_": "x.y"}]}))
    assert scan(lines).findings[0].where == "line 3: model[0]._target_"
    assert scan(keys).findings[0].where == "model[0]._target_"


def test_settings_in_an_archive_are_refused(tmp_path: Path) -> None:
    attack.nemo(tmp_path / "model.nemo", "target: evil.models.Run\n")
    verdict = scan(tmp_path / "model.nemo")
    assert [each.rule for each in verdict.findings] == ["settings-code"]
    assert "model_config.yaml" in verdict.findings[0].where


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "a: [1"),
        ("a.yaml", "a: *missing"),
        ("a.yaml", "- " * 200 + "x"),
        ("a.yaml", "{" + "a," * 600_000 + "}"),
        ("a.yaml", "a: !unknown 1"),
        ("a.yaml", "a: !include:other.yaml 1"),
        ("a.toml", "a = "),
        ("a.toml", "#\n" * 600_000),
        ("a.yaml", "".join(f"- !a{n} x\n" for n in range(90_000))),
        ("a.toml", "a = " + "[" * 5000),
        ("a.toml", ".".join("a" * 300) + " = 1"),
        ("a.json", "{"),
        ("a.json", json.dumps([{"_target_": "x.y"}] * 60_000)),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_read_whole_are_unchecked(
    tmp_path: Path, name: str, text: str
) -> None:
    assert scan(placed(tmp_path, name, text)).unchecked


def test_aliases_are_not_expanded(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 60))
    file = placed(tmp_path, "bomb.yaml", f"a0: &a0 [x]\n{levels}\nauto_map: *a59\n")
    assert not scan(file).unchecked


def test_long_keys_cost_nothing_for_each_value(tmp_path: Path) -> None:
    value: Any = {"k" * 200_000: [{"a": []}] * 50_000}
    assert not scan(placed(tmp_path, "config.json", json.dumps(value))).refused


def test_without_pyyaml_only_plain_settings_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name, name=name)

    placed(tmp_path, "plain.yaml", "a: 1\n")
    for kind, (name, text, _) in attack.SETTINGS.items():
        if name.endswith((".yaml", ".yml")) or name == "MLmodel":
            placed(tmp_path / kind, name, text)
    monkeypatch.setattr("mlsecops._extras.importlib.import_module", missing)
    for verdict in scan_each(tmp_path):
        assert not verdict.refused
        assert bool(verdict.unchecked) is not verdict.path.endswith("plain.yaml")
