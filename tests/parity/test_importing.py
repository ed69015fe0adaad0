"""Published models become specs: the same outputs by timm's own judgement, and back to timm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import flopwise
from flopwise import nets
from flopwise.cli import main
from flopwise.dsl.format import format_text
from flopwise.errors import RunError
from flopwise.export import Imported, NotExpressibleError, from_timm, import_timm, recognise
from flopwise.export.config import make_config
from tests.parity.references import image, redrawn, relative

TOLERANCE = 1e-5
SMALL = [
    "resnet10t",  # deep stem, pooled shortcuts
    "test_resnet",
    "test_convnext2",
    "test_vit",
    "test_vit2",  # a register, a mean of patches, layer scale
    "test_nfnet",
    "mobilenetv2_035",
    "mnasnet_small",
    "ghostnet_050",
    "densenet121",
    "regnety_002",
    "resnetv2_18d",
    "swin_tiny_patch4_window7_224",
    "test_coatnet",
]
LARGE = [
    *("resnet50", "resnet50s", "resnet101d", "resnet50_gn", "resnetaa50", "resnetrs50"),
    *("ecaresnet26t", "seresnext26t_32x4d", "wide_resnet50_2", "resnext50d_32x4d"),
    *("convnext_tiny", "convnext_nano", "convnextv2_atto", "test_convnext", "test_convnext3"),
    *("vit_tiny_patch16_224", "deit3_small_patch16_224", "vit_base_patch16_clip_quickgelu_224"),
    *("vit_base_patch16_siglip_224", "vit_little_patch16_reg4_gap_256", "test_vit4"),
    *("vit_small_patch14_reg4_dinov2", "swin_small_patch4_window7_224", "densenet169"),
    *("dm_nfnet_f0", "nfnet_l0", "eca_nfnet_l0", "nf_regnet_b0", "nf_resnet26", "nf_seresnet26"),
    *("nf_ecaresnet26", "mobilenetv1_100", "mobilenetv2_140", "ghostnet_130"),
    *("efficientnet_b0", "efficientnet_lite0", "mnasnet_100"),
    *("regnetx_002", "regnety_032", "regnety_080_tv"),
    *("resnetv2_50", "resnetv2_50t", "resnetv2_50d_gn", "resnetv2_50x1_bit"),
    *("coatnet_pico_rw_224", "coatnet_nano_rw_224", "coatnet_1_rw_224"),
]
NATIVE = [
    *("resnet10t", "test_convnext2", "test_vit", "test_vit2", "test_nfnet"),
    *("resnet50s", "resnetaa50", "resnet50_gn", "convnextv2_atto", "eca_nfnet_l0", "nf_resnet26"),
    *(
        "vit_base_patch16_clip_224",
        "vit_base_patch16_siglip_224",
        "vit_so150m_patch16_reg4_gap_256",
    ),
    *("regnetx_080", "regnety_080_tv", "resnetv2_34d", "resnetv2_50d_gn", "resnetv2_152x2_bit"),
    *("test_coatnet", "coatnet_0_rw_224", "coatnet_3_rw_224"),
    *("swin_tiny_patch4_window7_224", "densenet121", "deit3_small_patch16_224", "test_vit4"),
]


def differs(name: str, kind: torch.dtype = torch.float32) -> float:
    """Our module beside timm's, with weights and an image that the importer never saw."""
    imported = import_timm(name, prove=False)
    theirs = redrawn(name, num_classes=imported.network.classes)
    ours = nets.build(imported.network).eval()
    ours.load_state_dict(from_timm(imported.network, theirs.state_dict()))
    x = image(imported.network.input.size[0], batch=1)
    with torch.no_grad():
        return relative(ours.to(kind)(x.to(kind)), theirs.to(kind)(x.to(kind)))


