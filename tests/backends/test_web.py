"""Addresses from answers: checked after DNS and after every redirect, and connected to as they were checked."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from arena.backends import web
from arena.errors import GenerationError
from tests.backends.conftest import ImageServer, png


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True), ("8.8.8.8", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::1", False), ("fe80::1%eth0", False), ("fc00::1", False), ("ff02::1", False), ("::", False),
        ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", True), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
        ("2001:0:1::1", False), ("not an address", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert web.is_public(address) is public


def resolves(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Every name has these addresses, one answer after the other, the last one for ever. Returns the names asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name.endswith(".test"):
            asked.append(name)
            host = answers[min(len(asked), len(answers)) - 1]
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def get(server: ImageServer, path: str, *, private: bool, host: str = "images.test") -> bytes:
    port = server.host.partition(":")[2]
    with web.fetching_client(web.Limits(connect_s=2), 2, private) as browser:
        return web.fetched(browser, f"http://{host}:{port}{path}")


def test_a_name_that_leads_inside_is_refused_and_never_connected_to(server, monkeypatch) -> None:
    resolves(monkeypatch, "127.0.0.1")
    with pytest.raises(GenerationError, match=r"'images.test' leads to 127.0.0.1, which is not a public address"):
        get(server, "/x.png", private=False)
    assert server.asked == []


def test_a_second_dns_answer_is_never_asked_for(server, monkeypatch) -> None:
    """Rebinding: the check sees a public address, a later look-up would see this machine."""
    asked = resolves(monkeypatch, "192.0.0.9", "127.0.0.1")  # 192.0.0.9 (RFC 7450) is global, and nobody is there
    server.pages["/x.png"] = (200, {}, png())
    with pytest.raises(GenerationError, match="cannot be fetched"):
        get(server, "/x.png", private=False)
    assert asked == ["images.test"] and server.asked == []


def test_redirects_are_checked_one_by_one(server, monkeypatch) -> None:
    port = server.host.partition(":")[2]
    checked: list[str] = []
    real = web.checked_address

    def first_is_public(host: str, port: int, allow_private: bool) -> str:
        checked.append(host)
        return real(host, port, allow_private or host == "images.test")

    monkeypatch.setattr(web, "checked_address", first_is_public)
    resolves(monkeypatch, "127.0.0.1")
    server.pages["/x.png"] = (302, {"location": f"http://inside.test:{port}/secret"}, b"")
    server.pages["/secret"] = (200, {}, png())
    with pytest.raises(GenerationError, match=r"'inside.test' leads to 127.0.0.1"):
        get(server, "/x.png", private=False)
    assert checked == ["images.test", "inside.test"] and [path for path, _, _ in server.asked] == ["/x.png"]


def test_redirects_are_followed_where_allowed_relative_ones_too_and_not_for_ever(server, monkeypatch) -> None:
    resolves(monkeypatch, "127.0.0.1")
    server.pages["/a"] = (302, {"location": "/b"}, b"")
    server.pages["/b"] = (200, {}, b"picture")
    assert get(server, "/a", private=True) == b"picture"
    assert all(headers["host"].startswith("images.test:") for _, headers, _ in server.asked)
    server.pages["/b"] = (302, {"location": "/a"}, b"")
    with pytest.raises(GenerationError, match=r"cannot be fetched \(Exceeded"):
        get(server, "/a", private=True)


def test_an_address_that_answers_otherwise_is_said(server) -> None:
    with pytest.raises(GenerationError, match="answers HTTP 404"):
        get(server, "/none", private=True, host="127.0.0.1")
