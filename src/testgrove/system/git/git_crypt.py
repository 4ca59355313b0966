"""git-crypt's key: its filters look for it in a checkout's own git directory, where a linked checkout has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testgrove.system.files import explained
from testgrove.system.git.repository import git_dir_of

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "git-crypt"


def link_key(path: Path) -> None:
    """Link the key of an unlocked repository into a checkout, before its files are decrypted; nothing without a key.

    git removes the link with the checkout, and not what it leads to. Raises PreconditionError.
    """
    own = git_dir_of(path)
    with explained("link git-crypt's key into", own):
        common = own / "commondir"
        if not common.exists() or os.path.lexists(own / _NAME):
            return
        key = (own / common.read_text().strip()).resolve() / _NAME
        if key.is_dir():
            (own / _NAME).symlink_to(key)
