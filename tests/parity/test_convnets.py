"""Every shipped convolutional network is timm's: outputs, statistics and gradients agree.

Networks above 100 M parameters are compared with two blocks in every stage and their full widths;
`test_counts` compares them at full size on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from flopwise import dsl, nets
from flopwise.export import from_timm
from tests.parity.references import image, redrawn, relative

SHALLOW = {"net.stage1.depth": "2", "net.stage2.depth": "2", "d3": "2", "net.stage4.depth": "2"}
CUT = ["convnext_large", "convnext_xlarge", "convnextv2_large", "convnextv2_huge"]
"""Above 100 M parameters: compared with two blocks in every stage."""
NAMES = [
    *("resnext50_32x4d", "densenet121", "mobilenetv1_100", "mobilenetv2_100", "ghostnet_100"),
    *("convnext_atto", "convnextv2_atto", "convnextv2_tiny"),
]
OTHERS = [
    *("resnet18", "resnet34", "resnet101", "resnet152", "resnet200", "wide_resnet50_2"),
    *("densenet161", "densenet169", "densenet201", "mobilenetv1_125", "mobilenetv2_140"),
    *("ghostnet_050", "ghostnet_130", "convnext_femto", "convnext_pico", "convnext_nano"),
    *("convnext_small", "convnext_base", "convnextv2_femto", "convnextv2_pico"),
    *("convnextv2_nano", "convnextv2_small", "convnextv2_base", *CUT),
    *("mobilenetv2_035", "mobilenetv2_050", "mobilenetv2_075", "mobilenetv2_110d"),
    *("mobilenetv2_120d", "resnet26", "seresnet18", "seresnet34", "seresnet101", "seresnet152"),
    *("resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d", "seresnext50_32x4d"),
    *("seresnext101_32x4d", "seresnext101_32x8d", "seresnext101_64x4d", "wide_resnet101_2"),
    *("resnetv2_50", "resnetv2_50d", "resnetv2_50x1_bit"),
]
VARIANTS = [  # a setting of ours, and timm's arguments for it
    ("resnet50", {"defaults.residual.eca": "true"}, {"block_args": {"attn_layer": "eca"}}),
    ("resnet18", {"defaults.basic.se": "0.0625"}, {"block_args": {"attn_layer": "se"}}),
    ("resnet18", {"defaults.basic.eca": "true"}, {"block_args": {"attn_layer": "eca"}}),
    ("resnet50", {"mid": "3"}, {"base_width": 192}),
    ("convnextv2_tiny", {"defaults.convnext.layer_scale": "0.5"}, {"ls_init_value": 0.5}),
]
COMPOSED = ["mobilenetv3_large_100", "regnety_160"]
"""Put together in their specs from smaller blocks, so that no table knows timm's names for them."""
SIZE = 96
State = Mapping[str, Tensor]


def both(
    name: str, sets: dict[str, str] | None = None, options: dict[str, Any] | None = None
) -> tuple[Callable[[State], State], nn.Module, nn.Module]:
    """Returns how timm's tensors are read, our module and timm's, with the same weights."""
    sets, options = dict(sets or {}), dict(options or {})
    if name in CUT:
        sets, options = sets | SHALLOW, options | {"depths": [2, 2, 2, 2]}
    gain = 0.2 if name == "resnet200" else 0.5
    theirs = redrawn(name, gain=gain, drop_rate=0.0, **options)
    network = dsl.load(f"std/{name}", sets=list(sets.items())).network()
    ours = nets.build(network)
    read = partial(from_timm, network)
    if name in COMPOSED:  # the layers come in timm's order, under the spec's own names
        read = partial(in_order, list(ours.state_dict()))
    ours.load_state_dict(read(theirs.state_dict()), strict=True)
    return read, ours.eval(), theirs


def in_order(keys: list[str], state: State) -> State:
    """Gives timm's tensors our keys, one after the other."""
    return dict(zip(keys, state.values(), strict=True))


def compare(read: Callable[[State], State], ours: nn.Module, theirs: nn.Module) -> None:
    """Evaluation, then one step of training: outputs, running statistics, every gradient."""
    x = image(SIZE)
    with torch.no_grad():
        assert relative(ours(x), theirs(x)) <= 1e-5
    got, wanted = ours.train()(x), theirs.train()(x)
    assert relative(got, wanted) <= 1e-5
    got.square().sum().backward()
    wanted.square().sum().backward()
    state = read(theirs.state_dict())
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=1e-5, atol=1e-5)
    grads = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    gradients = read({**theirs.state_dict(), **grads})
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert relative(parameter.grad, gradients[key]) <= 1e-4, key


@pytest.mark.parametrize("name", NAMES)
def test_outputs_statistics_and_gradients_agree(name: str) -> None:
    compare(*both(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OTHERS, *COMPOSED])
def test_the_other_networks_agree_too(name: str) -> None:
    compare(*both(name))


@pytest.mark.parametrize(("name", "sets", "options"), VARIANTS)
def test_settings_are_those_of_timm(
    name: str, sets: dict[str, str], options: dict[str, Any]
) -> None:
    compare(*both(name, sets, options))


@pytest.mark.parametrize("name", [*NAMES, *OTHERS, *COMPOSED])
def test_names_mean_the_input_size_that_they_mean_in_timm(name: str) -> None:
    wanted = timm.get_pretrained_cfg(name).input_size
    assert dsl.load(f"std/{name}").network().graph.inputs[0].shape == wanted


def rates_of(model: nn.Module) -> list[float]:
    """The drop path rate of every block that has a shortcut, in order."""
    blocks = [
        m for m in model.modules() if hasattr(m, "drop_path") and getattr(m, "has_skip", True)
    ]
    return [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2", "resnetv2_50", *NAMES])
def test_stochastic_depth_sits_where_timm_has_it_at_its_rates(name: str) -> None:
    options = {} if name.startswith(("densenet", "ghostnet")) else {"drop_path_rate": 0.3}
    with torch.device("meta"):
        theirs = timm.create_model(name, **options)
    ours = nets.build(dsl.load(f"std/{name}").network(), device="meta", drop_path_rate=0.3)
    assert rates_of(ours) == pytest.approx(rates_of(theirs))
    assert max(rates_of(ours), default=0.0) <= 0.3


@pytest.mark.parametrize("name", ["resnet18", "seresnet50", "resnetv2_50x1_bit", *NAMES])
def test_fresh_weights_are_distributed_as_in_timm(name: str) -> None:
    network = dsl.load(f"std/{name}").network()
    ours = nets.build(network, seed=0).state_dict()
    torch.manual_seed(0)
    theirs = from_timm(network, timm.create_model(name).state_dict())
    for key, value in ours.items():
        wanted = theirs[key]
        constant = bool(wanted.min() == wanted.max())
        assert constant == bool(value.min() == value.max()), key
        if constant:
            torch.testing.assert_close(value, wanted)
        else:
            spread, error = wanted.std().item(), value.numel() ** -0.5
            assert abs(value.mean() - wanted.mean()).item() <= 8 * spread * error, key
            assert value.std().item() == pytest.approx(spread, rel=max(0.03, 10 * error)), key
            middle = wanted.abs().median().item()  # tells a uniform from a normal distribution
            assert value.abs().median().item() == pytest.approx(middle, rel=10 * error), key
