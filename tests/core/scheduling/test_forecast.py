"""How a run is expected to go, before it goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testgrove.core.scenarios.cells import plain
from testgrove.core.scheduling.forecast import critical_path, forecast
from testgrove.core.scheduling.tasks import Task

GRAPH = [Task("a"), Task("b", needs=("a",)), Task("c", needs=("a",)), Task("d", needs=("b", "c"))]
SECONDS = {"a": 1.0, "b": 5.0, "c": 1.0, "d": 2.0}


def test_the_longest_chain_and_the_whole_are_known_beforehand():
    found = forecast(GRAPH, 2, SECONDS, {})
    assert found.critical == ("a", "b", "d")
    assert (found.critical_seconds, found.seconds, found.known) == (8.0, 8.0, 4)
    assert forecast(GRAPH, 1, SECONDS, {}).seconds == 9.0


def test_one_worktree_and_resources_make_a_queue():
    queue = [Task(str(n), worktree="w") for n in range(3)]
    assert forecast(queue, 8, dict.fromkeys("012", 2.0), {}).seconds == 6.0
    scarce = [Task(str(n), resources=("gpu",)) for n in range(4)]
    assert forecast(scarce, 8, dict.fromkeys("0123", 2.0), {"gpu": 2}).seconds == 4.0


def test_without_any_record_the_chain_with_the_most_links_is_critical():
    found = forecast([*GRAPH, Task("e")], 2, {}, {})
    assert len(found.critical) == 3
    assert found.known == 0


def test_no_tasks_have_no_chain():
    assert critical_path([], {}) == ()


@given(st.sets(st.text(min_size=1, max_size=80), max_size=20))
def test_different_names_never_share_a_folder(names):
    folders = {plain(name) for name in names}
    assert len(folders) == len(names)
    assert all(len(folder) <= 50 and "/" not in folder and not folder.startswith((".", "-")) for folder in folders)
