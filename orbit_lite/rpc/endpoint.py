"""Addresses of servers: text that a person writes, turned into where to dial and whether to use TLS.

Plain HTTP/2 is spoken with prior knowledge (RFC 9113 §3.3), never by Upgrade. As in Orbit-RS, `grpc://` means `http://`,
and a URL without a port means port 80 or 443.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from orbit_lite.errors import ParseError, quote

__all__ = ["Endpoint"]

_SCHEMES = {"http": False, "grpc": False, "https": True, "grpcs": True}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?(.*)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_EXAMPLE = "write http://HOST:PORT, https://HOST:PORT or unix:/PATH"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: host and port, or the path of a Unix socket.

    Equal endpoints are the same address however they were written, so an Endpoint (or its `url`) is a key.
    """

    host: str | None
    port: int | None
    path: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `http://`, `https://`, `grpc://`, `grpcs://` URLs, `unix:PATH` and bare `HOST:PORT`; IPv6 in brackets.

        Raises ParseError, whose message says what is wrong and what to write.
        """
        if not text or text != text.strip() or any(not char.isprintable() for char in text):
            raise _error(text, "is empty or holds blanks or control characters")
        match = _SCHEME.fullmatch(text)
        if match is not None and match[1].lower() == "unix":
            return cls._unix(text, match[3], authority=bool(match[2]))
        if match is not None and match[2]:
            scheme = match[1].lower()
            if scheme not in _SCHEMES:
                raise _error(text, f"has an unknown scheme {match[1]!r}")
            tls = _SCHEMES[scheme]
            host, port = _authority(text, match[3].removesuffix("/"))
            return cls(host, port if port is not None else (443 if tls else 80), tls=tls)
        host, port = _authority(text, text)
        if port is None:
            raise ParseError(f"endpoint {quote(text)!r} has no port; write HOST:PORT, or http://HOST for port 80")
        return cls(host, port)

    @classmethod
    def _unix(cls, text: str, rest: str, *, authority: bool) -> Endpoint:
        # unix:///absolute and unix:/absolute, unix:relative (grpc/doc/naming.md).
        if not rest or rest.endswith("/") or (authority and not rest.startswith("/")):
            raise _error(text, "names no socket")
        return cls(None, None, path=rest)

    @property
    def url(self) -> str:
        """Canonical text form."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """What the :authority pseudo-header says; Unix sockets have no name but their own."""
        if self.host is None:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.url


def _error(text: str, problem: str) -> ParseError:
    return ParseError(f"endpoint {quote(text)!r} {problem}; {_EXAMPLE}")


def _authority(text: str, authority: str) -> tuple[str, int | None]:
    if any(char in authority for char in "/?#"):
        raise _error(text, "has a path, query or fragment, which gRPC has no use for")
    if "@" in authority:
        raise _error(text, "has a user name, which gRPC has no use for")
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _error(text, "has brackets that do not enclose an IPv6 address")
        return _ipv6(text, literal), _port(text, rest[1:]) if rest else None
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise ParseError(f"endpoint {quote(text)!r}: write an IPv6 address in brackets, as in http://[::1]:50051")
    return _host(text, host), _port(text, port) if colon else None


def _ipv6(text: str, literal: str) -> str:
    address, percent, zone = literal.partition("%")
    try:
        return str(ipaddress.IPv6Address(address)) + percent + zone
    except ValueError as error:
        raise _error(text, "has brackets that do not enclose an IPv6 address") from error


def _host(text: str, host: str) -> str:
    if not host:
        raise _error(text, "has no host")
    try:
        ascii_host = host.lower() if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise _error(text, f"has a host that is no name: {error}") from error
    if len(ascii_host) > 253 or not _HOST.fullmatch(ascii_host):
        raise _error(text, f"has a host that is no name: {quote(host)!r}")
    return ascii_host


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ParseError(f"endpoint {quote(text)!r}: port {quote(port)!r} must be a number from 1 to 65535")
    return int(port)
