"""What a test needs of the machine: told apart from what it says about flopwise."""

from __future__ import annotations

import os
import subprocess

import pytest

__all__ = ["SMALL_DISK", "need", "no_mounts"]

SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-euc")
"""Runs a shell whose mounts nobody else sees; needs no right that a user lacks."""


def need(missing: str) -> None:
    """Leaves a test out, with the reason, where a program is missing; in CI that is a failure."""
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def no_mounts() -> str:
    """Says that this machine lets nobody mount a small disk; empty when it does."""
    words = [*SMALL_DISK, "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        return "needs the program unshare of util-linux"
