"""The identifier of a worktree that is named after a branch, tag or commit."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple

PURPOSE = "work"  # `cleanup` removes worktrees of tests only
_LONGEST = 40


class NamedRef(NamedTuple):
    """ref: what is checked out. new_branch: the branch that is created there, if any. note: for the user."""

    ref: str
    identifier: str
    new_branch: str | None = None
    note: str = ""


def identifier_for(ref: str) -> str:
    """A valid identifier for a ref: `feature/login` is `feature-login`.

    What no identifier can contain is left out, and six digits of the name's SHA-256 keep two such names apart.
    """
    plain = unicodedata.normalize("NFKD", ref).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    slug = re.sub(r"\.{2,}", ".", slug)[:_LONGEST].strip("-._").removesuffix(".lock")
    if slug == ref.replace("/", "-"):
        return slug
    digits = hashlib.sha256(ref.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{slug}-{digits}" if slug else digits
