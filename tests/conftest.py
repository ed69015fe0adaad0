"""Set before anything imports torch: two threads, no network, one way for Hypothesis to run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import mkdtemp

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MKL_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs a download must fail, not wait
os.environ["COLUMNS"] = "100"  # the width that argparse and rich print for
os.environ["XDG_CONFIG_HOME"] = mkdtemp()  # where it is kept which code may run

# `from tests.parity.references import ...` works; an installed flopwise still comes first
sys.path.append(str(Path(__file__).parent.parent))

from hypothesis import settings

settings.register_profile("house", deadline=None)  # the first example pays for the imports
settings.load_profile("house")
