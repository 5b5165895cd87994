import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.adapters import Adapter, Portable, Pullback, adapt
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.robustness import PGD, evaluate_robustness

torch = pytest.importorskip("torch")


def network(*tail: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(4 * 36, 5),
        *tail,
    )


@pytest.fixture
def x() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((7, 1, 8, 8), dtype=np.float32)


@pytest.fixture
def y() -> NDArray[np.int64]:
    return np.arange(7) % 5


def test_a_module_becomes_an_adapter_and_an_adapter_stays_itself() -> None:
    view = adapt(network())
    assert isinstance(view, Adapter)
    assert view.framework == "torch"
    assert view.channels_first
    assert adapt(view) is view


def test_gradient_equals_finite_differences(x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    model = network().double()
    view = adapt(model)
    logits, gradient = view.loss_gradient(x, y)
    model.eval()

    def loss(values: NDArray[np.float32]) -> Any:
        with torch.no_grad():
            scores = model(torch.from_numpy(values.astype(np.float64)))
            return torch.nn.functional.cross_entropy(
                scores, torch.from_numpy(y), reduction="none"
            ).numpy()

    for place in [(0, 0, 0), (0, 3, 4), (0, 7, 7), (0, 5, 2)]:
        step = np.zeros(x.shape[1:])
        step[place] = 1e-5
        numeric = (loss(x + step) - loss(x - step)) / 2e-5
        np.testing.assert_allclose(gradient[(slice(None), *place)], numeric, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logits, view.logits(x), rtol=1e-5)


def test_each_samples_gradient_is_its_own_whatever_the_batch(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    view = adapt(network())
    many = np.tile(x, (60, 1, 1, 1))
    _, whole = view.loss_gradient(many, np.tile(y, 60))
    _, alone = view.loss_gradient(x[:1], y[:1])
    assert whole.shape == many.shape
    np.testing.assert_allclose(whole[-7], alone[0], rtol=1e-4, atol=1e-7)


def cross_entropy_slope(y: NDArray[np.int64]) -> Any:
    def slope(logits: NDArray[np.float32]) -> Any:
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[y]

    return slope


def test_pullback_of_the_cross_entropy_is_its_gradient(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    view = adapt(network())
    assert isinstance(view, Pullback)
    logits, gradient = view.pullback(x, cross_entropy_slope(y))
    expected = view.loss_gradient(x, y)
    np.testing.assert_allclose(logits, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-7)


def test_cotangent_of_another_shape_is_refused(x: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match="shape of the logits"):
        adapt(network()).pullback(x, lambda logits: logits[:, :1])


class Restless(torch.nn.Module):
    """Counts calls in buffers: one written in place, one replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("latest", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.latest = x.detach().sum()
        return self.inner(x)


def test_the_model_is_left_exactly_as_it_was(x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    model = Restless()
    model.train()
    model.inner[1].eval()
    model.inner[0].weight.requires_grad = False
    model.inner[5].bias.grad = torch.ones(5)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    replaced = model.latest
    view = adapt(model)
    view.predict(x)
    view.features(x)
    view.loss_gradient(x, y)
    view.pullback(x, lambda logits: logits)
    with pytest.raises(UsageError):
        view.loss_gradient(x, y[:-1])
    with pytest.raises(UsageError, match="refuses inputs shaped"):
        view.predict(x[:, :, :2])
    assert model.latest is replaced
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.grad is not None for p in model.parameters()].count(True) == 1
    assert torch.equal(model.inner[5].bias.grad, torch.ones(5))
    assert not any(module._forward_hooks for module in model.modules())


def test_dropout_is_off(x: NDArray[np.float32]) -> None:
    view = adapt(network().train())
    np.testing.assert_array_equal(view.logits(x), view.logits(x))


def test_logits_come_from_before_a_final_softmax(x: NDArray[np.float32]) -> None:
    scale = 60.0
    plain, tailed = network(), network(torch.nn.Softmax(dim=1))
    for model in (plain, tailed):
        model[5].weight.data *= scale
    np.testing.assert_allclose(adapt(tailed).logits(x), adapt(plain).logits(x), rtol=1e-5)


def test_probabilities_of_a_functional_softmax_become_log_probabilities(
    x: NDArray[np.float32],
) -> None:
    class Functional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.inner(x), dim=1)

    np.testing.assert_allclose(
        adapt(Functional()).predict(x), adapt(network()).predict(x), rtol=1e-4
    )


def test_one_column_becomes_two_classes(x: NDArray[np.float32]) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1), torch.nn.Sigmoid())
    probability = model(torch.from_numpy(x)).detach().numpy()[:, 0]
    np.testing.assert_allclose(adapt(model).predict(x)[:, 1], probability, rtol=1e-5)


def test_features_are_the_input_of_the_last_linear(x: NDArray[np.float32]) -> None:
    model = network().eval()
    hidden = adapt(model).features(x)
    scores = hidden @ model[5].weight.detach().numpy().T + model[5].bias.detach().numpy()
    np.testing.assert_allclose(scores, adapt(model).logits(x), rtol=1e-4, atol=1e-5)


def test_features_without_a_linear_layer_are_refused(x: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match="no Linear"):
        adapt(torch.nn.Flatten()).features(x)


def exported(net: Any, x: NDArray[np.float32]) -> Any:
    rows = {0: torch.export.Dim("rows")}
    return torch.export.export(net, (torch.tensor(x[:3]),), dynamic_shapes=(rows,))


DEPLOYED: dict[str, Any] = {
    "scripted": lambda net, _: torch.jit.script(net),
    "scripted in training": lambda net, _: torch.jit.script(net.train()),
    "traced": lambda net, x: torch.jit.trace(net, torch.tensor(x)),
    "frozen": lambda net, _: torch.jit.freeze(torch.jit.script(net)),
    "exported": exported,
    "module of an exported one": lambda net, x: exported(net, x).module(),
}


@pytest.mark.parametrize("kind", DEPLOYED)
def test_modules_in_a_form_for_deployment_are_attacked_as_the_module_is(
    kind: str, x: NDArray[np.float32]
) -> None:
    net = network().eval()
    view, plain = adapt(DEPLOYED[kind](copy.deepcopy(net), x)), adapt(net)
    np.testing.assert_allclose(view.logits(x), plain.logits(x), atol=1e-5)
    y = plain.predict(x).argmax(axis=1)
    ours, theirs = (each.loss_gradient(x, y)[1] for each in (view, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    report = evaluate_robustness(view, x, y, PGD(0.3, steps=5))  # its copies answer, too
    assert report.worst.hits == evaluate_robustness(net, x, y, PGD(0.3, steps=5)).worst.hits
    with pytest.raises(UsageError, match="the module that they were made from"):
        view.features(x)


def test_a_program_exported_in_training_is_random_and_passes_no_gate(
    x: NDArray[np.float32],
) -> None:
    program = exported(network().train(), np.tile(x, (8, 1, 1, 1)))
    y = adapt(program).logits(x).argmax(axis=1)
    report = evaluate_robustness(program, x, y, PGD(0.1, steps=2))
    assert [check.name for check in report.checks if check.outcome == "fail"]


def test_a_module_that_works_in_place_does_not_write_into_the_callers_array(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    model = torch.nn.Sequential(torch.nn.ReLU(inplace=True), *network())
    negative = x - 1
    kept = negative.copy()
    adapt(model).predict(negative)
    adapt(model).loss_gradient(negative, y)
    np.testing.assert_array_equal(negative, kept)


def test_read_only_and_strided_inputs_work(x: NDArray[np.float32]) -> None:
    frozen = x[::2].astype(np.float64)
    frozen.flags.writeable = False
    view = adapt(network())
    np.testing.assert_allclose(view.predict(frozen), view.predict(x)[::2], rtol=1e-5)


def test_an_output_of_another_width_is_refused(x: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match=r"\(n, 10\).*\(7, 5\)"):
        adapt(network(), classes=10).predict(x)


def test_an_unknown_object_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot adapt"):
        adapt(object())


def test_weights_travel_as_safetensors_and_all_or_none(x: NDArray[np.float32]) -> None:
    source, target = adapt(network()), adapt(network(seed=1))
    assert isinstance(source, Portable)
    before = copy.deepcopy(target.model.state_dict())
    other = adapt(torch.nn.Linear(3, 2))
    for data in (other.encode(), source.encode()[:-1], b"nonsense"):
        with pytest.raises(FormatRefused):
            target.decode(data)
    after = target.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    target.decode(source.encode())
    np.testing.assert_array_equal(target.predict(x), source.predict(x))


def test_tied_weights_are_written_out_and_other_state_is_refused() -> None:
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    adapt(tied).decode(adapt(tied).encode())

    class Extra(torch.nn.Linear):
        def get_extra_state(self) -> Any:
            return {"anything": 1}

    with pytest.raises(UsageError, match="no tensors"):
        adapt(Extra(3, 2)).encode()


@pytest.mark.parametrize("cut", ["no_grad", "detach"])
def test_a_model_that_cuts_its_gradient_off_has_none_and_is_no_error(
    x: NDArray[np.float32], y: NDArray[np.int64], cut: Any
) -> None:
    inner = network()

    class Cut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, batch: Any) -> Any:
            if cut == "detach":
                return self.inner(batch.detach())
            with torch.no_grad():
                return self.inner(batch)

    view = adapt(Cut())
    for logits, gradient in (
        view.loss_gradient(x, y), view.pullback(x, np.ones_like),
    ):  # fmt: skip
        assert np.allclose(logits, adapt(inner).logits(x), atol=1e-6)
        assert gradient.shape == x.shape
        assert not gradient.any()


class Reviews(torch.nn.Module):
    """Text classifier over token ids."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.words = (torch.nn.Embedding if kind == "embedding" else torch.nn.EmbeddingBag)(50, 8)
        self.seen: list[Any] = []
        self.out = torch.nn.Linear(8, 3)

    def forward(self, ids: Any) -> Any:
        self.seen.append(ids.dtype)
        found = self.words(ids)
        return self.out(found if found.ndim == 2 else found.mean(dim=1))


@pytest.mark.parametrize("kind", ["embedding", "bag"])
@pytest.mark.parametrize("given", ["int64", "int32", "uint8", "uint16"])
def test_token_ids_stay_integers(kind: str, given: str) -> None:
    net = Reviews(kind)
    ids = np.array([[1, 2, 3], [4, 5, 49]])
    with torch.no_grad():
        expected = net(torch.from_numpy(ids))
    view = adapt(net)
    np.testing.assert_allclose(view.logits(ids.astype(given)), expected.numpy(), rtol=1e-5)
    assert view.features(ids.astype(given)).shape == (2, 8)
    assert not any(kind.is_floating_point for kind in net.seen)
    with pytest.raises(UsageError, match="no gradients"):
        view.loss_gradient(ids.astype(given), np.array([0, 1]))
    with pytest.raises(UsageError, match="no gradients"):
        adapt(net).pullback(ids.astype(given), lambda logits: logits)


def test_a_token_out_of_range_is_our_error_and_names_the_types() -> None:
    with pytest.raises(UsageError, match=r"as int64: index out of range"):
        adapt(Reviews("embedding")).predict(np.array([[1, 2, 500]]))


def test_integers_for_a_model_of_real_numbers_are_converted_and_have_gradients() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    view = adapt(net)
    floats = pixels.astype(np.float32)
    np.testing.assert_array_equal(view.predict(pixels), view.predict(floats))
    labels = np.array([0, 2])
    np.testing.assert_array_equal(
        view.loss_gradient(pixels, labels)[1], view.loss_gradient(floats, labels)[1]
    )


def test_large_token_ids_are_not_rounded() -> None:
    class Last(torch.nn.Module):
        def forward(self, ids: Any) -> Any:
            odd = (ids[:, -1] % 2).float()
            return torch.stack([1 - odd, odd], dim=1)

    view = adapt(Last())
    assert view.predict(np.array([[1, 2**24 + 1]]))[0].argmax() == 1


def test_a_module_is_held_on_its_device_for_an_evaluation(x: NDArray[np.float32]) -> None:
    moves: list[Any] = []

    class Moved(torch.nn.Sequential):
        def to(self, *where: Any, **options: Any) -> Any:
            moves.append(where)
            return super().to(*where, **options)

    net = Moved(*network()).train()
    view = adapt(net, device="cpu")
    y = adapt(net).logits(x).argmax(axis=1)
    evaluate_robustness(view, x, y, PGD(0.1, steps=5), checks=False)
    assert len(moves) == 2  # there and back
    assert net.training
    view.logits(x)
    assert len(moves) == 4  # outside of an evaluation with each call


def test_gradients_may_be_those_of_autocast_and_scores_are_exact(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    net = network()
    exact, fast = adapt(net), adapt(net, precision="bfloat16")
    np.testing.assert_array_equal(exact.logits(x), fast.logits(x))
    one, other = exact.loss_gradient(x, y)[1].ravel(), fast.loss_gradient(x, y)[1].ravel()
    assert (one != other).any()
    assert np.corrcoef(one, other)[0, 1] > 0.99
    with pytest.raises(UsageError, match="precision"):
        adapt(net, precision="float8")


def test_channels_last_changes_the_memory_and_no_number(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    seen: list[bool] = []
    net = network()
    net[0].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    wide = np.repeat(x, 1, axis=1)
    found = adapt(net, channels_last=True).loss_gradient(wide, y)
    assert all(seen)
    for one, other in zip(found, adapt(net).loss_gradient(wide, y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_an_evaluation_on_a_gpu_gives_the_same_figures_or_is_refused_without_one(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    net = network()
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            adapt(net, device="cuda").logits(x)
        return
    here, there = (
        evaluate_robustness(adapt(net, device=device), x, y, PGD(0.1, steps=5), checks=False)
        for device in ("cpu", "cuda")
    )
    assert here.worst.hits == there.worst.hits
    assert next(net.parameters()).device.type == "cpu"
