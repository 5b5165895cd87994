"""Layouts of diffusers, timm, torch, Lightning, trees, spaCy, ONNX, NumPy and hub downloads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.hub.layouts import layout, weights
from benchmarks.hub.transformers_layouts import bert, gpt2, tokenizer

GRID = np.random.default_rng(0).normal(size=(40, 4)).astype("f4")
SIDES = (GRID.sum(axis=1) > 0).astype(int)


def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


# diffusers


def unet() -> Any:
    import diffusers

    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
    )  # fmt: skip


def of_diffusers(name: str) -> Any:
    import diffusers

    return lambda folder: weights(getattr(diffusers, name).from_pretrained(folder))


@layout("diffusers, one model", "ModelMixin.save_pretrained", of_diffusers("UNet2DModel"))
def _(folder: Path) -> None:
    unet().save_pretrained(folder)


@layout(
    "diffusers, shards and index", "save_pretrained(max_shard_size=…)", of_diffusers("UNet2DModel")
)
def _(folder: Path) -> None:
    unet().save_pretrained(folder, max_shard_size="8KB")


@layout("diffusers, autoencoder", "ModelMixin.save_pretrained", of_diffusers("AutoencoderKL"))
def _(folder: Path) -> None:
    import diffusers

    torch.manual_seed(0)
    diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2).save_pretrained(folder)


def scheduler(folder: Path) -> Any:
    import diffusers

    return dict(diffusers.DDPMScheduler.from_pretrained(folder).config)


@layout("diffusers, scheduler", "SchedulerMixin.save_pretrained", scheduler)
def _(folder: Path) -> None:
    import diffusers

    diffusers.DDPMScheduler(num_train_timesteps=10).save_pretrained(folder)


def pipeline(folder: Path) -> Any:
    import diffusers

    found = diffusers.DiffusionPipeline.from_pretrained(folder)
    return weights(found.unet)


@layout("diffusers, pipeline", "DiffusionPipeline.save_pretrained", pipeline)
def _(folder: Path) -> None:
    import diffusers

    diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler()).save_pretrained(folder)


@layout("diffusers, pipeline in a variant", "save_pretrained(variant=…)", lambda folder: weights(
    __import__("diffusers").DiffusionPipeline.from_pretrained(folder, variant="fp16").unet
))  # fmt: skip
def _(folder: Path) -> None:
    import diffusers

    made = diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler())
    made.save_pretrained(folder, variant="fp16")


@layout(
    "diffusers, older .bin weights",
    "save_pretrained(safe_serialization=False)",
    of_diffusers("UNet2DModel"),
)
def _(folder: Path) -> None:
    unet().save_pretrained(folder, safe_serialization=False)


# timm


@layout(
    "timm for the hub",
    "save_for_hf",
    lambda folder: weights(timm_model(Path(folder, "model.safetensors"))),
)
def _(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model("resnet10t", num_classes=2), str(folder), safe_serialization=True)


@layout("timm weights", "torch.save", lambda folder: weights(timm_model(Path(folder, "model.pth"))))
def _(folder: Path) -> None:
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "model.pth")


def timm_model(path: Path) -> Any:
    import timm

    return timm.create_model("resnet10t", num_classes=2, checkpoint_path=str(path))


# torch and safetensors


def state_of(name: str, **options: Any) -> Any:
    return lambda folder: torch.load(Path(folder, name), weights_only=True, **options)


def tensors(folder: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(next(Path(folder).glob("*.safetensors")))


@layout("safetensors", "safetensors.torch.save_file", tensors)
def _(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(net().state_dict(), folder / "m.safetensors", metadata={"format": "pt"})


@layout("safetensors of a tied module", "safetensors.torch.save_model", tensors)
def _(folder: Path) -> None:
    from safetensors.torch import save_model

    save_model(gpt2(), str(folder / "m.safetensors"))


@layout("safetensors of 8-bit floats", "safetensors.torch.save_file", tensors)
def _(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(4).to(torch.float8_e4m3fn)}, folder / "m.safetensors")


@layout("torch state dict", "torch.save", state_of("m.pt", mmap=True))
def _(folder: Path) -> None:
    torch.save(net().state_dict(), folder / "m.pt")


@layout(
    "torch state dict, older layout",
    "torch.save(_use_new_zipfile_serialization=False)",
    state_of("m.pt"),
)
def _(folder: Path) -> None:
    torch.save(net().state_dict(), folder / "m.pt", _use_new_zipfile_serialization=False)


@layout(
    "torch checkpoint with optimizer",
    "torch.save",
    lambda folder: state_of("m.ckpt")(folder)["model"],
)
def _(folder: Path) -> None:
    made = net()
    optimizer = torch.optim.AdamW(made.parameters())
    made(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = {
        "model": made.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "lr": 1e-3,
    }
    torch.save(state, folder / "m.ckpt")


@layout("torch checkpoint with NumPy values", "torch.save", lambda folder: torch.load(
    Path(folder, "m.pt"), weights_only=False
)["best"])  # fmt: skip
def _(folder: Path) -> None:
    torch.save({"w": torch.ones(2), "best": np.float64(0.5), "y": np.arange(3)}, folder / "m.pt")


@layout("torch module of torch's own layers", "torch.save(module)", lambda folder: weights(
    torch.load(Path(folder, "m.pt"), weights_only=False)
))  # fmt: skip
def _(folder: Path) -> None:
    torch.save(net().eval(), folder / "m.pt")


@layout("torch module of a class of one's own", "torch.save(module)", outcome="refused")
def _(folder: Path) -> None:
    torch.save(bert(), folder / "m.pt")


@layout("TorchScript", "torch.jit.save", outcome="refused")
def _(folder: Path) -> None:
    torch.jit.save(torch.jit.script(net()), str(folder / "m.pt"))


@layout("exported program", "torch.export.save", outcome="refused")
def _(folder: Path) -> None:
    torch.export.save(torch.export.export(net(), (torch.ones(1, 4),)), folder / "m.pt2")


def distributed(folder: Path) -> Any:
    import torch.distributed.checkpoint as dcp

    made = net()
    for value in made.state_dict().values():
        value.zero_()
    state = {"model": made.state_dict()}
    dcp.load(state, checkpoint_id=str(folder), no_dist=True)
    return state["model"]


@layout("distributed checkpoint", "torch.distributed.checkpoint.save", distributed)
def _(folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": net().state_dict()}, checkpoint_id=str(folder), no_dist=True)


@layout("distributed checkpoint with optimizer", "torch.distributed.checkpoint.save", distributed)
def _(folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    made = net()
    optimizer = torch.optim.AdamW(made.parameters())
    made(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = {"model": made.state_dict(), "optimizer": optimizer.state_dict()}
    dcp.save(state, checkpoint_id=str(folder), no_dist=True)


# Lightning


def lightning_module() -> Any:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.save_hyperparameters({"width": 8})

        def training_step(self, batch: Any, _: int) -> Any:
            return self.net(batch[0]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def train(folder: Path, **options: Any) -> Any:
    import lightning

    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(GRID)))
    trainer.fit(lightning_module(), data)
    trainer.save_checkpoint(folder / "m.ckpt", **options)


@layout(
    "Lightning checkpoint",
    "Trainer.save_checkpoint",
    lambda folder: state_of("m.ckpt")(folder)["state_dict"],
)
def _(folder: Path) -> None:
    train(folder)


@layout(
    "Lightning weights",
    "Trainer.save_checkpoint(weights_only=True)",
    lambda folder: state_of("m.ckpt")(folder)["state_dict"],
)
def _(folder: Path) -> None:
    train(folder, weights_only=True)


# trees


@layout("XGBoost JSON", "save_model", lambda folder: boosted(Path(folder, "m.json")))
def _(folder: Path) -> None:
    fit_xgboost().save_model(folder / "m.json")


@layout("XGBoost UBJSON", "save_model", lambda folder: boosted(Path(folder, "m.ubj")))
def _(folder: Path) -> None:
    fit_xgboost().save_model(folder / "m.ubj")


def fit_xgboost() -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(GRID, SIDES)


def boosted(path: Path) -> Any:
    import xgboost

    model = xgboost.XGBClassifier()
    model.load_model(path)
    return model.predict_proba(GRID)


@layout("LightGBM text", "save_model", lambda folder: __import__("lightgbm").Booster(
    model_file=str(Path(folder, "m.txt"))
).predict(GRID))  # fmt: skip
def _(folder: Path) -> None:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1).fit(
        GRID, SIDES
    )
    model.booster_.save_model(folder / "m.txt")


def catboost_read(name: str, form: str) -> Any:
    def read(folder: Path) -> Any:
        import catboost

        model = catboost.CatBoostClassifier()
        model.load_model(str(Path(folder, name)), format=form)
        return model.predict_proba(GRID)

    return read


def fit_catboost() -> Any:
    import catboost

    return catboost.CatBoostClassifier(
        iterations=3, depth=2, verbose=False, allow_writing_files=False
    ).fit(GRID, SIDES)


@layout("CatBoost binary", "save_model", catboost_read("m.cbm", "cbm"))
def _(folder: Path) -> None:
    fit_catboost().save_model(str(folder / "m.cbm"))


@layout("CatBoost JSON", "save_model(format='json')", catboost_read("m.json", "json"))
def _(folder: Path) -> None:
    fit_catboost().save_model(str(folder / "m.json"), format="json")


@layout("scikit-learn pipeline, joblib", "joblib.dump", lambda folder: __import__("joblib").load(
    Path(folder, "m.joblib")
).predict_proba(GRID))  # fmt: skip
def _(folder: Path) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(GRID, SIDES)
    joblib.dump(model, folder / "m.joblib")


# spaCy


@layout("spaCy pipeline", "Language.to_disk", lambda folder: [
    token.text for token in __import__("spacy").load(folder)("a b. c")
], outcome="held unchecked")  # fmt: skip
def _(folder: Path) -> None:
    import spacy

    made = spacy.blank("en")
    made.add_pipe("sentencizer")
    made.to_disk(folder / "m")
    for each in list((folder / "m").iterdir()):
        each.rename(folder / each.name)
    (folder / "m").rmdir()


# ONNX and NumPy


def graph(path: Path, **options: Any) -> None:
    import onnx
    from onnx import helper, numpy_helper

    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [info("x", 1, [40, 4])],
        [info("y", 1, [40, 4])],
        [numpy_helper.from_array(np.eye(4, dtype="f4"), "w")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **options)


def session(name: str) -> Any:
    def read(folder: Path) -> Any:
        import onnxruntime

        return onnxruntime.InferenceSession(str(Path(folder, name))).run(None, {"x": GRID})[0]

    return read


EXTERNAL = {"save_as_external_data": True, "size_threshold": 0}


@layout("ONNX", "onnx.save", session("m.onnx"))
def _(folder: Path) -> None:
    graph(folder / "m.onnx")


@layout("ONNX with external data", "onnx.save(save_as_external_data=True)", session("m.onnx"))
def _(folder: Path) -> None:
    graph(folder / "m.onnx", location="m.onnx_data", **EXTERNAL)


@layout("ONNX, a file a tensor", "onnx.save(all_tensors_to_one_file=False)", session("m.onnx"))
def _(folder: Path) -> None:
    graph(folder / "m.onnx", all_tensors_to_one_file=False, **EXTERNAL)


@layout("ONNX, encoder and decoder", "Optimum's names", session("decoder_model.onnx"))
def _(folder: Path) -> None:
    graph(folder / "encoder_model.onnx")
    graph(folder / "decoder_model.onnx")
    bert().config.save_pretrained(folder)


@layout("NumPy arrays", "numpy.savez", lambda folder: dict(np.load(Path(folder, "m.npz"))))
def _(folder: Path) -> None:
    np.savez(folder / "m.npz", x=GRID, y=SIDES)


@layout("NumPy array", "numpy.save", lambda folder: np.load(Path(folder, "m.npy")))
def _(folder: Path) -> None:
    np.save(folder / "m.npy", GRID)


# downloads


@layout("download into a folder", "snapshot_download(local_dir=…)", lambda folder: weights(
    __import__("transformers").AutoModel.from_pretrained(folder)
))  # fmt: skip
def _(folder: Path) -> None:
    bert().save_pretrained(folder)
    state = folder / ".cache/huggingface/download"
    state.mkdir(parents=True)
    (state / "config.json.metadata").write_text("0123\nabcd\n1700000000.0\n")
    (state.parent / "CACHEDIR.TAG").write_text("")
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")


@layout("mixin of one's own class", "PyTorchModelHubMixin.save_pretrained", tensors)
def _(folder: Path) -> None:
    from huggingface_hub import PyTorchModelHubMixin

    class Mine(torch.nn.Module, PyTorchModelHubMixin):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(width, 2)

    torch.manual_seed(0)
    Mine().save_pretrained(folder)


@layout("original weights next to the hub's", "consolidated and shards", lambda folder: weights(
    __import__("transformers").AutoModelForCausalLM.from_pretrained(folder)
))  # fmt: skip
def _(folder: Path) -> None:
    from safetensors.torch import save_file

    model = gpt2()
    model.save_pretrained(folder, max_shard_size="2KB")
    save_file({"w": torch.ones(2)}, folder / "consolidated.safetensors")
    tokenizer().save_pretrained(folder)


@layout("several formats of one model", "safetensors, ONNX and .bin", lambda folder: weights(
    __import__("transformers").AutoModel.from_pretrained(folder)
))  # fmt: skip
def _(folder: Path) -> None:
    model = bert()
    model.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "onnx").mkdir()
    graph(folder / "onnx/model.onnx")


@layout("accelerate", "Accelerator.save_model", tensors)
def _(folder: Path) -> None:
    import accelerate

    accelerate.Accelerator(cpu=True).save_model(net(), str(folder))


@layout("accelerate state", "Accelerator.save_state", tensors)
def _(folder: Path) -> None:
    import accelerate

    runner = accelerate.Accelerator(cpu=True)
    made = runner.prepare(net())
    runner.save_state(str(folder))
    del made


@layout(
    "model of the hub with its remote program",
    "save_pretrained of a custom class",
    outcome="refused",
)
def _(folder: Path) -> None:
    bert().save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoModel": "modeling_mine.Mine"}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "modeling_mine.py").write_text("class Mine: ...\n")


def cached(folder: Path) -> Any:
    import transformers

    return weights(transformers.AutoModel.from_pretrained(folder))


@layout("hub cache", "snapshot_download", cached)
def _(folder: Path) -> None:
    """A snapshot of links; the folder under test is the snapshot's, its blobs lie next to it."""
    blobs = folder.parents[1] / "blobs"
    blobs.mkdir()
    bert().save_pretrained(folder / "plain")
    for number, each in enumerate(sorted((folder / "plain").iterdir())):
        each.rename(blobs / str(number))
        (folder / each.name).symlink_to(f"../../blobs/{number}")
    shutil.rmtree(folder / "plain")
