"""An engine of another distribution: its entry point of the group ``testgrove.engines`` names an Engine.

The suite that every engine passes is in testgrove.testing.
"""

from testgrove.core.engines.declaration import Clients, Engine, Fixture, Hints
from testgrove.core.model import DatabaseAccess
from testgrove.core.secret import Secret
from testgrove.core.settings.types import Service
from testgrove.errors import PreconditionError, UnavailableError
from testgrove.services.base import Launcher
from testgrove.services.instances import InstanceEngine, client

__all__ = [
    "Clients",
    "DatabaseAccess",
    "Engine",
    "Fixture",
    "Hints",
    "InstanceEngine",
    "Launcher",
    "PreconditionError",
    "Secret",
    "Service",
    "UnavailableError",
    "client",
]
