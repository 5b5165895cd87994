"""Torch modules filled from state dicts: names, shapes and tied weights."""

import pytest

from mlsecops.errors import FormatRefused

torch = pytest.importorskip("torch")

from mlsecops.adapters.torch_weights import fill_module  # noqa: E402 - it needs torch


class Tied(torch.nn.Module):
    """Embedding and head that share their weights, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(8, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.head = torch.nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("left_out", ["head.weight", "embed.weight"])
def test_a_file_that_names_tied_weights_once_fills_both(left_out: str) -> None:
    full, mine = Tied().state_dict(), Tied()
    fill_module(mine, {name: value for name, value in full.items() if name != left_out})
    assert mine.head.weight is mine.embed.weight
    assert torch.equal(mine.embed.weight, full["embed.weight"])


def test_a_real_gap_is_refused_next_to_tied_weights() -> None:
    state = {name: value for name, value in Tied().state_dict().items() if name != "norm.bias"}
    with pytest.raises(FormatRefused, match=r"missing \['norm.bias'\]"):
        fill_module(Tied(), state)
    del state["head.weight"], state["embed.weight"]
    with pytest.raises(FormatRefused, match=r"missing \['embed.weight', 'head.weight'"):
        fill_module(Tied(), state)


def test_tied_names_with_different_numbers_are_refused_and_nothing_changes() -> None:
    mine = Tied()
    before = mine.embed.weight.clone()
    state = {**Tied().state_dict(), "head.weight": torch.zeros(8, 4)}
    with pytest.raises(FormatRefused, match=r"\['embed.weight', 'head.weight'\] share"):
        fill_module(mine, state)
    assert torch.equal(mine.embed.weight, before)


def test_names_without_memory_are_never_taken_for_tied() -> None:
    with torch.device("meta"):
        mine = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    state = {name: torch.ones(value.shape) for name, value in mine.state_dict().items()}
    del state["1.weight"]
    with pytest.raises(FormatRefused, match=r"missing \['1.weight'\]"):
        fill_module(mine, state)


def test_weights_in_a_training_checkpoint_are_found_by_their_names() -> None:
    full, mine = Tied(), Tied()
    saved = {"epoch": 3, "optimizer": {"state": {}}, "model_state": full.state_dict()}
    fill_module(mine, saved)
    assert torch.equal(mine.embed.weight, full.embed.weight)
    saved["ema"] = Tied().state_dict()
    with pytest.raises(FormatRefused, match=r"several times: \['ema', 'model_state'\]"):
        fill_module(Tied(), saved)
    with pytest.raises(FormatRefused, match="unexpected"):
        fill_module(torch.nn.Linear(2, 2), saved)
