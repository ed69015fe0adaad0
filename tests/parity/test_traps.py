"""Every way in which timm is known to misread a folder in silence, against every form of export."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from timm.models import PretrainedCfg
from torch import Tensor, nn

from benchmarks.winners import DENSE, GHOST, HIDDEN, MOBILE, NFNET, SWIN
from flopwise.export import Facts
from flopwise.export.config import Shipped
from flopwise.export.folder import shipped_as, write_folder
from flopwise.export.proof import images_like
from tests.parity.exports import convnext, densenet, module, network, resnet, vit

FORMS = {
    "convnext": convnext(size=32),
    "resnet": resnet("residual"),
    "densenet": densenet(),
    "vit": vit(),
    "nfnet": NFNET,
    "swin": SWIN,
    "carrier": MOBILE,
    "carrier, hidden layer": HIDDEN,
    "standalone map": GHOST.replace("name: net", "name: trap_map"),
    "standalone tokens": DENSE.replace("name: net", "name: trap_tokens"),
}


@dataclass
class Made:
    """One folder, our module, and what timm makes of the folder."""

    folder: Path
    shipped: Shipped
    ours: Any

    @cached_property
    def config(self) -> Any:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def cfg(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["pretrained_cfg"]
        return found

    @cached_property
    def theirs(self) -> Any:
        return self.timm()

    @cached_property
    def images(self) -> Tensor:
        return images_like(tuple(self.cfg["input_size"]), count=2)

    @cached_property
    def name(self) -> str:
        if (self.folder / "model.py").exists():
            sys.modules.pop("model", None)
            sys.path.insert(0, str(self.folder))
            importlib.import_module("model")
            sys.path.pop(0)
        return f"local-dir:{self.folder}"

    def timm(self, **options: Any) -> Any:
        return timm.create_model(self.name, pretrained=True, **options).eval()


def values_of(tree: Any) -> Iterator[Any]:
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    yield from (value for branch in branches for value in values_of(branch))
    yield tree


def three_counts_of_classes(made: Made) -> bool:
    counts = {made.config["num_classes"], made.cfg["num_classes"]}
    if made.shipped.tier != "standalone":  # there the class itself has it
        counts.add(made.config["model_args"]["num_classes"])
    return counts == {7} and made.theirs.num_classes == 7


def no_null(made: Made) -> bool:
    return all(value is not None for value in values_of(made.config))


def known_keys(made: Made) -> bool:
    return PretrainedCfg(**made.cfg).num_classes == 7


def own_tag_and_licence(made: Made) -> bool:
    told = (made.theirs.pretrained_cfg["tag"], made.theirs.pretrained_cfg["license"])
    return told == ("mine", "cc0-1.0")


def safetensors_only(made: Made) -> bool:
    """timm would take a pickle, and 1.0.17 stumbles over a second file of weights."""
    suffixes = {".safetensors", ".bin", ".pth", ".pt", ".tar"}
    weights = [path.name for path in made.folder.iterdir() if path.suffix in suffixes]
    with safe_open(made.folder / "model.safetensors", "pt") as file:
        return weights == ["model.safetensors"] and len(file.keys()) > 0


def buffers_come_along(made: Made) -> bool:
    """Means, variances and counts of batch norms; in tests all differ from fresh ones."""
    theirs, ours = made.theirs.state_dict(), made.ours.state_dict()
    pairs = ((theirs[made.shipped.keys[key]], value) for key, value in ours.items())
    return all(torch.equal(found, value) for found, value in pairs)


def eps_of_norms(made: Made) -> bool:
    """Two versions of timm may differ in an eps that no key of the weights tells."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    norms = {name: each for name, each in made.ours.named_modules() if isinstance(each, kinds)}
    keys = made.shipped.keys
    pairs = {n: made.theirs.get_submodule(keys[f"{n}.weight"][: -len(".weight")]) for n in norms}
    return all(pairs[name].eps == norm.eps for name, norm in norms.items())


def another_head(made: Made) -> bool:
    if "classifier" not in made.cfg:
        return True
    other = made.timm(num_classes=3)
    same = torch.allclose(
        other.forward_features(made.images), made.theirs.forward_features(made.images), atol=1e-4
    )
    return same and other(made.images).shape == (2, 3)


def grey_images(made: Made) -> bool:
    """timm sums the filters over the colours, but for filters that are standardised."""
    if "first_conv" not in made.cfg:
        return made.shipped.first_conv is None
    grey = made.images[:, :1]
    found, wanted = made.timm(in_chans=1)(grey), made.theirs(grey.expand(-1, 3, -1, -1))
    standard = hasattr(made.theirs.get_submodule(made.cfg["first_conv"]), "gain")
    return standard or torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)


def another_image_size(made: Made) -> bool:
    """A network of one size says so; any other gives what ours gives."""
    size = 2 * made.images.shape[-1]
    larger = images_like((3, size, size), count=1)
    if made.cfg["fixed_input_size"]:
        tokens = "img_size" in made.config["model_args"]
        return not tokens or made.timm(img_size=size)(larger).shape == (1, 7)
    return torch.allclose(made.theirs(larger), made.ours(larger), rtol=1e-3, atol=1e-4)


def modules_are_real(made: Made) -> bool:
    named = [made.cfg[key] for key in ("first_conv", "classifier") if key in made.cfg]
    return all(made.theirs.get_submodule(name).weight.ndim > 1 for name in named)


def unknown_words_are_refused(made: Made) -> bool:
    with pytest.raises(TypeError):
        made.timm(colour="red")
    return True


TRAPS: dict[str, Callable[[Made], bool]] = {
    each.__name__: each
    for each in (
        three_counts_of_classes,
        no_null,
        known_keys,
        own_tag_and_licence,
        safetensors_only,
        buffers_come_along,
        eps_of_norms,
        another_head,
        grey_images,
        another_image_size,
        modules_are_real,
        unknown_words_are_refused,
    )
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    room, found = tmp_path_factory.mktemp("traps"), {}
    for name, text in FORMS.items():
        shipped, model = shipped_as(network(text)), module(text)
        folder = room / name.replace(" ", "_").replace(",", "")
        state, facts = model.state_dict(), Facts(class_names=tuple("abcdefg"))
        known = {"trial": None, "picks": {"a": None}}
        write_folder(network(text), shipped, state, folder, facts, known, "cc0-1.0", "mine")
        found[name] = Made(folder=folder, shipped=shipped, ours=model)
    return found


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_no_form_falls_into_a_trap(folders: dict[str, Made], name: str, trap: str) -> None:
    assert TRAPS[trap](folders[name])


def test_timm_counts_what_the_carrier_is_told_to_cost(folders: dict[str, Made]) -> None:
    made = folders["carrier"]
    told = made.config["shipped"]
    learned = sum(each.numel() for each in made.theirs.parameters())
    assert learned == told["params"] == made.config["params"] + told["dead_params"]
    assert told["dead_params"] == 64 * 64 + 2 * 64 and told["dead_macs"] == 64 * 64
    assert told["layers"] == ["conv_head", "norm_head"]
    card = (made.folder / "README.md").read_text()
    assert "4,224 of its" in card and "timm.utils.freeze(net, ['conv_head', 'norm_head'])" in card
    assert folders["carrier, hidden layer"].config["shipped"]["layers"] == ["norm_head"]
