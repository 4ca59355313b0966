"""The store: one SQLite database for the user, with all projects. The store's SQL is only in this package."""

from testgrove.system.store.database import Row
from testgrove.system.store.leases import StoredLeases
from testgrove.system.store.store import Store

__all__ = ["Row", "Store", "StoredLeases"]
