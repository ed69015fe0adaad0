"""T2T-ViT and its relatives equal a re-implementation from the papers' equations."""

from __future__ import annotations

import copy
from functools import lru_cache
from math import prod

import pytest
import torch
from torch import Tensor, nn

from flopwise import dsl, nets
from tests.parity.references import image, relative
from tests.parity.t2t import re_structured, soft_split, t2t_vit

TOLERANCE = 1e-5
SMALL = {  # name -> (what makes it small, heads)
    "t2t_vit_14": ({"dim": "48", "depth": "3", "heads": "3"}, 3),
    "t2t_vit_t_14": ({"dim": "48", "depth": "3", "heads": "3"}, 3),
    "t2t_vit_14_se": ({"dim": "48", "depth": "2", "heads": "3"}, 3),
    "t2t_vit_16_ghost": ({"dim": "48", "depth": "2", "heads": "3"}, 3),
    "t2t_vit_dense": ({"dim": "32", "growth": "32", "heads": "8"}, 8),
}


def redrawn(model: nn.Module) -> nn.Module:
    """Redraws every learned tensor, biases and gains too, so that none is silent."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif name.endswith("weight"):
                parameter.copy_(0.5 + 0.5 * noise.abs())
            else:
                parameter.copy_(noise * 0.1)
    return model


@lru_cache
def small(name: str, *sets: tuple[str, str]) -> nn.Module:
    settings = [*SMALL[name][0].items(), ("input.size", "48"), ("classes", "7"), *sets]
    return redrawn(nets.build(dsl.load(f"std/{name}", sets=settings).network(), seed=0)).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_whole_networks_give_what_the_equations_give(name: str) -> None:
    model, x = small(name), image(48, batch=2)
    wanted = torch.stack([t2t_vit(one, model.state_dict(), SMALL[name][1]) for one in x])
    assert relative(model(x), wanted) <= TOLERANCE
    model, x = copy.deepcopy(model).double(), x.double()  # an eps of 1e-6 would hide in float32
    wanted = torch.stack([t2t_vit(one, model.state_dict(), SMALL[name][1]) for one in x])
    assert relative(model(x), wanted) <= 1e-12


@torch.no_grad()
def test_the_scale_of_the_released_weights_is_a_setting() -> None:
    model, x = small("t2t_vit_14", ("net.body.scale", "width")), image(48, batch=1)
    wanted = t2t_vit(x[0], model.state_dict(), 3, scale="width")
    assert relative(model(x)[0], wanted) <= TOLERANCE
    other = t2t_vit(x[0], model.state_dict(), 3)
    assert relative(model(x)[0], other) > 10 * TOLERANCE


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", ["t2t_vit_7", "t2t_vit_t_14"])
def test_full_size_networks_give_what_the_equations_give(name: str) -> None:
    model = redrawn(nets.build(dsl.load(f"std/{name}").network(), seed=0)).eval()
    x = image(224, batch=1)
    heads = {"t2t_vit_7": 4, "t2t_vit_t_14": 6}[name]
    assert relative(model(x)[0], t2t_vit(x[0], model.state_dict(), heads)) <= TOLERANCE


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_equations(name: str) -> None:
    model, x = copy.deepcopy(small(name)).double(), image(48, batch=1).double()
    model(x).square().sum().backward()
    state = {k: v.clone().requires_grad_() for k, v in model.state_dict().items()}
    t2t_vit(x[0], state, SMALL[name][1]).square().sum().backward()
    for key, parameter in model.named_parameters():
        wanted = state[key].grad
        assert parameter.grad is not None
        assert wanted is not None
        assert relative(parameter.grad, wanted) <= 1e-10, key


def mutated(model: nn.Module, name: str) -> Tensor:
    """The output with the values of one fixed or learned tensor turned around."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state[name] = state[name].flip(-1)
    return t2t_vit(image(48, batch=1)[0], state, 3)


@torch.no_grad()
@pytest.mark.parametrize(
    "key",
    ["mix1.0.w", "mix2.0.mlp.2.bias", "mix1.0.norm2.weight", "cls.cls_token", "body.2.norm1.bias"],
)
def test_a_mutant_is_told_apart(key: str) -> None:
    model = small("t2t_vit_14")
    assert relative(model(image(48, batch=1))[0], mutated(model, key)) > 10 * TOLERANCE


def test_tables_are_buffers_of_the_checkpoint_and_not_parameters() -> None:
    model = small("t2t_vit_14")
    fixed = {"pos.pos_embed", "mix1.0.w", "mix2.0.w"}
    assert fixed == set(dict(model.named_buffers()))
    assert fixed <= set(model.state_dict())
    assert not fixed & set(dict(model.named_parameters()))
    directions = model.state_dict()["mix1.0.w"]
    length = directions.shape[0] ** 0.5
    torch.testing.assert_close(
        directions @ directions.T, length**2 * torch.eye(len(directions)), atol=1e-4, rtol=1e-5
    )


