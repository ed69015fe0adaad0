"""`verify`: an exported folder that was spoilt, each way told by the name of its file."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import flopwise
from flopwise import nets
from flopwise.cli import main
from flopwise.dsl import consent, load, loads
from flopwise.errors import RunError
from flopwise.export import Facts, export

SPEC = """
spec: 1
name: tiny
input: {size: 8, channels: 1}
classes: 10
net:
  stem:  {block: patchify, patch: 2, dim: 8}
  stage: {block: convnext, depth: 2, kernel: 3}
  head:  {block: classifier, norm: ln}
"""
EVIL = "Path(__file__).with_name('ran').write_text('ran')\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with its own model.py and two further forms of the network."""
    folder = tmp_path_factory.mktemp("made") / "net"
    network = loads(SPEC).network()
    known = {"spec.yaml": SPEC}
    also = ["program", "state-dict"]
    proof = export(
        network, nets.build(network, seed=0), folder, facts=Facts(), texts=known, also=also
    )
    assert proof.timm and set(proof.missing) == {"1.0.17", "newest"}  # no index within tests
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "net"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-200:-190] = bytes(10)
    path.write_bytes(data)


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("a pickle ran",))


def bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def torch_bomb(path: Path) -> None:
    torch.save({"a": Bomb()}, path)


def other_network(path: Path) -> None:
    save_file({"stem.weight": torch.ones(2)}, path)


def blank(path: Path) -> None:
    state = load_file(path)
    state["head.fc.weight"][0, :3] = torch.nan
    save_file(state, path)


def without_one(path: Path) -> None:
    save_file({key: v for key, v in load_file(path).items() if key != "head.fc.bias"}, path)


def of_other_shape(path: Path) -> None:
    save_file({**load_file(path), "head.fc.bias": torch.zeros(9)}, path)


def config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        known = json.loads(path.read_text())
        change(known)
        path.write_text(json.dumps(known))

    return spoil


