"""Asking a server whether it is ready."""

from __future__ import annotations

import socket


def why_no_connection(host: str, port: int, timeout: float) -> str:
    """Empty when the port accepts a connection, else the reason. timeout: seconds."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return _words(error)
    return ""


def why_no_answer(host: str, port: int, target: str, timeout: float) -> str:
    """Empty when GET answers with a status below 400, else the reason. timeout: seconds of silence."""
    import http.client  # noqa: PLC0415 - 20 ms that most commands need not spend

    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", target, headers={"User-Agent": "testgrove", "Connection": "close"})
        response = connection.getresponse()
    except OSError as error:
        return _words(error)
    except http.client.HTTPException as error:
        return f"no HTTP answer ({type(error).__name__})"
    finally:
        connection.close()
    return "" if response.status < 400 else f"GET {target} answered {response.status} {response.reason}".rstrip()


def _words(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
