"""--random-order: every report has the seed, and the command that repeats the order does repeat it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

TESTS = {"tests/test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(40))\ndef test_a(n): ...\n"}


def order(report):
    return [test["nodeid"] for test in report["cells"][0]["attempts"][0]["tests"]]


@pytest.mark.slow
def test_the_seed_is_in_every_report_and_repeats_the_order(grove):
    project = grove(files=TESTS)
    done = project.run("test", "--random-order", "tests")
    (line,) = re.findall("^again in this order: testgrove (.+)$", done.stdout, re.MULTILINE)
    seed = re.findall(r"--random-order=(\d+)", line)[0]
    assert f"random order {seed}" in done.stdout.splitlines()[0]

    again = project.json(*shlex.split(line))
    folder = Path(again["folder"])
    assert str(again["seed"]) == seed
    assert f"random order {seed}" in again["header"]
    assert f"--random-order={seed}" in (folder / "report.html").read_text()
    properties = ET.parse(folder / "junit.xml").getroot().iter("property")
    assert ("random_seed", seed) in [(each.get("name"), each.get("value")) for each in properties]

    other = project.json("test", f"--random-order={int(seed) ^ 1}")
    plain = project.json("test")
    assert len({tuple(order(report)) for report in (again, other, plain)}) == 3
    assert plain["seed"] is None


def test_a_seed_that_is_none_is_refused(grove):
    done = grove().run("test", "--random-order=soon", check=False)
    assert done.returncode == 2
    assert "'soon'" in done.stderr
