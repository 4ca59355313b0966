"""Fingerprints of templates: equal fingerprints mean equal databases."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LAYOUT = b"testgrove template 1"  # to be raised when what we do to a template changes


def template_fingerprint(
    *,
    engine: str,
    encoding: str,
    locale: str,
    extensions: Iterable[str],
    settings: Mapping[str, str],
    migrate: str,
    tool: str,
    env: Mapping[str, str],
    inputs: Iterable[tuple[str, bytes]],
) -> str:
    """32 hex digits over everything that can change what a migration makes.

    engine: name, full version and build of the server. tool: the fingerprint of the environment that the
    migration runs in (so another version of the migration tool counts). env: the variables that the project gives
    it, as they are configured. inputs: path and content of each file, in order.
    """
    digest = hashlib.blake2b(_LAYOUT, digest_size=16)

    def add(*parts: str | bytes) -> None:
        # Lengths go first: without them ("ab", "c") and ("a", "bc") would be the same.
        for part in parts:
            data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8))
            digest.update(data)

    def group(name: str, items: Iterable[tuple[str | bytes, ...]]) -> None:
        add(name)
        for item in items:
            add("+", *item)
        add(".")

    add(engine, encoding, locale, migrate, tool)
    group("extensions", ((name,) for name in sorted(set(extensions))))
    group("settings", sorted(settings.items()))
    group("env", sorted(env.items()))
    group("inputs", inputs)
    return digest.hexdigest()
