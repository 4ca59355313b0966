"""Names that are accepted, secrets that are not shown."""

from __future__ import annotations

import pytest

from testgrove.core.model import DatabaseAccess, WorktreeId
from testgrove.core.secret import Secret
from testgrove.errors import UsageError


@pytest.mark.parametrize("identifier", ["a", "my-test", "py3.12", "A_1", "x" * 50, "0"])
def test_good_identifiers(identifier):
    assert str(WorktreeId("test-unit", identifier)) == f"test-unit-{identifier}"


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "..",
        "a..b",
        "/",
        "a/b",
        "/../../../escaped",
        "a b",
        "a'b",
        'a"b',
        "a\nb",
        "a\n",
        "x" * 51,
        "x" * 200,
        "-a",
        ".a",
        "ä",
        "a\x00",
        "a$b",
        "a.lock",
        "a.",
    ],
)
def test_bad_identifiers_are_refused(identifier):
    with pytest.raises(UsageError) as caught:
        WorktreeId("test-unit", identifier)
    assert caught.value.exit_status == 2
    assert len(caught.value.message) < 150


def test_a_secret_is_not_shown():
    secret = Secret("hunter2")
    access = DatabaseAccess("postgres", "n", "127.0.0.1", 1, "u", secret)
    assert "hunter2" not in f"{secret} {secret!r} {access!r} {access.url(redacted=True)}"
    assert access.url() == "postgresql://u:hunter2@127.0.0.1:1/n"
