"""How far each network of a space is exported, and which values cost the native form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flopwise.cli import main
from flopwise.dsl import loads
from flopwise.export import Tier, tier
from flopwise.export.tiers import tiers
from tests.parity.exports import convnext, vit


def searched(space: str) -> Any:
    return loads(f"{convnext()}search:\n  space:\n{space}")


def test_a_space_says_which_values_cost_the_native_form() -> None:
    found = tiers(
        searched(
            "    net.one.kernel: {choice: [3, 5]}\n    w: {choice: [3, 4]}\n"
            "vars: {w: 4}\ndefaults: {convnext: {expand: $w}}\n"
        )
    )
    assert (found.written.name, found.looked, found.every) == ("native", 4, True)
    assert found.counts == {"native": 2, "standalone": 2}
    assert [cost.picks for cost in found.costs] == [{"w": 3}] and found.costs[0].always
    assert "of the 4 networks of the space, 2 native, 2 standalone" in str(found)
    assert "w=3 is standalone: one.expand 3" in str(found)


PAIR = """
    net.early.heads: {choice: [3, 4]}
    net.late.heads: {choice: [3, 4]}
    net.late.mlp: {choice: [4.0, 3.0]}
"""


def test_values_that_cost_only_beside_others_are_told_apart() -> None:
    found = tiers(loads(f"{vit()}search:\n  space:{PAIR}"))
    assert found.counts == {"native": 2, "standalone": 6}
    assert [(dict(cost.picks), cost.always) for cost in found.costs] == [
        ({"net.late.mlp": 3.0}, True),
        ({"net.late.heads": 4}, False),
        ({"net.early.heads": 4}, False),
    ]
    assert "net.late.heads=4 is standalone unless others change too: heads differs" in str(found)


MOBILE = """
spec: 1
name: mobile
input: {size: 64}
net:
  stem:  {block: conv_stem, kernel: 3, pool: none, dim: 16, act: silu}
  body:  {block: inverted, dim: 24, stride: 2, depth: 2, kernel: "$(pick(i, 3, 5))"}
  more:  {block: separable, dim: 32, stride: 2}
  right: {block: inverted, dim: 32, stride: 2}
  left:  {block: inverted, dim: 32, stride: 1}
  last:  {block: conv, kernel: 1, dim: 32, norm: bn, act: relu}
  head:  {block: classifier, hidden: 40, hidden_act: silu}
"""


def test_two_values_that_cost_only_together_are_told_as_such() -> None:
    assert tier(loads(MOBILE).network()) == Tier("carrier", (), "timm's MobileNetV5", 40)
    space = "    net.left.stride: {choice: [1, 2]}\n    net.last.stride: {choice: [1, 2]}\n"
    found = tiers(loads(f"{MOBILE}search:\n  space:\n{space}"))
    assert found.counts == {"carrier": 3, "standalone": 1}
    told = "net.last.stride=2, net.left.stride=2 together are standalone: the map shrinks to 1/64"
    assert told in str(found)


def test_what_would_make_a_better_form_is_told() -> None:
    text = MOBILE.replace("hidden_act: silu", "hidden_act: $a").replace(
        "net:", "vars: {a: relu}\nnet:"
    )
    found = tiers(loads(f"{text}search:\n  space:\n    a: {{choice: [relu, silu]}}\n"))
    assert found.written.name == "standalone"
    assert "head.hidden_act relu (timm's MobileNetV5 fixes silu)\n  a=silu is carrier" in str(found)


def test_a_large_space_is_looked_at_in_part_and_says_so() -> None:
    kernels = "{choice: [3, 5, 7, 9, 11, 13]}"
    space = "".join(
        f"    net.{name}.kernel: {kernels}\n" for name in ("one", "two", "three", "four")
    )
    found = tiers(searched(f"{space}    net.one.expand: {{choice: [3, 4]}}\n"))
    assert not found.every and 200 < found.looked < 400
    assert [dict(cost.picks) for cost in found.costs] == [{"net.one.expand": 3}]
    assert f"of {found.looked} networks of the space that were looked at" in str(found)


def test_check_prints_tiers_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(f"{vit()}search:\n  space:{PAIR}")
    (tmp_path / "b.yaml").write_text(MOBILE)
    assert main(["check", str(tmp_path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["specs"]
    assert (first["tier"], second["tier"], second["dead_params"]) == ("native", "carrier", 40)
    assert first["corners"] == {"looked": 8, "every": True, "native": 2, "standalone": 6}
    assert first["costs"][0]["picks"] == {"net.late.mlp": 3.0} and "corners" not in second
    assert main(["check", str(tmp_path)]) == 0
    assert "export: native (timm's ViT) as written; of the 8" in capsys.readouterr().out


def test_a_spec_without_a_space_has_one_tier() -> None:
    assert str(tiers(loads(convnext()))) == "export: native (timm's ConvNeXt) as written"
    text = str(tiers(loads(convnext(more=", expand: 3"))))
    assert text.startswith(
        "export: standalone (with model.py) as written\n  not native: one.expand"
    )


def test_tiers_are_told_without_torch(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(convnext() + "search:\n  space:\n    net.one.kernel: {choice: [3, 5]}\n")
    code = (
        "import sys; from flopwise.cli import main\n"
        f"assert main(['check', {str(spec)!r}]) == 0\n"
        "assert not {'torch', 'timm', 'safetensors'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "native (timm's ConvNeXt) as written, and so are all of the 2 networks" in done.stdout
