"""Finds entries of set-up or tests in the git directory that all checkouts share, which break without a worktree.

A tool that installs a hook or a filter from a worktree (``pre-commit install``, ``nbstripout --install``) writes to
the repository of the main checkout, with paths into the worktree: without it, the user's own commits fail. The user
works in the same repository at the same time, so entries are recognised by paths into testgrove's folders, not by time.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from testgrove.app.project import Project
from testgrove.app.worktrees import records
from testgrove.core.frozen import frozen
from testgrove.system.git import shared as git_shared
from testgrove.system.git.shared import SharedPath


@frozen
class SharedChange:
    """An entry of the shared git directory with a path into testgrove's folders.

    tree: the worktree or temporary folder that contains the path. fix: the command for the user. mend: the action of
    ``doctor --fix``; None if only the user can decide."""

    subject: str
    path: str
    tree: Path
    fix: str
    mend: Callable[[], object] | None = None

    @property
    def problem(self) -> str:
        """The problem with it."""
        goes = "is gone" if not os.path.lexists(self.path) else f"will be lost with {self.tree}"
        return f"is shared by all checkouts but points to {self.path}, which {goes}"

    def __str__(self) -> str:
        return f"{self.subject} {self.problem}; to fix it: {self.fix}"


def shared_changes(project: Project, tree: Path | None = None) -> list[SharedChange]:
    """Return the entries with paths into testgrove's worktrees and temporary folders, or into one worktree."""
    ours = {worktree.path for worktree in records.all_of(project)} | ({tree} if tree else set())
    temporary = {project.locations.scratch, project.locations.memory}
    roots = {project.root, *(path.parent for path in ours)}
    found = []
    for shared in git_shared.shared_paths(project.repository, _spellings(roots | temporary)):
        location = _location_of(shared.path, roots, temporary, ours)
        if location is not None and (tree is None or location == tree):
            found.append(_change(project, shared, location))
    return found


def _spellings(folders: set[Path]) -> list[str]:
    return sorted({str(each) for folder in folders for each in (folder, folder.resolve())})


def _location_of(path: str, roots: set[Path], temporary: set[Path], ours: set[Path]) -> Path | None:
    """Return testgrove's folder that contains a path. Other folders next to the worktrees are the user's."""
    resolved = Path(path).resolve()
    for root in roots:
        if (base := root.resolve()) in resolved.parents:
            location = root / resolved.relative_to(base).parts[0]
            if location in ours or not os.path.lexists(location):
                return location
    return next((folder for folder in temporary if resolved.is_relative_to(folder.resolve())), None)


def _change(project: Project, shared: SharedPath, tree: Path) -> SharedChange:
    """Return what to do about it. While the worktree or the path exists, the user decides that."""
    gone = not os.path.lexists(shared.path) and not (tree.is_dir() and (tree / ".git").exists())
    main, file = shlex.quote(str(project.main)), shlex.quote(str(shared.file))
    if shared.key:
        section = shared.key.rpartition(".")[0]
        if section.startswith("filter."):  # with `required`, git refuses files whose filter is not complete
            fix = f"git -C {main} config --remove-section {section}"
            return SharedChange(f"{shared.key} in {shared.file}", shared.path, tree, fix)
        fix = f"git -C {main} config --unset-all {shared.key}"
        mend: Callable[[], object] | None = (
            partial(git_shared.unset_shared, project.repository, shared) if gone else None
        )
        return SharedChange(f"{shared.key} in {shared.file}", shared.path, tree, fix, mend)
    if shared.is_hook:
        fix = f"install it again (cd {main}), or: mv {file} {file}.off"
        put_away = partial(git_shared.put_hook_away, shared.file)
        return SharedChange(f"the hook {shared.file}", shared.path, tree, fix, put_away if gone else None)
    return SharedChange(str(shared.file), shared.path, tree, f"edit {shared.file}")