def test_token_stages_carry_dropout_of_their_own_and_no_drop_path() -> None:
    graph = dsl.load("std/t2t_vit_14").network().graph
    model = nets.build(graph, device="meta", drop_path_rate=0.1)
    rates = {n: m.p for n, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert {n: p for n, p in rates.items() if p} == {
        f"{mix}.0.{name}": 0.1 for mix in ("mix1", "mix2") for name in ("dp", "mlp_dp")
    }
    paths = [n for n, m in model.named_modules() if type(m).__name__ == "DropPath"]
    assert all(name.startswith("body.") for name in paths)
    assert len(paths) == 28
    ends = [model.get_submodule(f"body.{i}.drop_path1").drop_prob for i in (0, 13)]
    assert ends == [0.0, pytest.approx(0.1)]


def test_soft_splits_and_re_structuring_of_the_reference_are_what_they_say() -> None:
    x = image(6, batch=1)[0]
    tokens, rows = soft_split(x, 3, 2, 1)
    assert (tuple(tokens.shape), rows) == ((9, 27), 3)
    assert torch.equal(tokens[4], x[:, 1:4, 1:4].reshape(-1))
    assert torch.equal(re_structured(tokens, 3)[:, 1, 1], tokens[4])


def test_fresh_weights_start_as_in_the_released_model() -> None:
    """Linear layers and the class token at a spread of 0.02, biases 0, norms 1."""
    model = nets.build(dsl.load("std/t2t_vit_7").network(), seed=0)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02), name
            assert layer.bias is None or not layer.bias.any()
        elif isinstance(layer, nn.LayerNorm):
            assert layer.weight.eq(1).all()
            assert not layer.bias.any()
    assert model.state_dict()["cls.cls_token"].std().item() == pytest.approx(0.02, rel=0.2)
    assert model.no_weight_decay() == {"cls.cls_token"}


FIGURES = [  # arXiv:2101.11986, tables 1 to 7: params in M, MACs in G, what the row counts
    ("t2t_vit_14", "21.5", "4.8", "params"),
    ("t2t_vit_19", "39.2", "8.5", "params+fixed"),
    ("t2t_vit_19", "39.1", "8.5", "params"),  # table 5
    ("t2t_vit_24", "64.1", "13.8", "params+fixed"),
    ("t2t_vit_t_14", "21.5", "6.1", "params+fixed"),
    ("t2t_vit_t_19", "39.2", "9.8", "params+fixed"),
    ("t2t_vit_t_24", "64.1", "15.0", "params+fixed"),
    ("t2t_vit_7", "4.3", "1.1", "params+fixed"),
    ("t2t_vit_10", "5.9", "1.5", "params+fixed"),  # the repository's list of models
    ("t2t_vit_12", "6.9", "1.8", "params+fixed"),
    ("t2t_vit_14_wide", "25.0", "5.4", "params"),  # table 7
    ("t2t_vit_dense", "23.7", "5.5", "params+fixed"),
    ("t2t_vit_14_se", "21.9", "4.9", "params+fixed"),
    ("t2t_vit_14_resnext", "21.5", "4.8", "params+fixed"),
    ("t2t_vit_16_ghost", "16.3", "3.7", "params+fixed"),
    ("t2t_vit_c_14", "21.3", "4.6", "params"),  # table 7
    ("vit_s16", "48.6", "10.1", "params-pos"),
    ("vit_s16_deep_narrow", "24.5", "5.5", "params"),
    ("vit_s16_shallow_wide", "47.9", "9.9", "params-pos"),
    ("vit_s16_dense", "46.7", "9.7", "params"),
    ("vit_s16_se", "49.2", "10.2", "params-pos"),
    ("vit_s16_resnext", "48.6", "10.1", "params-pos"),
    ("vit_s16_ghost", "32.1", "6.9", "params-pos"),
]
ERRATA = {  # printed figures that no released code and no reading of the paper gives
    "t2t_vit_24 macs": "13.66 G; the README and the paper share the 13.8",
    "t2t_vit_14_wide macs": "5.23 G",
    "t2t_vit_dense params": "23.65 M rounds to 23.6",
    "t2t_vit_dense macs": "5.28 G",
    "t2t_vit_14_se params": "21.80 M in the released code",
    "t2t_vit_14_se macs": "4.78 G: the gate works on one pooled token",
    "t2t_vit_16_ghost macs": "3.80 G at the released depth of 16",
    "vit_s16 macs": "9.89 G, 9.41 G without attention products",
    "vit_s16_se macs": "9.89 G, as above",
    "vit_s16_resnext macs": "9.89 G, as above",
    "vit_s16_dense params": "46.38 M; several structures end at the printed width",
    "vit_s16_dense macs": "9.58 G, as above",
    "vit_s16_deep_narrow params": "24.41 M; no code was released",
    "vit_s16_deep_narrow macs": "5.18 G; no code was released",
    "vit_s16_shallow_wide params": "47.99 M rounds to 48.0; no code was released",
    "vit_s16_shallow_wide macs": "9.56 G; no code was released",
    "vit_s16_ghost macs": "6.64 G; no code was released",
}


@pytest.mark.parametrize(("name", "params", "gmacs", "rule"), FIGURES)
def test_the_printed_figures_come_out_or_are_errata(
    name: str, params: str, gmacs: str, rule: str
) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    leaves = dict(graph.walk())
    fixed = sum(prod(b.shape) for leaf in leaves.values() for b in leaf.buffers)
    positions = prod(leaves["pos.pos_embed"].outputs[0].shape)
    counted = graph.params + {"params": 0, "params+fixed": fixed, "params-pos": -positions}[rule]
    assert (f"{counted / 1e6:.1f}" == params) != (f"{name} params" in ERRATA), counted
    assert (f"{graph.macs / 1e9:.1f}" == gmacs) != (f"{name} macs" in ERRATA), graph.macs
