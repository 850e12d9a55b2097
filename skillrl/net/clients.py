"""Makes HTTP clients: proxies and certificates of the shell where they apply, else none.

httpx reads every proxy and certificate variable when a client is made, whatever it is for, and
ends in a traceback where one is not to its liking. Here they are looked at for one address: a
server on this machine needs none of them, and one that is needed and cannot be used is named.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from skillrl.errors import SkillRLError

_SOCKS = ("socks5", "socks5h")


def open_client(url: str, *, connections: int | None = 100) -> httpx.Client:
    """Opens a client for the server at `url` alone.

    Args:
      url: its address, or any below it.
      connections: most at once; None sets no limit.

    Raises:
      SkillRLError: `url` is no usable address, or a proxy or certificate variable that applies
        to it cannot be used.
    """
    kept = min(256, connections or 256)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=kept)
    proxy = proxy_for(url)
    secure = url.lower().startswith("https:") or (proxy or "").startswith("https:")
    verify = certificates() if secure else False  # reading certificates takes time
    try:
        return httpx.Client(limits=limits, trust_env=False, verify=verify, proxy=proxy)
    except ImportError:
        raise SkillRLError(
            f"{_named(proxy)} is a SOCKS proxy, and what speaks to one is not installed: pip "
            f"install 'httpx[socks]', or add {host_of(url)} to NO_PROXY if it needs none."
        ) from None
    except (httpx.InvalidURL, ValueError) as error:
        raise SkillRLError(
            f"{_named(proxy)} is not an address of a proxy ({error}): correct or unset it."
        ) from None


def proxy_for(url: str) -> str | None:
    """Finds the proxy for `url` in ``HTTPS_PROXY`` and its like, or None; ``NO_PROXY`` as in curl.

    This machine's own addresses never go through one.

    Raises:
      SkillRLError: a proxy applies, and is of a kind that nobody speaks.
    """
    if is_loopback(url):
        return None
    known = getproxies()
    proxy = known.get(url.partition(":")[0].lower()) or known.get("all")
    if not proxy or _exempt(url, known.get("no", "")):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme, rest = proxy.split("://", 1)
    if scheme.lower() not in ("http", "https", *_SOCKS):
        raise SkillRLError(
            f"{_named(proxy)}: proxies are http, https, socks5 or socks5h, not {scheme!r}. Write "
            f"socks5:// if it is such a one, or add {host_of(url)} to NO_PROXY if it needs none."
        )
    return f"{scheme.lower()}://{rest}"


def is_loopback(url: str) -> bool:
    """Tells whether `url` is an address of this machine alone."""
    host = host_of(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped is not None and (mapped.is_loopback or mapped.is_unspecified)


def certificates() -> ssl.SSLContext:
    """Loads certificates from ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, else those of httpx.

    Raises:
      SkillRLError: the variable names nothing readable.
    """
    for name, test in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        path = os.environ.get(name)
        if not path:
            continue
        try:
            if not test(path):
                raise OSError("there is no such " + ("file" if "FILE" in name else "directory"))
            if name == "SSL_CERT_FILE":
                return ssl.create_default_context(cafile=path)
            return ssl.create_default_context(capath=path)
        except (OSError, ssl.SSLError) as error:
            raise SkillRLError(
                f"{name} is {path!r}, from which no certificates can be read ({error}): correct or "
                "unset it."
            ) from None
    return httpx.create_ssl_context(trust_env=False)


def _exempt(url: str, listed: str) -> bool:
    """Tells whether ``NO_PROXY`` has the host: by name, parent domain, address, network or port."""
    host = host_of(url)
    address = _address(host)
    try:
        port = urlsplit(url).port or (443 if url.lower().startswith("https:") else 80)
    except ValueError:
        return False  # no usable address, as the request will say
    for entry in listed.replace(",", " ").split():
        name = entry.lower().rpartition("://")[2]
        if name == "*":
            return True
        try:
            if address is not None and address in ipaddress.ip_network(name.strip("[]"), False):
                return True
        except ValueError:
            pass  # not a network, so a name or an address with a port
        bare, colon, number = name.rpartition(":")
        if colon and number.isdecimal() and (":" not in bare or bare.endswith("]")):
            if int(number) != port:
                continue
            name = bare
        name = name.strip("[]").removeprefix("*").lstrip(".").rstrip(".")
        if name and (host == name or host.endswith(f".{name}")):
            return True
    return False


def host_of(url: str) -> str:
    """Finds the host of an address, in small letters; "" where none can be read."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # half a bracket: the request will say so
        return ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _named(proxy: str | None) -> str:
    """Names the variable that holds a proxy, and the proxy without its password."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    bare = (proxy or "").partition("://")[2]
    held = [n for n in (*names, *map(str.upper, names)) if bare in os.environ.get(n, "") and bare]
    shown = (proxy or "").partition("://")[0] + "://" + bare.rpartition("@")[2]
    return f"{held[0] if held else 'the proxy of this system'} ({shown})"
