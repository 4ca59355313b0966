"""The server on this worktree's port is this worktree's, and nobody else calls it."""

from __future__ import annotations

import os
import subprocess

import httpx

Process = subprocess.Popen[bytes]


def test_the_server_is_this_worktrees(server: Process, client: httpx.Client) -> None:
    identity = client.get("/identity").json()
    assert (identity["worktree"], identity["pid"]) == (os.environ["WORKTREE_ID"], server.pid)


def test_the_server_got_the_requests_of_this_session_and_no_others(
    server: Process, client: httpx.Client, answered: list[int]
) -> None:
    for _ in range(50):
        requests = client.get("/identity").json()["requests"]
        assert requests == len(answered)


def test_the_database_and_redis_answer(api: httpx.Client) -> None:
    assert api.get("/health").json() == {"status": "ok"}


def test_an_unknown_path_is_not_found(api: httpx.Client) -> None:
    assert api.get("/nothing").status_code == 404
