"""Find or fetch uv, with nothing but Python's standard library, and print its path.

uv on PATH is taken as it is; else the wheel is unpacked into .tools/ here. pip is not needed: some distributions
ship Python without it. The index is the one pip or uv are configured to use by environment variable.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin

MINIMUM = (0, 8)
HERE = Path(__file__).resolve().parent.parent / ".tools"
DEFAULT_INDEX = "https://pypi.org/simple"
# A wheel is chosen by the end of its name; musl first where there is no glibc to ask.
LIBC = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"


def usable(uv):
    """Whether this uv runs and is new enough."""
    try:
        text = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout
        return tuple(int(part) for part in text.split()[1].split(".")[:2]) >= MINIMUM
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        return False


class Links(HTMLParser):
    """The links of an index page in the form that every index has (PEP 503)."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        """Keep the address of a file that was not withdrawn."""
        values = dict(attrs)
        if tag == "a" and "href" in values and "data-yanked" not in values:
            self.found.append(values["href"])


def newest_wheel(index):
    """The address and the SHA-256 of the newest uv wheel for this machine."""
    page = index.rstrip("/") + "/uv/"
    with urllib.request.urlopen(page, timeout=60) as answer:
        links = Links()
        links.feed(answer.read().decode())
    fitting = {}
    for link in links.found:
        address, _, digest = urljoin(page, link).partition("#sha256=")
        name = address.rpartition("/")[2]
        version = name.split("-")[1] if name.startswith("uv-") else ""
        if name.endswith(f"_{platform.machine()}.whl") and LIBC in name and version.replace(".", "").isdigit():
            fitting[tuple(int(part) for part in version.split("."))] = (address, digest)
    if not fitting:
        sys.exit(f"bootstrap: {page} has no uv wheel for {platform.machine()} ({LIBC})")
    return fitting[max(fitting)]


def fetch(target):
    """Download uv's wheel and put the binary at target, whole or not at all."""
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or DEFAULT_INDEX
    index = index[index.index("http") :] if "http" in index else index  # uv's may begin with a name: "ours=https://…"
    print("bootstrap: fetching uv", file=sys.stderr)
    url, sha256 = newest_wheel(index)
    target.parent.mkdir(parents=True, exist_ok=True)
    wheel = target.with_name(f"uv-{os.getpid()}.whl")
    with urllib.request.urlopen(url, timeout=300) as answer, wheel.open("wb") as file:
        shutil.copyfileobj(answer, file)
    if sha256 and hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
        wheel.unlink()
        sys.exit("bootstrap: the downloaded uv is damaged; try again")
    fresh = target.with_name(f"uv-{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        fresh.write_bytes(archive.read(name))
    fresh.chmod(0o755)
    fresh.replace(target)
    wheel.unlink()


def main():
    """Print the path of a uv that works."""
    if sys.version_info < (3, 11):
        sys.exit(
            f"bootstrap: testgrove needs Python 3.11 or later, this is {platform.python_version()}; "
            "choose one: make PYTHON=python3.12"
        )
    found = shutil.which("uv")
    own = HERE / "uv"
    if found and usable(found):
        print(found)
        return
    if not usable(str(own)):
        try:
            fetch(own)
        except (OSError, ValueError, HTTPException) as error:  # no network, no such index, no address
            sys.exit(
                f"bootstrap: uv cannot be fetched: {error}\n(uv {MINIMUM[0]}.{MINIMUM[1]} or later on PATH would do)"
            )
    print(own)


if __name__ == "__main__":
    main()
