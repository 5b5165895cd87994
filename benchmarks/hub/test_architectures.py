"""Other people's architectures through adapt, attacks and report, against figures by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import transformers as tf

from benchmarks.hub.architectures import IMAGES, TEXTS, digits, scores, token_rows, trained
from mlsecops import FGSM, PGD, Gate, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import WordSubstitution

COUNT, STEPS = 48, 10


def right(model: Any, x: Any, y: Any) -> Any:
    """Whether the library's own answer is the label."""
    with torch.no_grad():
        return scores(model, torch.from_numpy(np.asarray(x))).argmax(1).numpy() == y


def plain(logits: Any, y: Any) -> Any:
    """Cross-entropy."""
    return torch.nn.functional.cross_entropy(logits, y, reduction="sum")


def scale_free(logits: Any, y: Any) -> Any:
    """Cross-entropy at a twentieth of each sample's range of scores, as documented."""
    unit = (logits.amax(1) - logits.amin(1)) / 20
    label = torch.nn.functional.one_hot(y, logits.shape[1]).bool()
    others = (logits / unit[:, None]).masked_fill(label, -torch.inf)
    return (unit * others.logsumexp(1) - logits[label]).sum()


def pgd(model: Any, x: Any, y: Any, eps: float, *, steps: int = 1, loss: Any = plain) -> Any:
    """Projected gradient descent from the inputs themselves; one step is of length eps."""
    step = eps if steps == 1 else 2.5 * eps / steps
    start, labels = torch.from_numpy(x), torch.from_numpy(y)
    point = start.clone()
    for _ in range(steps):
        point.requires_grad_()
        slope = torch.autograd.grad(loss(scores(model, point), labels), point)[0].sign()
        point = (start + (point.detach() + step * slope - start).clamp(-eps, eps)).clamp(0, 1)
    return point.numpy()


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    x, y = digits()
    model = trained(IMAGES[name], x[:1400], y[:1400], steps=25)
    x = x[1400 : 1400 + COUNT]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        y = scores(model, torch.from_numpy(x)).argmax(1).numpy()  # so that the net is right …
    y[::8] = (y[::8] + 1) % 10  # … but for one sample in eight
    clean = right(model, x, y)
    eps = next(e for e in (0.01, 0.03, 0.1, 0.3, 1.0)
               if right(model, pgd(model, x, y, e), y).mean() < 0.8 * clean.mean())  # fmt: skip
    report = evaluate_robustness(model, x, y, [FGSM(eps), PGD(eps, steps=STEPS)])
    assert report.n == COUNT
    assert (report.clean.correct == clean).all()
    for figure in report.attacks.values():
        assert (figure.correct == clean & right(model, figure.examples, y)).all()
        assert np.abs(figure.examples - x).max() <= eps * 1.0001
    fgsm = clean & right(model, pgd(model, x, y, eps, loss=scale_free), y)
    assert abs(report.attacks["fgsm"].hits - fgsm.sum()) <= 1
    known = clean & right(model, pgd(model, x, y, eps, steps=STEPS), y)
    assert report.attacks["pgd"].hits <= known.sum() + 2, "weaker than the attack by hand"
    assert (
        report.worst.correct == report.attacks["fgsm"].correct & report.attacks["pgd"].correct
    ).all()
    assert Gate(min_accuracy=1.0).judge(report).verdict == "fail"
    assert report.output.endswith("logits (last operation affine)")
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("name", TEXTS)
def test_token_ids(name: str) -> None:
    """All replacements of one token, counted by hand."""
    ids, y = token_rows(600)
    model = trained(TEXTS[name], ids[:500], y[:500], steps=120)
    ids, y = ids[500:], y[500:]
    words = {token: [token % 9 + 10] for token in range(1, 10)}
    words |= {token: [token - 9] for token in range(10, 19)}
    report = evaluate_robustness(model, ids, y, WordSubstitution(words=words, most=1))
    clean = right(model, ids, y)
    held = clean.copy()
    for place in range(ids.shape[1]):
        for number, row in enumerate(ids):
            for other in words.get(int(row[place]), ()):
                changed = row.copy()
                changed[place] = other
                held[number] &= bool(right(model, changed[None], y[number : number + 1])[0])
    assert (report.clean.correct == clean).all()
    assert (report.worst.correct == held).all()
    assert clean.mean() > 0.7 > held.mean() > 0
    with pytest.raises(UsageError, match="token ids"):
        evaluate_robustness(model, ids, y, FGSM(0.1), bounds=(0, 19))


def test_embeddings_of_bert_have_gradients() -> None:
    ids, y = token_rows(600)
    model = trained(TEXTS["BERT"], ids[:500], y[:500], steps=120)

    class Embedded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(inputs_embeds=x)

    with torch.no_grad():
        x = model.get_input_embeddings()(torch.from_numpy(ids[500:])).numpy()
    eps = 0.02
    report = evaluate_robustness(Embedded(), x, y[500:], PGD(eps, steps=STEPS), bounds=(-9, 9))
    assert (report.clean.correct == right(model, ids[500:], y[500:])).all()
    assert (
        report.worst.correct
        == report.clean.correct & right(Embedded(), report.worst.examples, y[500:])
    ).all()
    assert report.worst.hits < report.clean.hits


def test_models_of_other_tasks_are_refused_by_name() -> None:
    x, y = digits()
    size = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip
    models = {
        "detection": tf.YolosForObjectDetection(
            tf.YolosConfig(**size | {"image_size": [32, 32]}, num_detection_tokens=5)
        ),
        "segmentation": torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            num_classes=3, weights_backbone=None
        ),
        "expected scores of classes": tf.ViTModel(tf.ViTConfig(**size)),
    }
    for reason, model in models.items():
        with pytest.raises(UsageError, match=rf"model output: .*{reason}"):
            evaluate_robustness(model.eval(), x[:4], y[:4] % 3, FGSM(0.1))


def test_a_net_with_auxiliary_heads() -> None:
    """In evaluation mode GoogLeNet and Inception return one array."""
    torch.manual_seed(0)
    model = torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False)
    x, y = digits()
    report = evaluate_robustness(model, x[:8], y[:8], FGSM(0.01))
    assert (report.clean.correct == right(model.eval(), x[:8], y[:8])).all()
