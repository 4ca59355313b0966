"""What the user has mounted inside a worktree. Commands see the mounts; the judge looks at what is behind them."""

from __future__ import annotations

from collections.abc import Callable

from grove import Grove
from situations.table import Batch, Place

LIST = "mounts"  # in the grove's folder: a line for each, the source and the mount point
MOUNT = 'while read -r source target; do mount --bind "$source" "$target" || exit 99; done < "$0"; exec "$@"'

batch = Batch("mounts")


def mounted(name: str) -> Callable[[Place], None]:
    """Makes a situation: a folder of the user's is mounted at this path in the worktree."""

    def make(at: Place) -> None:
        (at.outside / "precious.log").write_text("mine\n")
        place = at.tree / name
        place.mkdir(parents=True, exist_ok=True)
        with (at.grove.base / LIST).open("a") as file:
            file.write(f"{at.outside} {place}\n")

    make.__name__ = f"mounted_{name.strip('./').replace('/', '_').replace('.', '_') or 'over'}"
    return make


for title, name in (
    ("A folder is mounted at an untracked path", "data"),
    ("A folder is mounted in a cache (`.mypy_cache`)", ".mypy_cache"),
    ("A folder is mounted over test outputs (`logs`)", "logs"),
    ("A folder is mounted inside an output (`htmlcov/x`)", "htmlcov/x"),
    ("A folder is mounted in the environment", ".venv/src"),
    ("A folder is mounted over a tracked one", "src"),
    ("A folder is mounted over the worktree", "."),
):
    batch.situation(title, "Refuses, with `--force` too")(mounted(name))


def program(grove: Grove, namespace: tuple[str, ...], command: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command that sees the mounts."""
    return (*namespace, "sh", "-c", MOUNT, str(grove.base / LIST), *command)
