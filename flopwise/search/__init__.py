"""Search: Optuna lives in this room and nowhere else."""

from __future__ import annotations
