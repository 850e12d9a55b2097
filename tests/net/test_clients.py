"""Proxies and certificates of the user's shell: used where they apply, else not looked at."""

import httpx
import pytest

from skillrl.errors import SkillRLError
from skillrl.net.clients import is_loopback, open_client, proxy_for
from skillrl.net.http import post_json
from tests.loopback import Server

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
LOCAL = ("http://localhost:8000/v1", "http://127.0.0.1:1", "http://[::1]:1/v1", "http://127.1.2.3")
BROKEN = {
    "ALL_PROXY": ("socks5://127.0.0.1:1080", "socks://127.0.0.1:1080", "http://[::1", "ftp://x"),
    "NO_PROXY": ("localhost,[::1]", "localhost,fe80::/10", "[", "a b,,*.c:x", "http://["),
    "SSL_CERT_FILE": ("/gone/cacert.pem",),
    "SSL_CERT_DIR": ("/gone",),
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in BROKEN for v in BROKEN[n]])
def test_no_setting_of_the_shell_matters_to_a_local_server(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    for url in LOCAL:
        open_client(url).close()
    with Server(lambda *_: {"ok": 1}) as server:
        assert post_json(server.url, {}, retries=0) == {"ok": 1}


def test_a_proxy_is_not_used_for_this_machine(monkeypatch):
    with Server(lambda *_: {"proxied": 1}) as proxy, Server(lambda *_: {"direct": 1}) as server:
        for name in ("http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert post_json(server.url, {}, retries=0) == {"direct": 1}
        assert post_json("http://elsewhere.example/x", {}, retries=0) == {"proxied": 1}
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        monkeypatch.setenv("NO_PROXY", "elsewhere.example")
        assert proxy_for("http://elsewhere.example/x") is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ALL_PROXY", "socks5://me:secret@127.0.0.1:1080", r"ALL_PROXY \(socks5.*httpx\[socks\]"),
        ("all_proxy", "socks://127.0.0.1:1080", r"all_proxy \(socks.*Write socks5://"),
        ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/gone/cacert.pem", "SSL_CERT_FILE is '/gone/cacert.pem'.*no such file"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE.*no certificates"),
        ("SSL_CERT_DIR", "/gone", "SSL_CERT_DIR is '/gone'.*no such directory"),
    ],
)
def test_what_applies_and_cannot_be_used_is_one_sentence(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    try:
        import socksio  # noqa: F401
    except ImportError:
        pass
    else:
        if value.startswith("socks5"):
            return  # then it can be used
    with pytest.raises(SkillRLError, match=says) as caught:
        open_client("https://api.example/v1")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "exempt"),
    [
        ("*", True), ("a.example", True), (".a.example", True), ("*.a.example", True),
        ("example", True), ("b.example", False), ("xa.example", False), ("a.example:8443", True),
        ("a.example:1", False), ("https://a.example", True), ("10.0.0.0/8", False),
        ("A.Example", True),
    ],
)  # fmt: skip
def test_names_in_no_proxy(monkeypatch, entry, exempt):
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", f"other, {entry}")
    found = proxy_for("https://a.example:8443/v1")
    assert found == (None if exempt else "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("url", "entry", "exempt"),
    [
        ("http://10.1.2.3", "10.0.0.0/8", True), ("http://11.1.2.3", "10.0.0.0/8", False),
        ("http://10.1.2.3:80", "10.1.2.3", True), ("http://10.1.2.3", "10.1.2.3:81", False),
        ("http://[fe80::1]:7", "fe80::/10", True), ("http://[fe80::1]:7", "[fe80::1]", True),
        ("http://[fe80::1]:7", "[fe80::1]:7", True), ("http://[fe80::1]:7", "[fe80::1]:8", False),
        ("http://[fd00::1]", "fe80::/10", False), ("http://10.1.2.3", "10.1.2.3/99", False),
    ],
)  # fmt: skip
def test_addresses_and_networks_in_no_proxy(monkeypatch, url, entry, exempt):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    monkeypatch.setenv("NO_PROXY", entry)
    assert (proxy_for(url) is None) is exempt


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://localhost", True), ("http://LOCALHOST.:1", True), ("http://a.localhost", True),
        ("http://[::ffff:127.0.0.1]", True), ("http://0.0.0.0:1", True), ("http://[::]:1", True),
        ("http://localhost.example", False), ("http://127.0.0.1.example", False),
        ("http://[", False),
    ],
)  # fmt: skip
def test_addresses_of_this_machine(url, answer):
    assert is_loopback(url) is answer


def test_half_an_address_is_refused_and_no_traceback(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example")
    for url in ("http://[half", "http://localhost:99999999", "http://[::1]x/v1", "http://a:b@/"):
        with pytest.raises(SkillRLError):
            post_json(url, {}, retries=0, timeout=1.0)


def test_a_connection_limit_is_one():
    with open_client("http://localhost", connections=3) as client:
        assert isinstance(client, httpx.Client)
