"""A pytest plugin for timm's own tests: registers exported folders before anything is collected.

FOLDERS names the folder that holds them. timm chooses the models of some tests by the last word of
their module's name, so each model.py is imported under one of the words that it looks for.
"""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

for folder in sorted(Path(os.environ["FOLDERS"]).iterdir()):
    name = f"{folder.name}.starnet"
    spec = spec_from_file_location(name, folder / "model.py")
    assert spec and spec.loader
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
assert "flopwise" not in sys.modules
