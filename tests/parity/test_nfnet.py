"""NFNet against timm: outputs, gradients, first weights, and the variance that the paper plots."""

from __future__ import annotations

from functools import lru_cache

import pytest
import timm
import torch
from torch import Tensor, nn

from flopwise import dsl, nets
from flopwise.export import from_timm, recognise
from tests.parity.references import image, relative

SMALL = {"depths": [1, 2, 2, 2], "channels": [64, 128, 256, 256], "stem_chs": 32}
SMALL |= {"num_features": 512, "group_size": 32}
SETS = {"w": "64", "net.stem.hidden": "16", "net.stage3": "{depth: 2, dim: 256}"}
SETS |= {"net.stage4": "{depth: 2, dim: 256}", "net.final.dim": "512"}
SETS |= {"defaults.nfnet.group_width": "32"}
NAMES = ["dm_nfnet_f0", "nfnet_f0"]


def redrawn(model: nn.Module) -> nn.Module:
    """Gains and biases drawn anew: fresh skipinit gains of 0 would hide every branch."""
    generator = torch.Generator().manual_seed(5)
    for key, value in model.state_dict().items():
        if key.endswith("gain"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif key.endswith("bias"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    return model


CUT = [f"{kind}nfnet_f{n}" for kind in ("dm_", "") for n in range(1, 8) if (kind, n) != ("dm_", 7)]
"""Above 100 M parameters: full widths, two blocks in every stage. timm has no dm_nfnet_f7."""


@lru_cache
def pair(name: str, small: bool = True) -> tuple[nn.Module, nn.Module]:
    network = dsl.load(f"std/{name}", sets=list(SETS.items()) if small else []).network()
    theirs = redrawn(timm.create_model(name, **(SMALL if small else {}))).eval()
    ours = nets.build(network, seed=0).eval()
    ours.load_state_dict(from_timm(network, theirs.state_dict()), strict=True)
    return ours, theirs


@torch.no_grad()
@pytest.mark.parametrize("size", [96, 101])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_identical_at_even_and_odd_sizes(name: str, size: int) -> None:
    for model in pair(name):
        model.eval()
    ours, theirs = (model(image(size)) for model in pair(name))
    assert torch.equal(ours, theirs)
    ours, theirs = (model.train()(image(size)) for model in pair(name))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree(name: str) -> None:
    for model in pair(name):
        model.zero_grad()
        model(image(64, batch=1)).square().sum().backward()
    ours, theirs = pair(name)
    network = dsl.load(f"std/{name}", sets=list(SETS.items())).network()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    wanted = from_timm(network, gradients)
    for key, parameter in ours.named_parameters():
        assert relative(parameter.grad, wanted[key]) <= 1e-5, key


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_the_larger_ones_agree_with_two_blocks_in_every_stage(name: str) -> None:
    sets = [(f"net.stage{number}.depth", "2") for number in range(1, 5)]
    network = dsl.load(f"std/{name}", sets=sets).network()
    theirs = redrawn(timm.create_model(name, depths=[2, 2, 2, 2], drop_rate=0.0)).eval()
    ours = nets.build(network, seed=0).eval()
    ours.load_state_dict(from_timm(network, theirs.state_dict()), strict=True)
    with torch.no_grad():
        assert relative(ours(image(96)), theirs(image(96))) <= 1e-5
    for model in (ours, theirs):
        model.train()(image(64, batch=2)).square().sum().backward()
    wanted = from_timm(network, {key: p.grad for key, p in theirs.named_parameters()})
    for key, parameter in ours.named_parameters():
        assert relative(parameter.grad, wanted[key]) <= 1e-5, key


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_f0_agrees(name: str) -> None:
    ours, theirs = pair(name, small=False)
    assert torch.equal(ours(image(192)), theirs(image(192)))


@pytest.mark.parametrize("number", range(7))
def test_timm_builds_every_variant_from_json(number: int) -> None:
    native = recognise(dsl.load(f"std/dm_nfnet_f{number}").network())
    with torch.device("meta"):
        named = timm.create_model(f"dm_nfnet_f{number}")
        built = timm.create_model(native.architecture, **native.model_args)
    shapes = {key: value.shape for key, value in named.state_dict().items()}
    assert {key: value.shape for key, value in built.state_dict().items()} == shapes
    assert set(native.keys.values()) == set(shapes)


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_are_distributed_as_in_timm(name: str) -> None:
    network = dsl.load(f"std/{name}", sets=list(SETS.items())).network()
    ours = nets.build(network, seed=0).state_dict()
    torch.manual_seed(0)
    theirs = from_timm(network, timm.create_model(name, **SMALL).state_dict())
    for key, value in ours.items():
        if value.numel() >= 2000:
            assert value.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1), key
        elif key.endswith(("gain", "bias")):
            torch.testing.assert_close(value, theirs[key])


def signals(name: str, sets: dict[str, str], size: int) -> dict[str, tuple[float, float, float]]:
    """What the paper plots of every block for white noise, skipinit gains at 1.

    That is, in each channel over images and positions, and then averaged over channels: the
    variance of the block's output, the square of its mean, and the variance of the residual branch.
    The first is given over what beta expects it to be.
    """
    wide = {**SETS, "net.stage3.dim": "256", "net.stage4.dim": "256", **sets}
    del wide["net.stage3"], wide["net.stage4"]
    network = dsl.load(f"std/{name}", sets=list(wide.items())).network()
    model = nets.build(network, seed=0).eval()
    for key, value in model.state_dict().items():
        if key.endswith("skipinit_gain"):
            value.fill_(1.0)
    outputs: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda _m, _i, out, path=path: outputs.update({path: out}))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model(torch.randn(8, 3, size, size, generator=noise))
    return {
        f"{stage.name}.{block.name}": (
            spread(outputs[f"{stage.name}.{block.name}"]) / block.outputs[0].variance,
            outputs[f"{stage.name}.{block.name}"].mean(dim=(0, 2, 3)).square().mean().item(),
            spread(outputs[f"{stage.name}.{block.name}.drop_path"]),
        )
        for stage in network.graph.layers
        if stage.graph and stage.name.startswith("stage")
        for block in stage.graph.layers
    }


