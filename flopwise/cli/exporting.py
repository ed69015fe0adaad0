"""The verb that ships a network: export."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopwise.cli.options import add_set, open_spec

if TYPE_CHECKING:  # types only: the rooms import torch
    from flopwise.design import Design

__all__ = ["export_options", "export_verb", "write_export"]


def export_verb(args: argparse.Namespace) -> None:
    """Writes a trained network as a folder that timm loads, with proof.

    Stock timm builds a network of one of its families from config.json alone. Any
    other brings one file of Python, model.py, which needs torch and timm only. The
    proof runs in processes that import only these, with the lowest and the newest
    timm: same logits, same accuracy.

    With --weights a spec is shipped with weights from elsewhere, under its names or
    timm's. How their images were normalised must be known: from the folder they lie
    in, from a model of timm (--like), from the images (--data), or as it is written
    (--mean, --std).

    Examples:
      flopwise export runs/quickstart --out digits-net
      flopwise export runs/quickstart --trial 12 --out other-net
      flopwise export runs/quickstart --out digits-net --also onnx,program
      flopwise export net.yaml --weights model_best.pth.tar --like timm:resnet50 --out net
    """
    source: Path | Design = Path(args.source)
    if args.weights is not None:
        source = open_spec(argparse.Namespace(**vars(args), spec=args.source))
    write_export(
        source,
        args.out,
        weights=args.weights,
        images=_images(args),
        like=args.like,
        data=args.data,
        trial=args.trial,
        also=args.also,
        command=args.command,
    )


def export_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `export`."""
    text = "the folder of a search or training; with --weights a spec"
    verb.add_argument("source", metavar="SOURCE", help=text)
    verb.add_argument(
        "-o", "--out", metavar="DIR", type=Path, required=True, help="the folder to write"
    )
    verb.add_argument("--trial", metavar="N", type=int, help="another trial than the winner")
    verb.add_argument(
        "--also",
        metavar="FORMS",
        default=(),
        type=lambda text: [word.strip() for word in text.split(",")],
        help="other forms to lay beside, separated by commas: onnx, program, state-dict",
    )
    given = verb.add_argument_group("a spec and weights from elsewhere")
    text = "safetensors, a checkpoint of torch without code, an exported folder, one of timm's, or "
    given.add_argument(
        "--weights", metavar="PLACE", type=Path, help=text + "that of a training or search"
    )
    text = "a model of timm whose images were treated alike, such as timm:resnet50.a1_in1k"
    given.add_argument("--like", metavar="MODEL", default="", help=text)
    text = "the images they were trained with; the test split is classified: digits, a folder, ..."
    given.add_argument("--data", metavar="DATA", default="", help=text)
    for name, what in {"mean": "mean", "std": "standard deviation"}.items():
        text = f"{what} of each channel of pixels in [0, 1], such as 0.485,0.456,0.406"
        given.add_argument(f"--{name}", metavar="NUMBERS", type=_numbers, help=text)
    text = "share of the resized image that the centre crop keeps"
    given.add_argument("--crop", metavar="SHARE", type=float, help=text)
    text = "how images are resized"
    words = ("bicubic", "bilinear", "nearest")
    given.add_argument("--interpolation", choices=words, help=text)
    text = "a file with the names of the classes, one a line, in the order of the logits"
    given.add_argument("--labels", metavar="FILE", type=Path, help=text)
    add_set(verb)


def write_export(source: str | Path | Design, folder: Path, **options: Any) -> None:
    """Exports and tells what was proven; the options are those of `flopwise.export`."""
    from flopwise.design import export

    proof = export(source, folder, **options)
    print(f"exported to {folder}, {proof}")
    _tell_carried(folder)
    print(f"logits differ by {proof.difference:.1g} where the largest is {proof.scale:.2g}")
    if proof.images:
        print(f"{proof.correct} of {proof.images} test images right, as here")
    for way in proof.ways.values():
        gap = way.get("difference")
        print(f"{folder / way['file']}" + ("" if gap is None else f": logits differ by {gap:.1g}"))
    if (folder / "model.py").exists():
        print(f"load it: put {folder} on sys.path and import its model.py, then")
        print(f"  timm.create_model('local-dir:{folder}', pretrained=True)")
    else:
        print(f"load it: timm.create_model('local-dir:{folder}', pretrained=True)")
    if not proof.features:
        print("features_only=True gives nothing: no stage of it puts out a map")
    elif asked := proof.features.get("out_indices"):
        print(f"features: features_only=True needs out_indices={tuple(asked)} beside it")


def _images(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what the command line says of images, in timm's words."""
    names = None
    if args.labels is not None:
        names = args.labels.read_text(encoding="utf-8").splitlines()
    told = {"mean": args.mean, "std": args.std, "crop_pct": args.crop, "class_names": names}
    told["interpolation"] = args.interpolation
    return {key: value for key, value in told.items() if value is not None}


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        told = f"write numbers with commas between them, such as 0.5,0.5,0.5, not {text!r}"
        raise argparse.ArgumentTypeError(told) from None


def _tell_carried(folder: Path) -> None:
    """Says what timm's class counts beside the network, where it has layers that do nothing."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if told := config.get("shipped"):
        print(
            f"carried by timm's {config['architecture']}: {told['params']:,} parameters and "
            f"{told['macs']:,} MACs, of which {told['dead_params']:,} and {told['dead_macs']:,} "
            f"are dead; the network has {config['params']:,} and {config['macs']:,}"
        )