WEIGHTS, CONFIG = "model.safetensors", "config.json"
SPOILT: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "truncated": (WEIGHTS, cut, "model.safetensors is cut off"),
    "of no bytes": (WEIGHTS, lambda path: path.write_bytes(b""), "it is cut off (0 bytes)"),
    "without a tensor": (WEIGHTS, without_one, "model.safetensors: head.fc.bias is missing"),
    "of another shape": (WEIGHTS, of_other_shape, "head.fc.bias is (9,) and should be (10,)"),
    "cut in the header": (WEIGHTS, cut_short, "it is cut off (5 bytes)"),
    "corrupt": (WEIGHTS, corrupt, "model.safetensors is not the file that was proven"),
    "pickled": (WEIGHTS, bomb, "model.safetensors is a pickle"),
    "pickled by torch": (WEIGHTS, torch_bomb, "model.safetensors is a pickle"),
    "of another network": (WEIGHTS, other_network, "model.safetensors: stem.0.weight is missing"),
    "no numbers": (WEIGHTS, blank, "3 of 80 values of head.fc.weight are no finite numbers"),
    "gone": (WEIGHTS, Path.unlink, "model.safetensors is missing"),
    "a pickled sample": ("more/sample.safetensors", bomb, "sample.safetensors is a pickle"),
    "no card": ("README.md", Path.unlink, "README.md is missing"),
    "other code": ("model.py", cut, "model.py is not the file that was proven"),
    "another spec": ("spec.yaml", cut, "spec.yaml is not the file that was proven"),
    "another program": ("more/model.pt2", cut, "more/model.pt2 is not the file that was proven"),
    "no config": (CONFIG, lambda path: path.write_text("{"), "config.json is not valid JSON"),
    "a list for a config": (CONFIG, lambda path: path.write_text("[]"), "holds list, not a JSON"),
    "no architecture": (
        CONFIG,
        config(lambda known: known.pop("architecture")),
        "config.json: 'architecture' is missing",
    ),
    "a key timm does not know": (
        CONFIG,
        config(lambda known: known["pretrained_cfg"].update(crop_ptc=1)),
        "timm reads no 'crop_ptc' in pretrained_cfg (did you mean 'crop_pct'?)",
    ),
    "weights from elsewhere": (
        CONFIG,
        config(lambda known: known["pretrained_cfg"].update(url="https://x")),
        "timm reads no 'url'",
    ),
    "two numbers of classes": (
        CONFIG,
        config(lambda known: known["pretrained_cfg"].update(num_classes=7)),
        "pretrained_cfg.num_classes is 7 and num_classes is 10",
    ),
    "a null": (
        CONFIG,
        config(lambda known: known["model_args"].update(act_layer=None)),
        "model_args.act_layer is null",
    ),
    "no proof": ("proof.json", lambda path: path.write_text("{}"), "proof.json lists no files"),
    "never proven": (
        "proof.json",
        config(lambda known: known.update(proven=False)),
        "it was never proven",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_spoilt_is_named_and_nothing_runs(
    folder: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    name, spoil, told = SPOILT[how]
    spoil(folder / name)
    assert main(["verify", str(folder)]) == 1
    said = capsys.readouterr()
    assert told in said.err
    assert "again" in said.err  # copy it again, export it again
    assert "a pickle ran" not in said.out + said.err


def signed(folder: Path, name: str) -> None:
    """Makes proof.json agree with a file, as whoever spoilt it could."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    config(lambda known: known["files"].update({name: digest}))(folder / "proof.json")


def test_code_that_flopwise_does_not_write_runs_only_when_it_is_allowed(folder: Path) -> None:
    code = folder / "model.py"
    code.write_text(code.read_text() + EVIL)
    signed(folder, "model.py")
    with pytest.raises(RunError, match=r"model\.py is Python that would run.*--allow-code"):
        flopwise.verify(folder)
    assert not (folder / "ran").exists()
    found = flopwise.verify(folder, allow_code=True)
    assert found.ways["more/model.pt2"] <= 1e-6 and not found.skipped
    assert (folder / "ran").exists()
    assert consent.is_allowed(code.read_text())  # until it changes


def test_code_hidden_in_a_tag_is_not_what_flopwise_writes(folder: Path) -> None:
    evil = f'x": {{}}}})\n{EVIL}#'
    path = folder / "config.json"
    code = (folder / "model.py").read_text()
    config(lambda known: known["pretrained_cfg"].update(tag=evil))(path)
    (folder / "model.py").write_text(code.replace(".flopwise", f".{evil}"))
    for name in ("config.json", "model.py"):
        signed(folder, name)
    with pytest.raises(RunError, match="is Python that would run"):
        flopwise.verify(folder)
    assert not (folder / "ran").exists()


def test_a_folder_from_elsewhere_runs_what_flopwise_writes_but_no_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "_ALLOWED", set())  # a machine that never saw the folder
    found = flopwise.verify(folder)
    assert (found.tier, found.tensors, found.difference) == ("standalone", 26, 0.0)
    assert "--allow-code" in found.skipped["more/model.pt2"]


def test_images_with_classes_of_other_names_are_refused(folder: Path) -> None:
    config(lambda known: known.update(label_names=list("abcdefghij")))(folder / "config.json")
    signed(folder, "config.json")
    with pytest.raises(RunError, match=r"class 0 is 'a' in .*config\.json and '0' in the data"):
        flopwise.verify(folder, "digits")


def test_the_state_dict_fits_the_network_that_the_folders_spec_builds(folder: Path) -> None:
    network = load(folder / "spec.yaml").network()
    model = nets.build(network, seed=1).eval()
    model.load_state_dict(load_file(folder / "more" / "state_dict.safetensors"))
    sample = load_file(folder / "more" / "sample.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(model(sample["input"]), sample["logits"])


def test_a_folder_that_is_no_export_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "is no export: it has no proof.json" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "gone")]) == 1
