"""Choose a service's provider, by its host and its engine's isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testgrove.core.engines.registry import engine_of, implementation_of

if TYPE_CHECKING:
    from testgrove.core.settings.types import Service
    from testgrove.services.provider import Context, Provider


def provider_of(context: Context, name: str, service: Service) -> Provider:
    """Return the provider of a service. name: the service's. It looks for nothing before its first method is called."""
    engine, implementation = engine_of(service.engine), implementation_of(service.engine)
    if not service.is_embedded:
        from testgrove.core.server_url import parse_server_url  # noqa: PLC0415 - what one host needs, others do without
        from testgrove.services.hosts.external import ExternalProvider, SharedProvider  # noqa: PLC0415 - as above

        if service.is_shared:
            return SharedProvider(implementation, parse_server_url(engine.name, service.host), engine.default_database)
        return ExternalProvider(implementation, context, service)
    match engine.isolation:
        case "database":
            from testgrove.services.provisioning.servers import ServerProvider  # noqa: PLC0415 - as above

            return ServerProvider(implementation, context, name, service)
        case "instance":
            from testgrove.services.provisioning.instances import InstanceProvider  # noqa: PLC0415 - as above

            return InstanceProvider(implementation, context, name, service)
        case "file":
            from testgrove.services.provisioning.files import FileProvider  # noqa: PLC0415 - as above

            return FileProvider(implementation, context, name, service)
