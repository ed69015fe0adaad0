"""`python -m flopwise` is the command line."""

from __future__ import annotations

from flopwise.cli import main

raise SystemExit(main())
