"""The options that every command has, before and after its name; and settings in two files."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from grove import said
from testgrove.cli.main import cli, leading_options
from testgrove.cli.output import common


def test_global_options_are_accepted_before_and_after_the_command(grove, tmp_path):
    project = grove()
    for words in (("list",), ("ports", "list"), ("services", "list")):
        for options in (("--json",), ("--quiet",), ("-q",), ("--offline",), ("--project", str(project.repo))):
            after = project.run(*words, *options, cwd=tmp_path if "--project" in options else None)
            before = project.run(*options, *words, cwd=tmp_path if "--project" in options else None)
            assert (before.stdout, before.stderr) == (after.stdout, after.stderr), words
    done = project.run("--json", "--offline", f"--project={project.repo}", "path", "nope", cwd=tmp_path, check=False)
    assert done.returncode == 3, said(done)
    assert json.loads(done.stdout)["error"]["code"] == "no-such-worktree"


def test_every_command_with_a_project_has_them():
    def options(command):
        return {name for parameter in command.params for name in parameter.opts}

    @common
    def nothing():
        """Has the options alone."""

    wanted = {name for option in nothing.__click_params__ for name in option.opts}
    assert wanted == {"--project", "--json", "--quiet", "-q", "--offline"}
    for name in cli.list_commands(None):
        command = cli.get_command(None, name)
        parts = getattr(command, "commands", {name: command})
        assert all(wanted <= options(part) for part in parts.values()) or name == "completion", name


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--json", "list"], ["--json"]),
        (["--project", "list", "list", "--json"], ["--project", "list"]),
        (["-q", "--project=x", "test", "--", "-q"], ["-q", "--project=x"]),
        (["list", "--json"], []),
        (["--help"], []),
        (["--version", "--json"], []),
    ],
)
def test_only_what_stands_before_the_command_is_moved(words, options):
    given, rest = leading_options(words)
    assert given == options
    assert given + rest == words


@pytest.mark.parametrize("words", [["--help"], ["db", "--help"], ["db"]])
def test_help_is_shown_with_global_options_before_it(words):
    with_options, without = (CliRunner().invoke(cli, [*before, *words]) for before in (["--offline"], []))
    assert with_options.output == without.output
    assert with_options.exit_code == without.exit_code


def test_options_without_a_command_say_that_it_is_missing():
    assert "Missing command." in CliRunner().invoke(cli, ["--json"]).output


def test_settings_in_two_files_are_refused_with_both_named(grove):
    project = grove()
    project.write({"pyproject.toml": '[project]\nname = "x"\n[tool.testgrove]\npark = 2\n'})
    done = project.run("test", check=False)
    assert done.returncode == 2, said(done)
    assert f"{project.repo}/testgrove.toml, and [tool.testgrove] in {project.repo}/pyproject.toml:3" in done.stderr
    project.write({"pyproject.toml": "[tool]\ntestgrove.park = 2\n"})
    assert f"{project.repo}/pyproject.toml:1" in project.run("test", check=False).stderr
    for other in ('# testgrove\n[project]\nname = "x"\n', 'readme = """\n[tool.testgrove]\n"""\n'):
        project.write({"pyproject.toml": other})
        assert "two files" not in project.run("test", "nope", check=False).stderr
