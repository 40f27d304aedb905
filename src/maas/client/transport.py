"""What both clients need of httpx: one configuration, one reading of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maas.client.address import Address
from maas.client.call import Call
from maas.client.errors import ApiError, ServerUnreachable, answer_error
from maas.core.errors import ErrorKind, MaasError, invalid

if TYPE_CHECKING:
    import httpx

UPLOAD_WAIT_S = 600.0
"""How long a server may take to store an upload after its last byte, or to take a block of it."""

EVENT_WAIT_S = 60.0
"""Silence of an event stream after which it is connected again."""


def settings(address: Address, timeout_s: float) -> dict[str, Any]:
    """Arguments of `httpx.Client` and `httpx.AsyncClient`.

    Raises:
        MaasError: INVALID_ARGUMENT for a time that is not above 0.
    """
    if not timeout_s > 0:
        raise invalid(f"timeout_s is {timeout_s}; expected seconds above 0")
    from maas import __version__

    headers = {"User-Agent": f"maas-client/{__version__}"}
    if address.key:
        headers["Authorization"] = f"Bearer {address.key}"
    # Without trust_env no proxy of the environment applies: a loopback server is reached directly.
    return {
        "base_url": address.url,
        "headers": headers,
        "timeout": timeout_s,
        "trust_env": not address.loopback,
    }


def arguments(call: Call[Any]) -> dict[str, Any]:
    """Arguments of `request` for a call."""
    headers = {} if call.body is None else {"Content-Type": call.content_type}
    return {
        "method": call.method,
        "url": call.path,
        "params": list(call.params) or None,
        "content": call.body,
        "headers": headers,
    }


def check(response: httpx.Response) -> httpx.Response:
    """Returns a 2xx answer whose body has been read.

    Raises:
        ApiError: any other.
    """
    if not response.is_success:
        raise answer_error(response.status_code, response.headers, response.content)
    return response


def listen_failed(error: Exception) -> str | None:
    """Judges an error of an event stream: why it was lost, or None where it only went silent.

    Raises:
        Exception: the error itself, where connecting again would not help.
    """
    import httpx

    if isinstance(error, httpx.ReadTimeout):
        return None
    if isinstance(error, httpx.HTTPError):
        return _reason(error)
    if isinstance(error, MaasError) and error.kind is ErrorKind.UNAVAILABLE:
        return error.message
    raise error


def explain(error: httpx.HTTPError, url: str, timeout_s: float) -> MaasError:
    """Says what an error of httpx means to the caller."""
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return ServerUnreachable(
            f"no server answers at {url} ({_reason(error)}); start one with 'maas serve', or name "
            "another with --url or MAAS_URL"
        )
    if isinstance(error, httpx.TimeoutException):
        return ApiError(
            ErrorKind.DEADLINE_EXCEEDED, f"{url} gave no answer within {timeout_s:g} s; try again"
        )
    if isinstance(error, httpx.ProxyError):
        return ServerUnreachable(f"the proxy to {url} refused: {_reason(error)}")
    return ServerUnreachable(f"the connection to {url} broke ({_reason(error)}); try again")


def _reason(error: Exception) -> str:
    """What the system said, without its number: `Connection refused`."""
    text = str(error).strip()
    if text.startswith("[Errno ") and "] " in text:
        text = text.partition("] ")[2]
    return text or type(error).__name__
