"""Set before anything imports torch: two threads, no network, one way for Hypothesis to run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MKL_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs a download must fail, not wait
os.environ["COLUMNS"] = "100"  # the width that argparse and rich print for

from hypothesis import settings

settings.register_profile("house", deadline=None)  # the first example pays for the imports
settings.load_profile("house")
