"""Environment files: whatever render() accepts, all readers understand alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from testgrove.core.envfile import parse, render, revised
from testgrove.errors import UsageError

SHELLS = [shell for shell in ("bash", "sh") if shutil.which(shell)]
SOURCED = "set -a; . ./.env.test; exec env -0"
EXPORTED = "export $(cat .env.test | xargs) >/dev/null; exec env -0"
READER = """
import io, json, sys
import dotenv
for line in sys.stdin:
    print(json.dumps(dotenv.dotenv_values(stream=io.StringIO(json.loads(line)))), flush=True)
"""

names = st.from_regex(r"\AT_[A-Z0-9_a-z]{0,12}\Z")
awkward = st.text(alphabet="ab '\"\\$`{}()#=!~*?[]&|;<>%^,.:-é\u00a0\n\t\r\x00", max_size=12)
values = st.one_of(awkward, st.text(max_size=30), st.text(alphabet="aZ09_./:@%+,=-", max_size=30))
MANY = [
    "", "plain", "postgresql://u:p@127.0.0.1:5432/db?sslmode=disable&a=b", "it's", 'say"hi"', "$HOME", "$(id)", "`id`",
    "a\\b", "\\a", "a#b", "#", "=", "a=b", "~", "~/x", "a:~", "*", "?", "[a]", "!x", "a;b", "{a,b}", "ünï-čödé-日本",
    "-n", "-e", "%s", "$", "\\n", "a\\'", "x" * 60000,
]  # fmt: skip


def shell_reads(folder: Path, shell: str, script: str, text: str, names: Mapping[str, str]) -> dict[str, str]:
    (folder / ".env.test").write_text(text, encoding="utf-8", newline="")
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    done = subprocess.run([shell, "-c", script], cwd=folder, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(field.partition(b"=")[::2] for field in done.stdout.split(b"\0"))
    return {name: found[name.encode()].decode() for name in names if name.encode() in found}


def accepted(candidates: Mapping[str, str]) -> dict[str, str]:
    good = {}
    for name, value in candidates.items():
        try:
            render({name: value})
        except UsageError:
            continue
        good[name] = value
    return good


@pytest.mark.parametrize("script", [SOURCED, EXPORTED], ids=["sourced", "exported"])
@pytest.mark.parametrize("shell", SHELLS)
def test_shells_read_what_was_written(tmp_path: Path, shell: str, script: str) -> None:
    good = accepted({f"T_{n}": value for n, value in enumerate(MANY)})
    assert len(good) >= len(MANY) - 1  # all but the backslash with a quote
    assert shell_reads(tmp_path, shell, script, render(good), good) == good


@pytest.mark.slow
@settings(deadline=None, max_examples=60, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, min_size=5, max_size=40))
@example(
    {"T_A": "\\", "T_B": "'", "T_C": "\\\\", "T_D": "a b", "T_E": "a\nb", "T_F": "${HOME}", "T_G": "'\"", "T_H": "'$x"}
)
def test_every_value_that_is_accepted_is_read_alike_by_shells(tmp_path: Path, candidates: dict[str, str]) -> None:
    good = accepted(candidates)
    text = render(good)
    assert parse(text) == good
    for script in (SOURCED, EXPORTED):
        assert shell_reads(tmp_path, SHELLS[0], script, text, good) == good


@pytest.fixture(scope="module")
def dotenv_reader() -> Iterator[subprocess.Popen[str]]:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    words = [uv, "run", "--no-project", "--quiet", "--with", "python-dotenv", "python"]
    probe = subprocess.run([*words, "-c", "import dotenv"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"python-dotenv cannot be had: {probe.stderr[-200:]}")
    with subprocess.Popen([*words, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield child
        assert child.stdin is not None
        child.stdin.close()


@pytest.mark.slow
@settings(deadline=None, max_examples=300, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, min_size=5, max_size=40))
@example({f"T_{n}": value for n, value in enumerate(MANY)})
def test_every_value_that_is_accepted_is_read_alike_by_dotenv(
    dotenv_reader: subprocess.Popen[str], candidates: dict[str, str]
) -> None:
    good = accepted(candidates)
    assert dotenv_reader.stdin is not None
    assert dotenv_reader.stdout is not None
    dotenv_reader.stdin.write(json.dumps(render(good)) + "\n")
    dotenv_reader.stdin.flush()
    assert json.loads(dotenv_reader.stdout.readline()) == good


@pytest.mark.parametrize(
    "value",
    ["a b", " ", "a\tb", "a\nb", "a\rb", "a\x00b", "\x7f", "a\u00a0b", "a\u2028b", "${HOME}", "a${b", "\\\\",
     "end\\", "it's \"it\"",
     "it's$x", "it's`x`", "it's\\x", "\udcff", "x" * 70000],
)  # fmt: skip
def test_a_value_that_readers_disagree_on_is_refused_by_name(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        render({"GOOD": "x", "API_URL": value})
    assert caught.value.code == "env-value"
    assert "API_URL" in caught.value.message
    assert value not in caught.value.message or len(value) < 3  # it may be a password


@pytest.mark.parametrize(
    "name", ["", "1A", "A-B", "A B", "A=B", "É", "A\n", "UID", "BASH_ENV", "RANDOM", "_", "IFS", "SHELLOPTS"]
)
def test_a_name_that_shells_do_not_take_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        render({name: "x"})
    assert caught.value.code == "env-name"


def test_the_file_has_one_line_for_each_value_in_their_order() -> None:
    text = render({"B": "2", "A": "", "URL": "postgresql://u:p@h:1/d", "Q": "it's", "E": "$x"})
    assert text == "B=2\nA=''\nURL=postgresql://u:p@h:1/d\nQ=\"it's\"\nE='$x'\n"
    assert render({}) == ""


def test_parse_understands_small_changes_by_hand() -> None:
    assert parse("# a comment\n\nexport A='x y'\nB = \n C=1=2\nD='\nnonsense\n") == {
        "A": "x y",
        "B": "",
        "C": "1=2",
        "D": "'",
    }


def test_what_a_person_has_edited_stays_when_a_file_is_revised():
    written = {"API_PORT": "8001", "APP_PORT": "8002", "LEVEL": "info", "GONE": "x", "TEST_MODE": "true"}
    text = "# mine\nexport API_PORT=8001\nLEVEL=debug\n\nAPP_PORT=9999  \nGONE=x\nEXTRA='a b'\n"
    now = {"API_PORT": "8011", "APP_PORT": "8012", "LEVEL": "info", "TEST_MODE": "true", "NEW": "1", "EXTRA": "ours"}
    revised_text, kept = revised(text, written, now)
    assert revised_text == "# mine\nexport API_PORT=8011\nLEVEL=debug\n\nAPP_PORT=9999  \nEXTRA='a b'\nNEW=1\n"
    assert kept == ["APP_PORT"], "only what would be another value now"
