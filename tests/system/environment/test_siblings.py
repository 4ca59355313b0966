"""Links to folders beside the repository: which are made, and which go with the worktrees' folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testgrove.errors import PreconditionError
from testgrove.system.deletion import remove_empty
from testgrove.system.environment.siblings import link_siblings


@pytest.fixture
def main(tmp_path: Path) -> Path:
    for name in ("project", "shared_lib-1.2", "worktrees/a"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "shared_lib").symlink_to("shared_lib-1.2")
    return tmp_path / "project"


def test_a_link_goes_with_the_folder_and_nothing_behind_it(main):
    root, file = main.parent / "worktrees", main.parent / "shared_lib/lib.py"
    file.touch()
    assert link_siblings(root / "a", main, ["../shared_lib"]).keys() == {"../shared_lib"}
    assert (root / "shared_lib/lib.py").exists()
    (root / "a").rmdir()
    remove_empty(root)
    assert (root.exists(), file.exists()) == (False, True)


def test_links_of_users_stay(main):
    root = main.parent / "worktrees"
    (root / "shared_lib").symlink_to(main.parent / "shared_lib")
    (root / "a").rmdir()
    remove_empty(root)
    assert (root / "shared_lib").is_symlink()
    (root / "shared_lib").unlink()
    (root / "shared_lib").symlink_to("/nowhere")
    with pytest.raises(PreconditionError, match="already exists and does not lead to"):
        link_siblings(root / "a", main, ["../shared_lib"])


def test_a_link_follows_a_repository_that_was_moved(main):
    tree = main.parent / "worktrees/a"
    (tree.parent / "shared_lib").symlink_to("/gone/project/../shared_lib")
    link_siblings(tree, main, ["../shared_lib"])
    assert (tree.parent / "shared_lib").resolve() == main.parent / "shared_lib-1.2"


def test_any_file_changes_the_signature_and_none_makes_it_fail(main):
    tree, library = main.parent / "worktrees/a", main.parent / "shared_lib"

    def now() -> dict[str, str]:
        return link_siblings(tree, main, ["../shared_lib"])

    before = now()
    os.close(os.open(os.fsencode(library) + b"/caf\xe9.txt", os.O_CREAT))
    after = now()
    assert before != after
    (library / "closed").mkdir(mode=0)
    assert now() == after
