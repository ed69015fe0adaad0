"""Convolutional networks against the figures of their papers, at the precision they are printed."""

from __future__ import annotations

import pytest

from flopwise import dsl
from flopwise.cost import cost
from tests.golden.test_counts import printed

# Spec -> parameters in millions and multiply-adds in billions, of convolutions and linear layers.
PRINTED = {
    # ConvNeXt, Liu et al. 2022, arXiv:2201.03545, tables 1, 2 and 12, at 224 pixels
    "convnext_tiny": ("29", "4.5"),
    "convnext_small": ("50", "8.7"),
    "convnext_base": ("89", "15.4"),
    "convnext_large": ("198", "34.4"),
    "convnext_xlarge": ("350", "60.9"),
    "convnext_isotropic_small": ("22", "4.3"),
    "convnext_isotropic_base": ("87", "16.9"),
    "convnext_isotropic_large": ("306", "59.7"),
    # the baselines of the papers, as ConvNeXt and NFNet print them
    "resnet50": ("26", "4.09"),
    "resnet200": ("65", "15.01"),
    "seresnet50": ("28", "4.09"),
    # T2T-ViT, Yuan et al. 2021, arXiv:2101.11986, tables 4 and 6
    "mobilenetv1_100": ("4.2", "0.6"),
    "mobilenetv2_100": ("3.5", "0.3"),
    "mobilenetv2_140": ("6.1", "0.6"),  # printed 6.9, the figure of the MobileNetV2 paper
    "resnext50_32x4d": ("25.0", "4.2"),  # printed 4.3, which counts batch norms: see below
    "densenet201": ("20.0", "4.3"),  # printed 20.1 and 4.4, with batch norms
    "resnet50_ghost": ("19.9", "3.2"),
    "wide_resnet18_1p5": ("25.9", "4.0"),  # printed 26.0 and 4.1
    "ghostnet_100": ("5.2", "0.14"),  # GhostNet, Han et al. 2020, arXiv:1911.11907, table 7
}
# The same networks counted with 4 per element of batch norm, as the thop tool does.
WITH_NORMS = {
    "resnext50_32x4d": "4.3",
    "densenet201": "4.4",
    "resnet101": "7.9",
    "resnet152": "11.6",
}
AT_384 = {"convnext_tiny": "13.1", "convnext_small": "25.5", "convnext_base": "45.1"} | {
    "convnext_large": "101.0",
    "convnext_xlarge": "179.0",
}


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_and_multiply_adds_are_those_of_the_paper(name: str) -> None:
    params, macs = PRINTED[name]
    counted = cost(dsl.load(f"std/{name}").network().graph, convention="conv_linear")
    assert printed(counted.params, 1e6, params), counted.params
    assert printed(counted.macs, 1e9, macs), counted.macs


@pytest.mark.parametrize("name", AT_384)
def test_multiply_adds_at_384_pixels_are_those_of_the_paper(name: str) -> None:
    network = dsl.load(f"std/{name}", sets=[("input.size", "384")]).network()
    assert printed(cost(network.graph, convention="conv_linear").macs, 1e9, AT_384[name])


@pytest.mark.parametrize("name", WITH_NORMS)
def test_baselines_that_count_norms_come_out_too(name: str) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    norms = cost(graph, convention="fvcore").macs - cost(graph, convention="conv_linear").macs
    assert printed(graph.macs + 2 * norms, 1e9, WITH_NORMS[name])
