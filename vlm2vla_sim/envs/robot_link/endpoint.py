"""Addresses of robot servers: IPv4, IPv6 and names, as people write them and as ZMQ takes them."""

from __future__ import annotations

import ipaddress
import socket

from vlm2vla_sim.errors import LinkLostError, SettingError

PROBE_SECONDS = 1.0
"""[s] for a name with several addresses to show at which of them somebody listens."""
LOCALHOST = ("127.0.0.1", "::1")
"""What "localhost" may mean, whatever this machine's table of hosts says."""


def read_address(host: str, port: int, *, default_port: int | None = None) -> tuple[str, int]:
    """Host and port, where `host` may be "robot", "127.0.0.1", "::1", "[::1]", "robot:5556" or "[::1]:5556".

    A port in `host` counts if `port` is the same or the `default_port`; SettingError for two different ports, and for
    an address that is none.
    """
    name, own = host.strip(), ""
    if name.startswith("["):
        name, bracket, own = name[1:].partition("]")
        if not bracket or (own and not own.startswith(":")) or not _is_ip(name):
            raise _no_address(host)
        own = own[1:] if own else ""
    elif name.count(":") == 1:
        name, _, own = name.partition(":")
        if not own:
            raise _no_address(host)
    elif ":" in name and not _is_ip(name):
        raise _no_address(host)
    if own:
        if not own.isdecimal():
            raise _no_address(host)
        if port not in (int(own), default_port):
            raise SettingError(f"Two ports were given: {own} in the host {host!r}, and {port}. Leave one out.")
        port = int(own)
    if not name or any(letter.isspace() or letter in "/@" for letter in name):
        raise _no_address(host)
    if not 0 < port < 65536:
        raise SettingError(f"The port is {port}; expected 1 to 65535.")
    return name, port


def show_address(host: str, port: int) -> str:
    """One text: "127.0.0.1:5556", "[::1]:5556"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port, is this machine by the name or the address of its loopback."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, IPv4 or IPv6, at least one; LinkLostError when its name is not known."""
    if host == "localhost":
        return [*LOCALHOST]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LinkLostError(
            f"The host {host!r} is not known ({error}). Check its name, or give its address."
        ) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def find_listener(host: str, port: int) -> str:
    """The first address of `host` at which somebody listens on `port`, else its first; a single one is not probed."""
    addresses = resolve(host, port)
    for address in addresses if len(addresses) > 1 else ():
        try:
            socket.create_connection((address, port), timeout=PROBE_SECONDS).close()
        except OSError:
            continue
        return address
    return addresses[0]


def zmq_address(host: str, port: int) -> str:
    """The address of a ZMQ socket, whose option IPV6 must be on for an IPv6 address."""
    return f"tcp://{show_address(find_listener(host, port), port)}"


def listen_host(host: str) -> str:
    """The loopback address for a server that listens on this machine only; SettingError for any other."""
    name, _ = read_address(host, 1)
    if not is_loopback(name):
        raise SettingError(f"The host to listen on is {host!r}; expected this machine alone: 127.0.0.1 or ::1.")
    return LOCALHOST[0] if name == "localhost" else name


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _no_address(host: str) -> SettingError:
    return SettingError(
        f"The host {host!r} is no name or address; expected such as robot, 127.0.0.1, ::1 or [::1]:5556."
    )
