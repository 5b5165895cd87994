"""Environment of the hub's libraries: no network, and a torchvision that may lack its operators."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_DISABLED": "true"}

import torch

# The wheel of torchvision is built for GPUs; without them its import asks for these operators.
_library = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    try:
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:  # torchvision has its own
        break
torch.set_num_threads(1)
