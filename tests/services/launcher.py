"""A Launcher for tests: real processes, ended by their process group."""

import contextlib
import os
import signal
import subprocess

from testgrove.errors import UnavailableError


class LocalProcess:
    def __init__(self, popen):
        self._popen = popen
        self.pid = popen.pid

    def poll(self):
        return self._popen.poll()

    def stop(self, *, signal: int, timeout: float):
        if self._popen.poll() is None:
            self._popen.send_signal(signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, 9)
        self._popen.wait()


class LocalLauncher:
    def __init__(self):
        self.started = []
        self.tools = []

    def start(self, argv, *, cwd, env, log, user=None):
        with log.open("ab") as output:
            popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **_as(user),
            )
        process = LocalProcess(popen)
        self.started.append(process)
        return process

    def run(self, argv, *, cwd, env, timeout, user=None, permitted=None):
        self.tools.append(list(argv))
        try:
            done = subprocess.run(
                argv,
                cwd=cwd,
                env=env,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                **_as(user),
            )
        except OSError as error:
            raise UnavailableError("tool-failed", f"{argv[0]}: {error.strerror}") from error
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-15:])
            raise UnavailableError("tool-failed", f"{argv[0]} ended with status {done.returncode}:\n{tail}")
        return done.stdout

    def end(self):
        """End what a test has left running; how many that were."""
        left = [process for process in self.started if process.poll() is None]
        for process in left:
            process.stop(signal=signal.SIGKILL, timeout=5)
        return len(left)


def _as(user):
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
