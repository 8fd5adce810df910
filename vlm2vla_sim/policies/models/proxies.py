"""Which proxy a request goes through, by the settings of this machine: http_proxy, https_proxy, all_proxy, no_proxy.

HTTP and websocket clients share these rules, so that a server is reached in the same way by each of them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import urllib.parse
import urllib.request  # only to read the machine's proxy settings

PROXY_VARIABLES = {
    "http": ("http", "all"),
    "https": ("https", "all"),
    "ws": ("ws", "socks", "https", "http", "all"),
    "wss": ("wss", "socks", "https", "all"),
}
"""URL scheme -> the proxy settings that apply to it, by priority: "http" is the environment variable http_proxy."""
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine under an address that other machines cannot reach.

    >>> [is_loopback(host) for host in ("localhost", "127.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "10.0.0.1")]
    [True, True, True, True, False, False]
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def find_proxy(url: str) -> str:
    """The proxy that this machine's settings name for `url`; empty for none.

    An address of this machine never has one, whatever the settings say: a proxy cannot reach it.
    """
    split = urllib.parse.urlsplit(url)
    host, port = split.hostname or "", split.port or PORTS.get(split.scheme, 0)
    address = _address(host)
    if is_loopback(host) or (address is not None and address.is_unspecified):
        return ""
    settings = urllib.request.getproxies()
    if urllib.request.proxy_bypass(host) or _is_exempt(host, port, settings.get("no", "")):
        return ""
    for name in PROXY_VARIABLES.get(split.scheme, ()):
        if proxy := settings.get(name):
            return proxy if "://" in proxy else f"http://{proxy}"
    return ""


def without_password(url: str) -> str:
    """An address as it may be printed.

    >>> without_password("http://me:secret@proxy:3128")
    'http://proxy:3128'
    """
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` lists `host` in a form that `urllib` does not know: with a port, as a network, as IPv6."""
    address = _address(host)
    for entry in (listed.strip().lower() for listed in no_proxy.split(",")):
        name, _, wanted = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "")
        name = name.strip("[]").removeprefix("*")
        if not name or (wanted and wanted != str(port)):
            continue
        if address is not None:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(name, strict=False):
                    return True
        elif host == name.removeprefix(".") or host.endswith(f".{name.removeprefix('.')}"):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` spells, in any form that connecting accepts ("127.1"); None for a name."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return getattr(address, "ipv4_mapped", None) or address
    with contextlib.suppress(OSError, UnicodeError):
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None
