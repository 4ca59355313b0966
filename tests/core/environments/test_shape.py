"""A table where a list stands, and the other way round: an error with the file and the key, never a traceback."""

from __future__ import annotations

import pytest

from testgrove.core.environments.decide import decide
from testgrove.core.environments.plan import EnvironmentRequest
from testgrove.core.environments.shape import _EXPECTED
from testgrove.errors import PreconditionError


def misshapen(pattern: str, kind: type) -> str:
    *tables, key = pattern.replace("*", "dev").split(".")
    header = f"[{'.'.join(tables)}]\n" if tables else ""
    return f"{header}{key} = {'[1]' if kind is dict else '{ a = 1 }'}\n"


@pytest.mark.parametrize(("pattern", "kind"), _EXPECTED)
def test_a_wrong_kind_of_value_names_file_and_key(pattern, kind):
    key = pattern.replace("*", "dev")
    content = {"pyproject.toml": misshapen(pattern, kind).encode()}
    with pytest.raises(PreconditionError) as error:
        decide(content, EnvironmentRequest())
    expected = "a table, found a list" if kind is dict else "a list, found a table"
    assert error.value.message == f"pyproject.toml: '{key}': expected {expected}"
