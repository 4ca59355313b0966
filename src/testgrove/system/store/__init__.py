"""The store: one SQLite database for the user, all projects in it. SQL stands in this package only."""

from testgrove.system.store.database import Row, Store, StoredLeases

__all__ = ["Row", "Store", "StoredLeases"]
