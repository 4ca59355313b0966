"""Hooks and settings that set-up or a suite writes into the shared git directory, with paths into its worktree."""

from __future__ import annotations

import pytest

from grove import Grove, said

# What `pre-commit install` does, and a tool that registers a folder of hooks.
INSTALL = (
    'h="$(git rev-parse --git-common-dir)/hooks"; mkdir -p "$h"; if [ -e "$h/pre-commit" ]; then mv "$h/pre-commit" '
    '"$h/pre-commit.legacy"; fi; printf "#!/bin/sh\\\\nexec $PWD/tool\\\\n" >"$h/pre-commit"; chmod +x "$h/pre-commit"'
)
OWN = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def project(grove) -> Grove:
    bad = "purpose = 'test-bad'\ncommand = 'git config core.hooksPath $PWD/hooks'"
    project = grove(config=f"setup = ['''{INSTALL}''']\n[suites.unit]\ncommand = 'true'\n[suites.bad]\n{bad}\n")
    hook = project.repo / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(OWN)
    hook.chmod(0o755)
    return project


def test_a_hook_that_points_into_a_worktree_is_named_until_it_is_mended(project):
    hook, tree = project.repo / ".git/hooks/pre-commit", project.root / "review-a"
    made = project.create("review", "a")
    named = f"note: the hook {hook} is shared by all checkouts but points to {tree}/tool"
    assert named in made.stderr, said(made)
    found = project.run("doctor", "--fix", check=False)
    assert found.returncode == 3, "while the worktree is there, its user decides"
    assert str(hook) in found.stdout
    removed = project.run("remove", "review-a")
    assert f"{named}, which is gone; to fix it: install it again (cd {project.repo})" in removed.stderr
    found = project.run("doctor", check=False)
    assert found.returncode == 3
    assert "is gone" in found.stdout
    project.run("doctor", "--fix")
    assert hook.read_text() == OWN, "the user's own hook is back"
    assert hook.with_name("pre-commit.testgrove-off").exists(), "nothing is deleted"
    assert project.run("doctor").returncode == 0
    project.git("commit", "--quiet", "--allow-empty", "--message", "as before")


def test_a_hook_that_is_a_relative_link_into_a_worktree(grove):
    project = grove(config="setup = ['mkdir tools; touch tools/hook']")
    project.create("review", "a")
    hook = project.repo / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(f"../../../{project.root.name}/review-a/tools/hook")
    assert hook.is_file()
    target = project.root / "review-a/tools/hook"
    removed = project.run("remove", "review-a")
    assert f"{hook} is shared by all checkouts but points to {target}, which is gone" in removed.stderr, said(removed)


def test_a_setting_that_a_suite_makes_is_named_by_test_cleanup_and_doctor(project):
    project.write({"testgrove.toml": (project.repo / "testgrove.toml").read_text().replace(INSTALL, "true")})
    done = project.run("test", "bad")
    setting = f"core.hookspath in {project.repo}/.git/config is shared by all checkouts but points to"
    assert setting in done.stdout + done.stderr, said(done)
    cleaned = project.run("cleanup", "--max-age", "0", "--yes")
    assert setting in cleaned.stderr, said(cleaned)
    project.run("doctor", "--fix")
    assert "hooksPath" not in (project.repo / ".git/config").read_text()


def test_what_the_user_has_there_is_not_ours(project):
    """A worktree of the user's own in the same folder, and the main checkout itself."""
    own = project.root / "mine"
    project.git("worktree", "add", "--quiet", "--detach", str(own))
    project.git("config", "core.hooksPath", str(own / "hooks"))
    project.git("config", "filter.x.clean", f"{project.repo}/filter")
    assert project.run("doctor").returncode == 0
