"""Missing parts of a failed command, by its output: a module, a plugin of pytest, a variable, a file."""

from __future__ import annotations

import re

from testgrove.core.lazy_pattern import lazy_pattern

_NO_MODULE = lazy_pattern(r"^(?!.*(?:could not import|\bSKIPPED\b)).*No module named '?([A-Za-z0-9_.]+)", re.MULTILINE)
_OPTION = lazy_pattern(r"unrecognized arguments:(.+)")
_SETTING = lazy_pattern(r"^ERROR: Unknown config option: (\w+)", re.MULTILINE)  # elsewhere it is a warning
_FIXTURE = lazy_pattern(r"fixture '(\w+)' not found")
_ASYNC = "async def functions are not natively supported"
_OPTIONS = {
    "-n": "pytest-xdist", "--numprocesses": "pytest-xdist", "--dist": "pytest-xdist", "--cov": "pytest-cov",
    "--no-cov": "pytest-cov", "--timeout": "pytest-timeout", "--reruns": "pytest-rerunfailures", "--asyncio-mode":
    "pytest-asyncio", "--ds": "pytest-django", "--reuse-db": "pytest-django", "--nomigrations": "pytest-django",
    "--no-migrations": "pytest-django", "--create-db": "pytest-django", "--benchmark": "pytest-benchmark",
    "--random-order": "pytest-random-order", "--randomly": "pytest-randomly", "--html": "pytest-html",
    "--mypy": "pytest-mypy", "--snapshot-update": "syrupy", "--mpl": "pytest-mpl", "--doctest-plus":
    "pytest-doctestplus", "--disable-socket": "pytest-socket", "--record-mode": "pytest-recording",
}  # fmt: skip
_SETTINGS = {
    "asyncio_mode": "pytest-asyncio", "asyncio_default_fixture_loop_scope": "pytest-asyncio", "timeout":
    "pytest-timeout", "env": "pytest-env", "env_files": "pytest-dotenv", "DJANGO_SETTINGS_MODULE": "pytest-django",
    "django_find_project": "pytest-django", "FAIL_INVALID_TEMPLATE_VARS": "pytest-django", "mock_use_standalone_module":
    "pytest-mock", "reruns": "pytest-rerunfailures", "doctest_plus": "pytest-doctestplus",
}  # fmt: skip
_FIXTURES = {
    "mocker": "pytest-mock", "benchmark": "pytest-benchmark", "requests_mock": "requests-mock", "httpx_mock":
    "pytest-httpx", "freezer": "pytest-freezer", "faker": "faker", "db": "pytest-django", "django_user_model":
    "pytest-django", "snapshot": "syrupy", "respx_mock": "respx", "httpserver": "pytest-httpserver",
    "aiohttp_client": "pytest-aiohttp", "subtests": "pytest-subtests", "cov": "pytest-cov", "qtbot": "pytest-qt",
    "anyio_backend": "anyio", "datadir": "pytest-datadir",
}  # fmt: skip
_KEY_ERROR = lazy_pattern(r"^(?:E\s+)?KeyError: '([A-Z][A-Z0-9_]+)'", re.MULTILINE)
_ENVIRONMENT = lazy_pattern(r"\b(?:environ|getenv)\b|\bos\.py\b|<frozen os>")
_VARIABLES = (
    lazy_pattern(r"Set the ([A-Z][A-Z0-9_]+) environment variable"),  # django-environ
    lazy_pattern(r"UndefinedValueError: ([A-Z][A-Z0-9_]+) not found"),  # python-decouple
    lazy_pattern(
        r"[Ee]nvironment variable [\"'`]([A-Z][A-Z0-9_]+)[\"'`] (?:is )?(?:not set|missing|required)"
    ),  # environs
)
_PYDANTIC = lazy_pattern(r"validation errors? for \w+\n(?:E\s+)?(\w+)\n(?:E\s+)?Field required")
_NO_FILE = lazy_pattern(r"No such file or directory: '([^'\n]+)'")
_EDITABLE = lazy_pattern(r"re-?building the \S+ (?:meson-python )?editable (?:wheel )?package failed", re.IGNORECASE)


def missing_module(output: str) -> str:
    """The module that was not found; empty where none is named, or a part of a package that was found."""
    found = _NO_MODULE.findall(output)
    module = str(found[-1]).rstrip(".") if found else ""
    return "" if "." in module else module


def missing_plugin(output: str) -> str:
    """The distribution with the plugin of pytest for which an option, a setting or a fixture is; empty for none."""
    if options := _OPTION.search(output):
        given = (word.partition("=")[0] for word in options[1].split() if word.startswith("-"))
        return next((plugin for word in given if (plugin := _of_option(word))), "")
    if setting := _SETTING.search(output):
        return _SETTINGS.get(setting[1], "")
    if fixture := _FIXTURE.search(output):
        return _FIXTURES.get(fixture[1], "")
    return "pytest-asyncio" if _ASYNC in output else ""


def _of_option(word: str) -> str:
    if re.fullmatch(r"-n(?:\d+|auto|logical)?", word):
        return _OPTIONS["-n"]
    families = (name for name in _OPTIONS if word == name or (name.startswith("--") and word.startswith(f"{name}-")))
    return next((_OPTIONS[name] for name in families), "")


def unset_variable(output: str) -> str:
    """The environment variable that is not set; empty where none is named."""
    for sign in _VARIABLES:
        if found := sign.search(output):
            return found[1]
    if found := _PYDANTIC.search(output):
        return found[1].upper()
    key = _KEY_ERROR.search(output)
    return key[1] if key and _ENVIRONMENT.search(output) else ""


def missing_file(output: str) -> str:
    """The path of a file that was not found; empty where none is named."""
    found = _NO_FILE.findall(output)
    return str(found[-1]) if found else ""


def builds_when_imported(output: str) -> bool:
    """Return whether an editable installation that is built when it is imported could not be built."""
    return bool(_EDITABLE.search(output))
