"""Where uv is, while other threads of the same process start up what it is asked by."""

from __future__ import annotations

import subprocess
import sys

# As CPython before 3.12 leaves it for other threads, until the one that asked first has read the rest.
HALF = """
import sysconfig, threading, time
sysconfig.get_config_vars()
whole, sysconfig._CONFIG_VARS = sysconfig._CONFIG_VARS, {"base": "/usr"}
if hasattr(sysconfig, "_CONFIG_VARS_INITIALIZED"):
    sysconfig._CONFIG_VARS_INITIALIZED = True

def rest():
    time.sleep(0.3)
    sysconfig._CONFIG_VARS = whole

threading.Thread(target=rest).start()
from testgrove.system.environment.uv import find_uv
print(find_uv())
"""


def test_uv_is_found_while_another_thread_has_sysconfig_start_up():
    done = subprocess.run([sys.executable, "-c", HALF], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("/uv")
