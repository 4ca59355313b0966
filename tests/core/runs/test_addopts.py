"""Comments in pytest's `addopts`."""

from __future__ import annotations

import pytest

from testgrove.core.runs.addopts import CommentInAddopts, comment_in_addopts, refuses_arguments

TOML = '[tool.pytest.ini_options]\naddopts = """\n  -v\n  --strict-markers  # for the markers\n"""\n'


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"pytest.ini": "[pytest]\naddopts = -v  # verbose\n"}, CommentInAddopts("pytest.ini", 2, "# verbose")),
        (
            {"pytest.ini": "[pytest]\n# all\naddopts =\n  -v\n  -x # stop\n"},
            CommentInAddopts("pytest.ini", 5, "# stop"),
        ),
        ({"setup.cfg": "[tool:pytest]\naddopts = #-n 4\n"}, CommentInAddopts("setup.cfg", 2, "#-n 4")),
        ({"pyproject.toml": TOML}, CommentInAddopts("pyproject.toml", 4, "# for the markers")),
        ({"pytest.ini": "[pytest]\naddopts =\n  -v\n  # a line of its own\n  -x\n"}, None),
        ({"pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["-v"]  # verbose\n'}, None),
        ({"pytest.ini": "[pytest]\naddopts = -k a#b\n", "setup.cfg": "[tool:pytest]\naddopts = -v # no\n"}, None),
        ({"pytest.ini": "[pytest]\nmarkers =\n  slow # takes long\n"}, None),
        ({}, None),
    ],
)
def test_the_comment_is_found_in_the_file_that_counts(texts, expected):
    assert comment_in_addopts(texts) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: file or directory not found: #\n", True),
        ("ERROR: usage: pytest [options] [file_or_dir]\npytest: error: unrecognized arguments: --strcit\n", True),
        ("ValueError: No closing quotation\n", True),
        ("E   FileNotFoundError: file not found\n", False),
    ],
)
def test_what_says_that_arguments_are_wrong(output, expected):
    assert refuses_arguments(output) is expected
