"""Folders of a checkout that git skips with only a warning: their content is in none of its lists."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_PASSED_OVER = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO, errno.ESTALE)


def closed_folders(path: Path) -> list[str]:
    """The folders that cannot be listed, relative to the checkout; for a path that is too long, its top one."""
    found, todo = [], [""]
    while todo:
        name = todo.pop()
        try:
            with os.scandir(f"{path}/{name}") as entries:
                folders = [each.name for each in entries if each.is_dir(follow_symlinks=False) and each.name != ".git"]
        except OSError as error:
            if error.errno in _PASSED_OVER:
                found.append(name.partition("/")[0] if error.errno == errno.ENAMETOOLONG else name)
            continue
        todo += [f"{name}/{each}" if name else each for each in folders if name or each != ".venv"]
    return found
