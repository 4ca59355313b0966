"""Starts coverage in every Python process of a suite: a copy of this file is the ``sitecustomize`` they import.

Runs in the environment under test, on Python 3.9 and later, with the standard library and coverage alone.
TESTGROVE_COVERAGE is JSON: data (the files' common beginning), tree, prefix (of the environment), overlay (a folder
with coverage, where the environment has none).
"""

from __future__ import annotations

import json
import os
import sys

_QUIET = ["no-data-collected", "module-not-imported", "module-not-measured", "already-imported", "trace-changed"]


def _start(data: str, tree: str, prefix: str, overlay: str) -> None:
    if os.path.realpath(sys.prefix) != prefix:
        return  # another environment: its code is not what is tested, and the overlay is not for it
    if overlay:
        sys.path.append(overlay)
    import coverage  # noqa: PLC0415 - from the overlay, if that is needed

    if overlay:
        sys.path.remove(overlay)
    here = os.getcwd()  # noqa: PTH109 - as little as possible is imported here
    os.chdir(tree)  # where the project's settings are, which name files relative to it
    try:
        measured = coverage.Coverage(data_file=data, data_suffix=True, auto_data=True)
        measured.set_option("run:relative_files", False)
        measured.set_option("run:disable_warnings", [*(measured.get_option("run:disable_warnings") or ()), *_QUIET])
        if not any(measured.get_option(f"run:{name}") for name in ("source", "source_pkgs", "include")):
            measured.set_option("run:include", [f"{tree}/*"])
            omitted = measured.get_option("run:omit") or ()
            measured.set_option("run:omit", [*omitted, f"{prefix}/*"])
        measured.start()
    finally:
        os.chdir(here)


def _import_the_other() -> None:
    """The environment's own sitecustomize, which this one hides."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - compared with text
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # type: ignore[import-not-found] # noqa: F401, PLC0415 - whether there is one is not known
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours


if __name__ == "sitecustomize":
    told = os.environ.get("TESTGROVE_COVERAGE")
    if told:
        _start(**json.loads(told))
    _import_the_other()
