"""Other ways out: ONNX in onnxruntime, a program of torch.export, our own keys."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tomllib import loads as toml

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from flopwise import nets
from flopwise.dsl import Network, load
from flopwise.errors import RunError
from flopwise.export.proof import images_like
from flopwise.export.ways import WAYS, needed, write_ways
from tests.parity.exports import convnext, densenet, module, network, resnet, vit

OTHERS = {
    "dm_nfnet_f0": {"net.stage1.depth": "1", "input.size": "64"},
    "swin_tiny_patch4_window7_224": {"input.size": "56"},
    "t2t_vit_t_14": {"input.size": "32"},
    "vit_s16_dense": {"input.size": "32"},
    "ghostnet_100": {"input.size": "64"},
    "mobilenetv2_100": {"input.size": "64"},
    "vit_small_r26_s32_224": {"input.size": "64"},
}
TINY = {"convnext": convnext(), "resnet": resnet("basic"), "densenet": densenet(), "vit": vit()}


def holds(folder: Path, net: Network, model: torch.nn.Module) -> None:
    """Writes all forms and reads them with what their users have, in a batch nobody traced."""
    shape = net.graph.inputs[0].shape
    images: Callable[[int], Tensor] = lambda count: images_like(shape, count=count, seed=3)  # noqa: E731
    told = write_ways(list(WAYS), model.eval(), folder, images)
    batch = images(5)
    with torch.inference_mode():
        wanted = model(batch)
    near = partial(np.testing.assert_allclose, rtol=0, atol=1e-4 * wanted.abs().max().item())
    session = onnxruntime.InferenceSession(folder / "more" / "model.onnx")
    (found,) = session.run(None, {"images": batch.numpy()})
    near(found, wanted.numpy())
    near(torch.export.load(folder / "more" / "model.pt2").module()(batch).detach(), wanted)
    again = nets.build(net, seed=9).eval()
    again.load_state_dict(load_file(folder / "more" / "state_dict.safetensors"))
    with torch.inference_mode():
        assert torch.equal(again(batch), wanted)
    assert told["onnx"]["relative"] <= 1e-4 and told["program"]["relative"] <= 1e-5


def test_every_form_of_a_network_gives_its_logits(tmp_path: Path) -> None:
    holds(tmp_path, network(TINY["vit"]), module(TINY["vit"]))
    (ours,) = onnx.load(tmp_path / "more" / "model.onnx").opset_import
    assert ours.version >= 18  # what torch writes by itself


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TINY, *OTHERS])
def test_every_form_of_every_family_gives_its_logits(tmp_path: Path, name: str) -> None:
    if name in TINY:
        holds(tmp_path, network(TINY[name]), module(TINY[name]))
    else:
        net = load(f"std/{name}", sets=list(OTHERS[name].items())).network()
        holds(tmp_path, net, nets.build(net, seed=0))


def test_other_weights_are_no_other_form(tmp_path: Path) -> None:
    from flopwise.export.ways import compare

    model = module(TINY["convnext"])
    images = partial(images_like, (3, 16, 16))
    write_ways(["program"], model, tmp_path, lambda count: images(count=count))
    with pytest.raises(RunError, match=r"more/model\.pt2 gives other logits than the network"):
        compare("program", tmp_path, [(images(count=1), model(images(count=1)) * 1.01)])


def test_a_form_nobody_knows_or_without_its_packages_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunError, match=r"no form 'onxx'; did you mean 'onnx'\?"):
        needed(["onxx"])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        RunError, match=r"not installed: onnxscript; .*pip install 'flopwise\[onnx\]"
    ):
        needed(["onnx"])


def test_the_extra_of_a_form_names_its_packages() -> None:
    extras = toml(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, way in WAYS.items():
        if way.needs:
            assert {line.partition(">")[0] for line in extras[name]} >= set(way.needs)
