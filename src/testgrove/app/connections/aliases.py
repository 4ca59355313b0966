"""The IP addresses that the names of hosts have led to: some names lead to another one each time they are resolved."""

from __future__ import annotations

from testgrove.system.connections import addresses_of


class Aliases:
    """The facts collected since an attempt began; all are kept until the attempt ends."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def learn(self, host: str, address: str) -> None:
        """A driver that was told a host's name connected to this IP address."""
        self._known.setdefault(host, set()).add(address)

    def of(self, host: str) -> set[str]:
        """All IP addresses of a host that have been seen, those of now among them."""
        self._known[host] = self._known.get(host, set()) | addresses_of(host)
        return self._known[host]
