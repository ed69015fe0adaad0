"""Recipe + images + module -> trained weights: a thin loop over timm.

`open_data` finds and divides the images, `train` trains, `evaluate` scores. Everything is
deterministic on a CPU, resumable after any death, and silent.
"""

from __future__ import annotations

from flopwise.train.batches import images_seen
from flopwise.train.check import wrong_settings
from flopwise.train.checkpoint import load_weights
from flopwise.train.data import Data, Facts, open_data
from flopwise.train.loop import train, usual_device
from flopwise.train.record import DivergedError, Epoch, OnEpoch, Result, Stop
from flopwise.train.score import Answers, Score, answer, evaluate
from flopwise.train.threads import fitting_threads

__all__ = [
    "Answers",
    "Data",
    "DivergedError",
    "Epoch",
    "Facts",
    "OnEpoch",
    "Result",
    "Score",
    "Stop",
    "answer",
    "evaluate",
    "fitting_threads",
    "images_seen",
    "load_weights",
    "open_data",
    "train",
    "usual_device",
    "wrong_settings",
]
