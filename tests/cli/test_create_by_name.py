"""`create NAME`, and the short ways to say which worktree: what each spelling does, judged by git."""

from __future__ import annotations

import pytest

from auditor import git
from grove import Grove, said


@pytest.fixture
def project(grove, tmp_path) -> Grove:
    """A project with a remote: a branch here and there, one only there, a pull request, a tag."""
    found = grove()
    git(tmp_path, "init", "-q", "--bare", "upstream.git")
    git(found.repo, "remote", "add", "origin", str(tmp_path / "upstream.git"))
    git(found.repo, "branch", "feature/login")
    git(found.repo, "commit", "-q", "--allow-empty", "-m", "second")
    git(found.repo, "push", "-q", "origin", "main", "feature/login", "main:theirs", "feature/login:refs/pull/12/head")
    git(found.repo, "fetch", "-q")
    git(found.repo, "tag", "v1.0")
    git(found.repo, "branch", "größe")
    return found


def created(project: Grove, *words: str) -> dict[str, str]:
    return project.json("create", "--no-env", *words)["worktree"]


def test_each_kind_of_ref_gives_a_worktree_named_after_it(project):
    head, login = (
        git(project.repo, "rev-parse", "main").strip(),
        git(project.repo, "rev-parse", "feature/login").strip(),
    )
    expected = {
        "feature/login": ("work-feature-login", "feature/login", login),
        "theirs": ("work-theirs", "theirs", head),
        "origin/main": ("work-main", "", head),
        "v1.0": ("work-v1.0", "", head),
        head: (f"work-{head[:10]}", "", head),
        login[:8]: (f"work-{login[:10]}", "", login),
        "pr/12": ("work-pr-12", "pr/12", login),
        "new/idea": ("work-new-idea", "new/idea", head),
        "größe": ("work-groe-d353a2", "größe", head),
        "日本": ("work-cf2abf", "日本", head),
    }
    for name, (worktree_id, branch, commit) in expected.items():
        made = created(project, name)
        assert (made["id"], made["branch"], made["commit"]) == (worktree_id, branch, commit), name
        tree = project.root / worktree_id
        assert git(tree, "rev-parse", "HEAD").strip() == commit
        assert git(tree, "branch", "--show-current").strip() == branch
    project.run("remove", *(each["id"] for each in project.json("list")["worktrees"]))
    again = project.run("create", "pr/12", "--no-env")
    assert "to update it first: git fetch origin pull/12/head:pr/12" in again.stderr


def test_without_a_name_it_is_head_and_a_dash_is_the_branch_before(project):
    head = git(project.repo, "rev-parse", "HEAD").strip()
    assert created(project)["id"] == f"work-{head[:10]}"
    done = project.run("create", "-", "--no-env", check=False)
    assert done.returncode == 3
    assert "no branch was checked out here before" in done.stderr
    git(project.repo, "switch", "-q", "feature/login")
    git(project.repo, "switch", "-q", "main")
    assert created(project, "-")["branch"] == "feature/login"


def test_a_new_branch_starts_at_the_default_branch_not_at_head(project):
    git(project.repo, "switch", "-q", "feature/login")
    assert created(project, "idea")["commit"] == git(project.repo, "rev-parse", "main").strip()
    based = created(project, "other", "--base", "feature/login")
    assert based["commit"] == git(project.repo, "rev-parse", "feature/login").strip()
    for words in (("other", "--base", "main"), ("pr/12", "--base", "main")):
        refused = project.run("create", *words, check=False)
        assert refused.returncode == 2, said(refused)
        assert f"--base main: '{words[0]}' already exists" in refused.stderr


def test_a_branch_whose_name_begins_its_commit_is_still_called_by_its_name(project):
    head = git(project.repo, "rev-parse", "main").strip()
    for name in (head[:1], head[:6]):
        git(project.repo, "branch", name, "main")
        assert created(project, name)["id"] == f"work-{name}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("feature/logn", "'feature/logn' does not exist, but 'feature/login' does"),
        ("Main", "'Main' does not exist, but 'main' does"),
        ("their", "'their' does not exist, but 'theirs' does"),
    ],
)
def test_a_near_match_is_an_error_that_shows_it_and_both_commands(project, name, words):
    done = project.run("create", name, "--no-env", check=False)
    assert done.returncode == 3
    assert words in done.stderr
    hint = done.stderr.split("for a new branch: testgrove ")[1].split()
    project.run(*hint, "--no-env")
    assert git(project.repo, "branch", "--list", name).split()[-1] == name


def test_another_number_or_another_word_is_no_near_match(project):
    for name in ("fix/PROJ-1234", "fix/PROJ-1235", "feature/logout"):
        assert created(project, name)["branch"] == name


@pytest.mark.parametrize("name", ["", " ", "a..b", "a b", "./x", "x.lock", "a\\b", "@{-1}", "../../etc"])
def test_what_no_branch_can_be_called_is_refused_and_nothing_is_made(project, name):
    done = project.run("create", name, "--no-env", check=False)
    assert done.returncode == 3, said(done)
    assert "cannot be the name of a new branch" in done.stderr
    assert project.json("list")["worktrees"] == []


def test_a_pull_request_that_is_not_there_or_cannot_be_fetched(project):
    done = project.run("create", "pr/13", check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        5,
        "error: cannot fetch pull request 13: origin has none of this number",
    )
    offline = project.run("create", "pr/12", "--offline", check=False)
    assert offline.returncode == 3
    assert "hint: git fetch origin pull/12/head:pr/12" in offline.stderr
    git(project.repo, "remote", "rename", "origin", "one")
    git(project.repo, "remote", "add", "two", "nowhere")
    several = project.run("create", "pr/12", check=False)
    assert "there is no remote 'origin'" in several.stderr


def test_a_worktree_that_exists_and_two_refs_say_what_to_do(project):
    created(project, "feature/login")
    again = project.run("create", "feature/login", "--no-env", check=False)
    assert again.returncode == 3
    assert "worktree work-feature-login already exists" in again.stderr
    nameless = project.run("create", "--new-branch", check=False)
    assert (nameless.returncode, "--new-branch requires the branch's name" in nameless.stderr) == (2, True)
    two = project.run("create", "main", "--branch", "main", check=False)
    assert two.returncode == 2
    assert "only one can be checked out" in two.stderr


def test_a_worktree_is_found_by_branch_by_beginning_and_by_the_current_folder(project):
    tree = project.root / created(project, "feature/login")["id"]
    other = project.root / created(project, "feature/logout")["id"]
    for text in ("work-feature-login", "feature-login", "feature/login", "feature-logi"):
        assert project.run("path", text).stdout.strip() == str(tree), text
    done = project.run("path", "feature", check=False)
    assert done.returncode == 3
    assert "'feature' is ambiguous: work-feature-login and work-feature-logout" in done.stderr
    assert project.run("path", cwd=other).stdout.strip() == str(other)
    assert project.run("show", ".", "--json", cwd=tree / "src").stdout.count('"work-feature-login"') == 1
    outside = project.run("path", check=False)
    assert outside.returncode == 3
    assert "hint: name one; to see them: testgrove list" in outside.stderr
    refused = project.run("remove", "feature-logo", check=False)
    assert refused.returncode == 3
    assert "did you mean work-feature-logout" in refused.stderr
    project.run("remove", "feature/logout")
    assert not other.exists()
    assert tree.exists()