def spread(x: Tensor) -> float:
    return x.var(dim=(0, 2, 3)).mean().item()


@pytest.mark.parametrize(("name", "blocks"), [("dm_nfnet_f0", 12), ("dm_nfnet_f1", 24)])
def test_without_pooling_signals_propagate_as_the_paper_predicts(name: str, blocks: int) -> None:
    """Brock et al. 2021, arXiv:2101.08692, section 3: variance as expected at every depth.

    The output's is 1 + alpha^2 after a transition and alpha^2 more after every block, the branch's
    is 1, and means stay near 0; all within a quarter, since drawn weights are no ensemble. The
    strides are 1, as the networks of that plot have no pooling on their shortcuts.
    """
    found = signals(name, {f"net.stage{number}.stride": "1" for number in (2, 3, 4)}, size=64)
    assert len(found) == blocks
    for path, (variance, squared_mean, branch) in found.items():
        assert 0.75 < variance < 1.25, path
        assert 0.75 < branch < 1.25, path
        assert squared_mean < 0.02, path


@pytest.mark.parametrize("name", ["dm_nfnet_f0", "dm_nfnet_f1"])
def test_each_pooled_shortcut_thins_white_noise_by_four_and_nothing_else_does(name: str) -> None:
    """The shortcut of a strided NFNet block is pooled 2x2, the mean of four independent numbers.

    beta does not know of it (nor does it in the paper), so the variance of noise falls by 4 at each
    of the three transitions, and is else as expected, within a factor of 2 at every depth.
    """
    for path, (variance, _, _) in signals(name, {}, size=128).items():
        assert 0.5 < variance * 4.0 ** (int(path[5]) - 1) < 2.0, path


def test_beta_counts_the_blocks_before_it_and_starts_anew_where_the_shortcut_projects() -> None:
    network = dsl.load("std/dm_nfnet_f1").network()
    theirs = timm.create_model("dm_nfnet_f1", num_classes=0, **SMALL | {"depths": [2, 4, 12, 6]})
    wanted = [block.beta for stage in theirs.stages for block in stage]
    found = [
        layer.settings["value"] for path, layer in network.graph.walk() if path.endswith(".beta")
    ]
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "size", "params", "macs"),
    [
        ("dm_nfnet_f0", 256, 71.489, 12.384),
        ("dm_nfnet_f1", 320, 132.634, 35.539),
        ("dm_nfnet_f2", 352, 193.779, 62.593),
        ("dm_nfnet_f3", 416, 254.924, 114.764),
        ("dm_nfnet_f4", 512, 316.069, 215.241),
        ("dm_nfnet_f5", 544, 377.214, 289.757),
        ("dm_nfnet_f6", 576, 438.359, 377.280),
        ("dm_nfnet_f7", 608, 499.504, 478.782),
        ("dm_nfnet_f4_plus", 512, 527.033, 367.414),
        ("dm_nfnet_f3_plus", 384, 425.082, 166.969),
        ("dm_nfnet_f7_plus", 480, 832.885, 509.389),
    ],
)
def test_the_papers_sizes_come_out(name: str, size: int, params: float, macs: float) -> None:
    graph = dsl.load(f"std/{name}", sets=[("input.size", str(size))]).network().graph
    assert (round(graph.params / 1e6, 3), round(graph.macs / 1e9, 3)) == (params, macs)


def test_the_released_code_gives_the_wide_ones_narrower_groups() -> None:
    sets = [("net.stage1.hidden", "128")]  # 192 rounded down to whole groups of 128
    graph = dsl.load("std/dm_nfnet_f4_plus", sets=[*sets, ("input.size", "512")]).network().graph
    assert (round(graph.params / 1e6, 3), round(graph.macs / 1e9, 2)) == (524.954, 333.39)
