"""Exported folders in a process that knows only timm: our logits, our accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flopwise import nets
from flopwise.dsl import Network, Recipe
from flopwise.errors import RunError
from flopwise.export import Case, Facts, Proof, export, from_timm, recognise, verify_all
from flopwise.export.card import make_card
from flopwise.export.config import make_config
from flopwise.export.folder import write_folder
from flopwise.export.proof import images_like
from flopwise.export.versions import supported
from flopwise.train import Data, evaluate, open_data
from flopwise.train.split import Split
from flopwise.train.view import normalised
from tests.parity.exports import (
    NATIVE,
    SLOW,
    coatnet,
    convnext,
    densenet,
    module,
    network,
    vit,
)

FACTS = Facts(class_names=("a", "b", "c", "d", "e", "f", "g"))


def case_of(text: str, folder: Path) -> Case:
    """Writes a folder without proving it."""
    net, model = network(text), module(text)
    write_folder(net, recognise(net), model.state_dict(), folder, FACTS, {"seeds": [1, None]})
    images = images_like(net.graph.inputs[0].shape, count=70, seed=1)
    return Case(folder=folder, model=model, images=images, labels=torch.arange(70) % 7)


def cases_of(texts: Mapping[str, str], room: Path) -> list[Case]:
    return [case_of(text, room / name.replace(" ", "_")) for name, text in texts.items()]


def set_arg(folder: Path, name: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"][name] = value
    (folder / "config.json").write_text(json.dumps(config))


def shuffled(folder: Path) -> None:
    """Flips one tensor; keys and shapes stay as they are."""
    state = load_file(folder / "model.safetensors")
    state["blocks.1.attn.qkv.weight"] = state["blocks.1.attn.qkv.weight"].flip(0)
    save_file(state, folder / "model.safetensors")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def blank(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(
        {key: value * torch.nan for key, value in state.items()}, folder / "model.safetensors"
    )


def pickled(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": state, "more": Path("x")}, folder / "pytorch_model.bin")


MUTANTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "another activation": (vit(), lambda f: set_arg(f, "act_layer", "gelu_tanh")),
    "other heads": (vit(), lambda f: set_arg(f, "num_heads", 4)),
    "mean instead of token": (
        vit(head="pool: cls, norm: none"),
        lambda f: set_arg(f, "global_pool", "avg"),
    ),
    "q and k swapped": (vit(), shuffled),
    "another eps": (convnext(), lambda f: set_arg(f, "norm_eps", 1e-5)),
    "no numbers": (convnext(), blank),
    "a cut file": (convnext(), cut),
    "a pickled object": (convnext(), pickled),
    "a key timm does not know": (convnext(), lambda f: set_arg(f, "colour", "red")),
}


FEWER = {"three stages of dense": densenet(depths=(2, 1, 2)), "two of CoAtNet": coatnet(kinds="CT")}


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Proof]:
    """All folders and mutants in one process, for importing timm takes seconds."""
    room = tmp_path_factory.mktemp("exports")
    cases = cases_of(NATIVE, room)
    for name, (text, spoil) in MUTANTS.items():
        case = case_of(text, room / name.replace(" ", "_"))
        spoil(case.folder)
        cases.append(case)
    cases += cases_of(FEWER, room)
    names = [*NATIVE, *MUTANTS, *FEWER]
    return dict(zip(names, verify_all(cases), strict=True))


@pytest.mark.parametrize("name", NATIVE)
def test_stock_timm_gives_our_logits_and_honours_overrides(
    proofs: dict[str, Proof], name: str
) -> None:
    proof = proofs[name]
    assert proof.failures == ()
    assert proof.relative <= 1e-6  # 0.0 where both processes use the same kernels
    assert (proof.images, proof.correct) == (70, proof.ours)


@pytest.mark.parametrize("name", NATIVE)
def test_features_come_from_every_form_with_four_stages_or_more(
    proofs: dict[str, Proof], name: str
) -> None:
    channels = proofs[name].features["channels"]
    assert "out_indices" not in proofs[name].features
    assert channels[-1] == recognise(network(NATIVE[name])).features


@pytest.mark.parametrize("name", FEWER)
def test_levels_that_must_be_asked_for_are_told_by_the_card(
    proofs: dict[str, Proof], name: str
) -> None:
    proof = proofs[name]
    asked = tuple(range(len(proof.features["channels"])))
    assert proof.failures == () and tuple(proof.features["out_indices"]) == asked
    config = make_config(network(FEWER[name]), recognise(network(FEWER[name])), FACTS, {})
    card = make_card(config, "net", proof=str(proof), features=proof.features)
    assert f"`features_only=True, out_indices={asked}` gives maps of" in card


@pytest.mark.parametrize("name", MUTANTS)
def test_a_folder_that_says_something_else_is_not_proven(
    proofs: dict[str, Proof], name: str
) -> None:
    assert not proofs[name].proven


@pytest.mark.slow
def test_every_native_form_is_identical_in_the_installed_timm(tmp_path: Path) -> None:
    names, proved = list(SLOW), verify_all(cases_of(SLOW, tmp_path))
    assert {n: p.failures for n, p in zip(names, proved, strict=True) if p.failures} == {}


@pytest.mark.slow
def test_every_native_form_is_identical_in_the_oldest_supported_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    every = NATIVE | SLOW
    proved = verify_all(cases_of(every, tmp_path / "exports"), timm=supported().places["1.0.17"])
    assert {proof.timm for proof in proved} == {("1.0.17",)}
    assert {n: p.failures for n, p in zip(every, proved, strict=True) if p.failures} == {}


@pytest.mark.parametrize("name", NATIVE)
def test_weights_go_to_timm_and_come_back(name: str) -> None:
    net, state = network(NATIVE[name]), module(NATIVE[name]).state_dict()
    keys = recognise(net).keys
    back = from_timm(net, {keys[key]: value for key, value in state.items()})
    assert list(back) == list(state)
    assert all(torch.equal(back[key], value) for key, value in state.items())


def trained(net: Network, data: Data) -> nn.Module:
    """Returns a module that has learnt something in three short epochs."""
    model = nets.build(net, seed=0)
    images, labels = inputs_of(data.train, data), data.train.labels
    steps = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for batch in torch.arange(len(labels)).split(64) * 3:
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        steps.zero_grad()
        loss.backward()
        steps.step()
    return model


def inputs_of(split: Split, data: Data) -> Tensor:
    assert split.sized is not None
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (data.facts.mean, data.facts.std))
    return normalised(split.sized, mean, std)


def test_a_network_trained_on_digits_is_exported_with_its_accuracy(tmp_path: Path) -> None:
    text = convnext(size=8, channels=1, kernels=(3, 3, 3, 3)).replace("classes: 7", "classes: 10")
    net, folder = network(text), tmp_path / "digits"
    data = open_data(Recipe(), size=(8, 8))
    model, test = trained(net, data), data.test()
    facts = Facts.of({**data.facts.as_dict(), "class_names": list(data.facts.classes)})
    judged = {
        "images": inputs_of(test, data),
        "labels": test.labels,
        "pictures": [test.picture(index) for index in range(len(test))],
    }
    folder.mkdir()
    (folder / "proof.json").write_text("{}")  # an earlier export, with notes
    (folder / "notes.txt").write_text("mine")
    known = {"spec": "spec: 1\nname: net\n", "picks": {"w": 8}, "trial": None}
    proof = export(net, model, folder, facts=facts, provenance=known, **judged)
    assert proof.proven and proof.relative <= 1e-6
    assert proof.correct == proof.ours == round(evaluate(model, data, "test").top1 * 3.6)
    assert proof.images == 360 and proof.correct > 90
    files = ["README.md", "config.json", "model.safetensors", "more", "notes.txt", "proof.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == list("0123456789") and config["picks"] == {"w": 8}
    assert config["macs"] == net.graph.macs and "trial" not in config
    with pytest.raises(RunError, match="not proven and stays in"):
        export(net, model, folder, facts=replace(facts, mean=(0.6,)), **judged)
    assert json.loads((folder / "proof.json").read_text())["proven"] is True
    told = json.loads((tmp_path / "digits.unproven" / "proof.json").read_text())
    assert told["proven"] is False and told["failures"]


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path: Path) -> None:
    other = module(vit(more=", layer_scale: 0.1")).state_dict()
    with pytest.raises(RunError, match=r"early\.0\.ls1\.gamma has no place"):
        export(network(vit()), other, tmp_path / "net", facts=FACTS)
    with pytest.raises(RunError, match=r"patch_embed\.proj\.weight is missing"):
        from_timm(network(vit()), {})


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="no export of ours"):
        export(network(vit()), module(vit()), tmp_path, facts=FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
