"""docs/shipping.md: its calls exist as they are written, and timm's own upload keeps the origin."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import HfApi

from flopwise.cli import make_parser
from flopwise.export import Facts, recognise
from flopwise.export.folder import write_folder
from flopwise.export.proof import images_like
from tests.parity.exports import convnext, module, network

PAGE = (Path(__file__).parents[2] / "docs" / "shipping.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_of_the_page_parse() -> None:
    lines = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    assert len(lines) == 11
    for line in lines:
        make_parser().parse_args(line.partition("#")[0].split()[1:])


@pytest.mark.parametrize("name", ["create_repo", "upload_folder"])
def test_the_hub_takes_the_arguments_of_the_page(name: str) -> None:
    calls = [node for node in ast.walk(ast.parse(PYTHON[0])) if isinstance(node, ast.Call)]
    (call,) = [each for each in calls if ast.unparse(each.func) == f"api.{name}"]
    words = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    inspect.signature(getattr(HfApi, name)).bind(None, **words)


def test_what_timm_would_upload_is_the_network_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = convnext(size=8, channels=1)
    net, model = network(text), module(text)
    folder = tmp_path / "digits-net"
    write_folder(net, recognise(net), model.state_dict(), folder, Facts(), {"study": "s"})
    made = tmp_path / "made"

    def upload(self: HfApi, *, repo_id: str, folder_path: str, **more: object) -> None:
        Path(folder_path).rename(made)
        Path(folder_path).mkdir()

    class Url:
        repo_id = "USER/NAME"

    monkeypatch.setattr(HfApi, "create_repo", lambda *args, **more: Url)
    monkeypatch.setattr(HfApi, "file_exists", lambda *args, **more: True)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    monkeypatch.chdir(tmp_path)
    exec(PYTHON[1], {})
    assert sorted(path.name for path in made.iterdir()) == ["config.json", "model.safetensors"]
    known = json.loads((made / "config.json").read_text())
    assert (known["hash"], known["study"]) == (net.hash, "s")
    assert known["pretrained_cfg"]["tag"] == "flopwise"
    images = images_like(net.graph.inputs[0].shape)
    again = timm.create_model(f"local-dir:{made}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(images), model(images))
