"""An isolated git worktree, with its own environment, ports and databases, for every test run."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