def shipped(imported: Imported, folder: Path) -> Path:
    """A folder with the config.json that an export of the network would have."""
    folder.mkdir()
    native = recognise(imported.network)
    config = make_config(imported.network, native, imported.facts, {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", SMALL)
def test_a_published_model_has_the_outputs_of_its_spec(name: str) -> None:
    assert differs(name) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_other_published_models_have_the_outputs_of_their_specs(name: str) -> None:
    near = differs(name) <= TOLERANCE  # else redrawn weights that magnify rounding, told by doubles
    assert near or differs(name, torch.float64) <= 1e-10


@pytest.mark.parametrize("name", NATIVE)
def test_back_to_timm_and_in_again_is_the_same_network(name: str, tmp_path: Path) -> None:
    first = import_timm(name, prove=False)
    again = import_timm(str(shipped(first, tmp_path / "net")), prove=False)
    assert again.network.hash == first.network.hash


@pytest.mark.parametrize("name", SMALL)
def test_a_written_spec_is_checked_laid_out_and_short(name: str) -> None:
    text = import_timm(name, prove=False).text
    assert format_text(text, name) == text
    design = flopwise.loads(text)
    assert not design.spec.warnings
    params = sum(each.numel() for each in timm.create_model(name, num_classes=1000).parameters())
    assert design.cost().params == params
    assert len(text.splitlines()) <= 35


@pytest.mark.parametrize(
    ("name", "gate"), [("vit_giant_patch14_dinov2", "packed"), ("aimv2_large_patch14_224", "split")]
)
def test_both_forms_of_swiglu_have_the_outputs_of_timm(
    name: str, gate: str, tmp_path: Path
) -> None:
    small = {"embed_dim": 64, "depth": 2, "num_heads": 4, "img_size": 56, "mlp_ratio": 3}
    images = {"input_size": [3, 56, 56], "num_classes": 7, "classifier": "head"}
    config = {"architecture": name, "num_classes": 7, "model_args": {"num_classes": 7, **small}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": images}))
    imported = import_timm(str(tmp_path), prove=True)
    assert imported.difference is not None and imported.difference <= TOLERANCE
    assert f"gate: {gate}" in imported.text


def test_weights_come_along_and_start_a_training(tmp_path: Path) -> None:
    theirs = redrawn("test_resnet")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    spec = tmp_path / "net.yaml"
    given = ["--weights", str(tmp_path / "model.safetensors")]
    assert main(["import", "timm:test_resnet", "-o", str(spec), *given]) == 0
    design = flopwise.load(spec)
    ours = design.build().eval()
    ours.load_state_dict(load_file(tmp_path / "net.safetensors"))
    x = image(160)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
    assert main(["import", "timm:test_resnet", "-o", str(spec)]) == 2  # the file exists


def test_another_count_of_classes_leaves_the_classifier_new(tmp_path: Path) -> None:
    torch.save(redrawn("test_resnet").state_dict(), tmp_path / "model.pth")
    found = import_timm("test_resnet", weights=tmp_path / "model.pth", classes=7)
    assert found.network.classes == 7
    assert found.weights is not None
    assert found.weights["head.fc.weight"].shape[0] == 7
    assert "classifier is new" in found.notes[0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnetblur50", "BlurPool2d, which flopwise has not"),
        ("senet154", "conv1 128 and conv2 256 wide"),
        ("convnext_atto_ols", "overlap"),
        ("vit_small_patch16_18x2_224", "ParallelThingsBlock, which flopwise has not"),
        ("ghostnetv2_100", "GhostModuleV2, which flopwise has not"),
        ("tf_efficientnet_b0", "Conv2dSame, which flopwise has not"),
        ("vgg11", "it is a VGG"),
    ],
)
def test_a_setting_that_the_vocabulary_lacks_is_named(name: str, told: str) -> None:
    with pytest.raises(NotExpressibleError) as caught:
        import_timm(name)
    assert any(told in reason for reason in caught.value.reasons)


def test_an_attribute_that_no_table_knows_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    make = timm.create_model

    def odd(*args: object, **kwargs: object) -> torch.nn.Module:
        model = make(*args, **kwargs)  # type: ignore[arg-type]
        model.layer2[0].twist = 3
        return model

    monkeypatch.setattr(timm, "create_model", odd)
    with pytest.raises(NotExpressibleError, match=r"layer2\.#\.twist 3: unknown to this reader"):
        import_timm("test_resnet")


@pytest.mark.parametrize("name", ["timm:resnet5", "local-dir:nowhere"])
def test_what_does_not_exist_is_told(name: str) -> None:
    with pytest.raises(RunError, match=r"no model 'resnet5'.*timm:resnet|no exported folder"):
        import_timm(name)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_file(redrawn("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="do not fit"):
        import_timm("test_convnext", weights=tmp_path / "other.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(RunError, match="holds no weights"):
        import_timm("test_resnet", weights=tmp_path / "broken.pth")
