"""--offline: nothing of ours goes to the network, and what would have to is named."""

from __future__ import annotations

import socket

import pytest

from grove import said

NO_NETWORK = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
)
WITH_ENVIRONMENT = ("--ports",)


@pytest.fixture
def project(grove):
    return grove(files={"requirements.txt": "iniconfig\n", "tests/test_a.py": "def test_a(): pass\n"})


@pytest.mark.slow
def test_a_warm_cache_is_enough(project):
    project.create("review", "online", *WITH_ENVIRONMENT)
    project.create("review", "offline", *WITH_ENVIRONMENT, "--offline", env=NO_NETWORK)
    assert "iniconfig" in project.run("exec", "review-offline", "--", "pip", "freeze").stdout
    assert project.json("test", "--offline", env=NO_NETWORK)["status"] == "passed"


def test_with_a_cold_cache_what_is_missing_is_named(project):
    empty = {**NO_NETWORK, "UV_CACHE_DIR": str(project.base / "uv")}
    done = project.create("review", "cold", *WITH_ENVIRONMENT, "--offline", check=False, env=empty)
    assert done.returncode == 5, said(done)
    assert "iniconfig" in done.stderr or "pip" in done.stderr
    assert "hint: run it once without --offline" in done.stderr
    project.auditor().assert_no_leftovers()


def test_a_submodule_that_is_not_here_is_not_fetched(project):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/far.git"
        project.write({".gitmodules": f'[submodule "far"]\n\tpath = far\n\turl = {url}\n'})
        project.git("update-index", "--add", "--cacheinfo", f"160000,{project.git('rev-parse', 'HEAD').strip()},far")
        project.git("add", ".gitmodules")
        project.git("commit", "--quiet", "--message", "A submodule")
        done = project.create("review", "sub", "--no-env", "--offline", check=False)
        assert done.returncode == 5, said(done)
        assert "review-sub/far' failed: transport 'http' not allowed" in done.stderr
        assert "note: --offline: not fetching" in done.stderr
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
