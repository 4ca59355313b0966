"""The line of a key in a TOML file."""

from __future__ import annotations

import pytest

from testgrove.core.toml_lines import line_of, table_line

TEXT = """\
# [tool.testgrove]
[tool.testgrove]
park = 3   # = 4
pythons = [
  "3.11",
]

[tool.testgrove.suites.unit]
command = "pytest"
env.A = "1"
[tool.testgrove.suites."e2e"]
command = 'x'
[[tool.other]]
name = "park"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("tool.testgrove", 2),
        ("tool.testgrove.park", 3),
        ("tool.testgrove.pythons[1]", 4),
        ("tool.testgrove.suites.unit.command", 9),
        ("tool.testgrove.suites.unit.env.A", 10),
        ("tool.testgrove.suites.unit.timeout", 8),
        ("tool.testgrove.suites.e2e.command", 12),
        ("tool.testgrove.nope", 2),
        ("project.name", 0),
    ],
)
def test_a_key_has_its_line_else_that_of_its_table(key, line):
    assert line_of(TEXT, key) == line


def test_a_table_begins_with_its_first_line_or_one_in_it():
    assert table_line(TEXT, "tool.testgrove") == 2
    assert table_line("a = 1\n[tool.testgrove.env]\n", "tool.testgrove") == 2
    assert table_line("[tool.testgrove-other]\n# [tool.testgrove]\n", "tool.testgrove") == 0
