"""How many of timm's registered models `flopwise import` can say, family by family, and why not.

    python benchmarks/imports.py                  # every model of the families: 8 minutes of CPU
    python benchmarks/imports.py resnet densenet  # some of timm's model modules
    python benchmarks/imports.py --prove resnet   # outputs compared too

A model counts as imported when every module of it was read, its spec has the same number of
parameters, and all checkpoint keys map both ways with equal shapes and layer settings.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter

import timm

from flopwise.errors import FlopwiseError
from flopwise.export import NotExpressibleError, import_timm

MODULES = (
    *("resnet", "convnext", "vision_transformer", "deit", "swin_transformer", "densenet"),
    *("nfnet", "efficientnet", "ghostnet", "resnetv2", "regnet", "maxxvit"),
)
NUMBER = re.compile(r"\d+(\.\d+)?")


def main() -> None:
    """Prints one line per family, and below it the most frequent reasons of refusal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="MODULE")
    parser.add_argument("--prove", action="store_true", help="compare outputs too")
    args = parser.parse_args()
    print(f"timm {timm.__version__}: module, imported / registered")
    total = [0, 0]
    for module in args.modules:
        names = timm.list_models(module=module)
        refused: dict[str, tuple[str, ...]] = {}
        for name in names:
            if reasons := why_not(name, prove=args.prove):
                refused[name] = reasons
        print(f"{module:20} {len(names) - len(refused):4} / {len(names)}", flush=True)
        counted = Counter(NUMBER.sub("#", each[0]) for each in refused.values())
        for reason, count in counted.most_common(6):
            print(f"{'':20} {count:4} x {reason}", flush=True)
        total = [total[0] + len(names) - len(refused), total[1] + len(names)]
    print(f"{'all':20} {total[0]:4} / {total[1]}")


def why_not(name: str, *, prove: bool) -> tuple[str, ...]:
    """Returns the reasons against a model; none if it is imported."""
    try:
        import_timm(name, prove=prove)
    except NotExpressibleError as error:
        return error.reasons
    except FlopwiseError as error:
        return (str(error).splitlines()[0],)
    return ()


if __name__ == "__main__":
    main()
