"""Holds no block."""

WIDTH = 64
