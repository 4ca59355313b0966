"""Files of the user's in a worktree."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from situations.table import ARTIFACTS, Batch, Place

batch = Batch("files")
situation = batch.situation


def append(path: Path, text: str = "mine\n") -> None:
    """Add text to a file."""
    with path.open("a") as file:
        file.write(text)


@situation("A tracked file was modified")
def modified(at: Place) -> None:
    append(at.tree / "README.md")


@situation("A tracked file was modified, with its size and time kept, and git is set to compare only these")
def modified_unseen(at: Place) -> None:
    at.git("config", "extensions.worktreeConfig", "true")
    at.git("config", "--worktree", "core.checkStat", "minimal")
    at.git("config", "--worktree", "core.trustctime", "false")
    path = at.tree / "README.md"
    os.utime(path, (1_000_000_000, 1_000_000_000))
    at.git("update-index", "--refresh")
    with path.open("r+") as file:
        file.write("M")
    os.utime(path, (1_000_000_000, 1_000_000_000))


@situation("A tracked file was deleted")
def deleted(at: Place) -> None:
    (at.tree / "README.md").unlink()


@situation("A change is staged")
def staged(at: Place) -> None:
    append(at.tree / "README.md")
    at.git("add", "README.md")


@situation("A staged file that exists only in the index")
def staged_and_gone(at: Place) -> None:
    draft = at.write("draft.txt", "only in the index\n")
    at.git("add", "draft.txt")
    draft.unlink()


@situation("A file is staged, and was modified again since")
def staged_and_modified(at: Place) -> None:
    append(at.tree / "README.md", "staged\n")
    at.git("add", "README.md")
    append(at.tree / "README.md", "not staged\n")


@situation("A deletion is staged")
def staged_deletion(at: Place) -> None:
    at.git("rm", "--quiet", "README.md")


@situation("A rename is staged")
def staged_rename(at: Place) -> None:
    at.git("mv", "README.md", "READ.md")


@situation("A tracked file was made executable")
def mode(at: Place) -> None:
    (at.tree / "README.md").chmod(0o755)


@situation("An untracked file")
def untracked(at: Place) -> None:
    at.write("notes/idea.txt")


@situation("An empty untracked file")
def empty(at: Place) -> None:
    at.write("empty", "")


@situation("An ignored file")
def ignored(at: Place) -> None:
    at.write("secrets.local")


@situation("A folder that git ignores")
def ignored_folder(at: Place) -> None:
    at.write("build/result.bin")


@situation("A file was added with `git add --intent-to-add`")
def intent_to_add(at: Place) -> None:
    at.write("planned.txt")
    at.git("add", "--intent-to-add", "planned.txt")


@situation("A file with `--skip-worktree` was modified")
def skip_worktree(at: Place) -> None:
    at.git("update-index", "--skip-worktree", "README.md")
    append(at.tree / "README.md")


@situation("A file with `--assume-unchanged` was modified")
def assume_unchanged(at: Place) -> None:
    at.git("update-index", "--assume-unchanged", "README.md")
    append(at.tree / "README.md")


@situation("A broken link")
def broken_link(at: Place) -> None:
    (at.tree / "link").symlink_to("/nowhere/at/all")


@situation("A link to a folder outside")
def link_out(at: Place) -> None:
    (at.outside / "precious.txt").write_text("mine\n")
    (at.tree / "data").symlink_to(at.outside)


@situation("A tracked file was replaced by a link to one outside")
def link_for_a_file(at: Place) -> None:
    (at.outside / "precious.txt").write_text("mine\n")
    (at.tree / "README.md").unlink()
    (at.tree / "README.md").symlink_to(at.outside / "precious.txt")


@situation("A tracked folder was replaced by a link to one outside")
def link_for_a_folder(at: Place) -> None:
    (at.tree / "src").rename(at.outside / "src")
    append(at.outside / "src/code.py")
    (at.tree / "src").symlink_to(at.outside / "src")


@situation("A hard link to a file outside")
def hard_link(at: Place) -> None:
    (at.outside / "precious.txt").write_text("mine\n")
    (at.tree / "linked.txt").hardlink_to(at.outside / "precious.txt")


@situation("A tracked file was replaced by a hard link to one outside")
def hard_link_for_a_file(at: Place) -> None:
    (at.outside / "precious.txt").write_text("mine\n")
    (at.tree / "README.md").unlink()
    (at.tree / "README.md").hardlink_to(at.outside / "precious.txt")


@situation("Names with blanks, line breaks, control characters, bytes that are not UTF-8")
def strange_names(at: Place) -> None:
    for name in (b"a name with spaces", b"two\nlines", "Übung ✓.txt".encode(), b"\x1b[31mred", b"latin\xe9"):
        Path(os.fsdecode(os.fsencode(at.tree) + b"/" + name)).write_text("mine\n")


@situation("Names that look like options or pathspecs")
def options_as_names(at: Place) -> None:
    for name in ("-rf", "--force", ":(top)README.md", ":!README.md", "*"):
        at.write(name)


@situation("Names that differ from a tracked one only in case")
def case(at: Place) -> None:
    at.write("readme.md")
    at.write("SRC/code.py")


@situation("The same, and git is set to ignore case (`core.ignoreCase`)")
def case_ignored(at: Place) -> None:
    at.git("config", "extensions.worktreeConfig", "true")
    at.git("config", "--worktree", "core.ignoreCase", "true")
    at.write("readme.md")


@situation("A file in a tree that is deeper than a path can be long")
def deep(at: Place) -> None:
    folder = os.open(at.tree, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    file = os.open("precious", os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(file, b"mine\n")
    os.close(file)
    os.close(folder)


@situation("A named pipe", "Removes the worktree: a pipe or a socket holds no data")
def pipe(at: Place) -> None:
    os.mkfifo(at.tree / "pipe")


@situation("A socket, with a file next to it")
def a_socket(at: Place) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(at.tree, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    at.write("beside.txt")


@situation("Files and links with the names of folders that tools recreate (`.tox`, `.venv`)")
def named_like_caches(at: Place) -> None:
    at.write(".tox")
    at.write("my.egg-info")
    (at.tree / ".mypy_cache").symlink_to(at.outside)
    (at.tree / ".venv").symlink_to(at.outside)


@situation("An unreadable folder")
def closed_folder(at: Place) -> None:
    at.write("closed/precious.txt")
    (at.tree / "closed").chmod(0)


@situation("A folder that is read-only")
def read_only_folder(at: Place) -> None:
    at.write("fixed/precious.txt")
    (at.tree / "fixed").chmod(0o500)


@situation("An editor's swap file")
def swap_file(at: Place) -> None:
    at.write(".README.md.swp", "what was typed and not saved\n")


@situation("An editor's folder, and backup files")
def editors_files(at: Place) -> None:
    at.write(".idea/workspace.xml")
    at.write("README.md~")


@situation("The environment file was edited")
def edited_env_file(at: Place) -> None:
    append(at.tree / ".env.test", "MY_KEY=precious\n")


@situation("A file that `copy` brought was edited")
def edited_copy(at: Place) -> None:
    append(at.tree / ".env.local", "MY_KEY=precious\n")


@situation("Test outputs: coverage data, JUnit files, `logs`", ARTIFACTS)
def outputs(at: Place) -> None:
    at.write("junit.xml", "<testsuites/>\n")
    at.write(".coverage", "data\n")
    at.write("logs/app.log", "a line\n")


@situation("A folder `logs` that is a link to one outside", ARTIFACTS)
def linked_logs(at: Place) -> None:
    (at.outside / "app.log").write_text("mine\n")
    (at.tree / "logs").symlink_to(at.outside)
