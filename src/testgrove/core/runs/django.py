"""Advice on Django's settings, from a failure of Django's."""

from __future__ import annotations

from testgrove.core.lazy_pattern import lazy_pattern

_NOT_CONFIGURED = "DJANGO_SETTINGS_MODULE"
_MODULE = lazy_pattern(r"DJANGO_SETTINGS_MODULE[\"']?,\s*[\"']([\w.]+)[\"']")


def needs_settings(output: str) -> bool:
    """Return whether Django says that no settings are configured."""
    return _NOT_CONFIGURED in output and "settings are not configured" in output


def settings_module(manage: str) -> str:
    """The settings that a manage.py uses by default; empty where it names none."""
    found = _MODULE.search(manage)
    return found[1] if found else ""
