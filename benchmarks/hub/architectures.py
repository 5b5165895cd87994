"""Tiny classifiers of transformers, timm and torchvision, trained for a few steps on digits.

The libraries' own classes with small configurations; images are `(n, 3, 32, 32)`, texts are rows of
token ids whose label is which of two groups of tokens they hold more of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import timm
import torch
import torchvision
import transformers as tf
from sklearn.datasets import load_digits

SIDE: Final = {"image_size": 32, "patch_size": 8, "num_labels": 10}
NARROW: Final = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS: Final = {"vocab_size": 20, "max_position_embeddings": 16, "num_labels": 2}

IMAGES: Final[dict[str, Callable[[], Any]]] = {
    "transformers ViT": lambda: tf.ViTForImageClassification(
        tf.ViTConfig(**SIDE, **NARROW, intermediate_size=64)
    ),
    "transformers RegNet": lambda: tf.RegNetForImageClassification(
        tf.RegNetConfig(num_labels=10, embedding_size=16, hidden_sizes=[16, 32, 32, 32],
                        depths=[1, 1, 1, 1], groups_width=8)
    ),
    "transformers Swin": lambda: tf.SwinForImageClassification(
        tf.SwinConfig(image_size=32, patch_size=4, num_labels=10, embed_dim=16, depths=[1, 1],
                      num_heads=[2, 2], window_size=4)
    ),
    "transformers ConvNext": lambda: tf.ConvNextForImageClassification(
        tf.ConvNextConfig(num_labels=10, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2,
                          layer_scale_init_value=1.0)
    ),
    "transformers ResNet": lambda: tf.ResNetForImageClassification(
        tf.ResNetConfig(num_labels=10, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1],
                        layer_type="basic")
    ),
    "transformers MobileNetV2": lambda: tf.MobileNetV2ForImageClassification(
        tf.MobileNetV2Config(num_labels=10, image_size=32, depth_multiplier=0.25)
    ),
    "timm ResNet": lambda: timm.models.resnet.ResNet(
        timm.models.resnet.BasicBlock, (1, 1, 1, 1), channels=(16, 32, 32, 64), num_classes=10
    ),
    "timm ConvNeXt": lambda: timm.create_model(
        "convnext_atto", num_classes=10, depths=(1, 1, 1, 1), dims=(16, 16, 32, 32), patch_size=2,
        ls_init_value=1.0,
    ),
    "timm ViT": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_heads=2, embed_dim=32,
        num_classes=10,
    ),
    "timm MLP-Mixer": lambda: timm.models.mlp_mixer.MlpMixer(
        img_size=32, patch_size=8, num_blocks=2, embed_dim=32, num_classes=10
    ),
    "torchvision ResNet": lambda: torchvision.models.ResNet(
        torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10
    ),
    "torchvision ShuffleNetV2": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10),
    "torchvision MobileNetV3": lambda: torchvision.models.mobilenet_v3_small(num_classes=10),
    "torchvision ViT": lambda: torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64,
        num_classes=10,
    ),
}  # fmt: skip

TEXTS: Final[dict[str, Callable[[], Any]]] = {
    "BERT": lambda: tf.BertForSequenceClassification(
        tf.BertConfig(**TOKENS, **NARROW, intermediate_size=64)
    ),
    "DistilBERT": lambda: tf.DistilBertForSequenceClassification(
        tf.DistilBertConfig(**TOKENS, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    ),
    "GPT-2": lambda: tf.GPT2ForSequenceClassification(
        tf.GPT2Config(
            vocab_size=20,
            n_positions=16,
            n_embd=32,
            n_layer=2,
            n_head=2,
            num_labels=2,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
    ),
}


def digits() -> tuple[Any, Any]:
    """Pixels from 0 to 1 `(n, 3, 32, 32)`, and digits."""
    data = load_digits()
    small = (data.images / 16).astype(np.float32)
    return np.repeat(np.kron(small, np.ones((4, 4), np.float32))[:, None], 3, axis=1), data.target


def token_rows(count: int) -> tuple[Any, Any]:
    """Token ids `(n, 8)` from 1 to 19; label 1 where most are above 9."""
    ids = np.random.default_rng(0).integers(1, 20, (count, 8))
    return ids, ((ids > 9).sum(axis=1) > 4).astype(np.int64)


def trained(build: Callable[[], Any], x: Any, y: Any, *, steps: int) -> Any:
    """A model after a few steps of Adam on batches of 32."""
    torch.manual_seed(0)
    model = build().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # of the running mean, in so few steps
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = rng.integers(0, len(x), 32)
        optimizer.zero_grad()
        logits = scores(model, torch.from_numpy(x[rows]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows])).backward()
        optimizer.step()
    return model.eval()


def scores(model: Any, x: Any) -> Any:
    """Logits out of the library's own answer."""
    answer = model(x)
    return getattr(answer, "logits", answer)
