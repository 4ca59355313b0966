"""Which run is the newest."""

from __future__ import annotations

from types import SimpleNamespace

from testgrove.app.runs.past import run_ids
from testgrove.core.runs.events import RunStarted, encode


def test_of_two_runs_of_one_second_the_later_one_is_the_newest(tmp_path):
    for name, t in (("20261120-094611-a000", 3.5), ("20261120-094611-f000", 3.1), ("20261120-094610-ffff", 2.0)):
        (tmp_path / name).mkdir()
        opening = RunStarted(t=t, run=name, project="p", header="h", jobs=1, cells=())
        (tmp_path / name / "events.jsonl").write_bytes(encode(opening) + b"\n")
    (tmp_path / "20261120-094611-0000").mkdir()
    (tmp_path / "20261120-094611-0000/events.jsonl").touch()
    assert [name[9:] for name in run_ids(SimpleNamespace(artifacts=tmp_path))] == [
        "094610-ffff",
        "094611-0000",
        "094611-f000",
        "094611-a000",
    ]
