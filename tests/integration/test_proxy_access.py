"""Who may use the forward proxy, by the address of the client: that of the connection, or that of
the PROXY protocol's header where the peer is trusted. The script has a network of its own."""

import contextlib
import ipaddress
import socket
import struct
import sys

import own_network
from harness import IO_TIMEOUT, connect, receive_all, run_tests, temporary_directory
from own_network import Anywhere
from proxy_support import SIGNATURE, Proxy, forward

DENIED = b'CLIENT ERROR "destination not allowed"'
ALLOWED, OTHER = "10.1.2.3", "192.0.2.7"


def request_for(anywhere):
    return b"SHOW sttp://127.0.0.1:%d/a\n" % anywhere.port


def settings_for(anywhere, *clients, **listener):
    settings = forward(f"127.0.0.1:{anywhere.port}", clients=list(clients) or [ALLOWED])
    return {"listen": [{"address": "0.0.0.0:0", **listener}], **settings}


def version_1(source):
    kind = "TCP6" if ":" in source else "TCP4"
    local = "::1" if ":" in source else "127.0.0.1"
    return f"PROXY {kind} {source} {local} 1000 2000\r\n".encode()


def version_2(source, command=0x21):
    address = ipaddress.ip_address(source).packed
    family = 0x11 if len(address) == 4 else 0x21
    block = address + address + struct.pack("!HH", 1000, 2000)
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def ask(proxy, data, source=None):
    """All that comes, on a connection from `source`; b"" where it was closed at once."""
    with contextlib.closing(socket.socket()) as connection:
        connection.settimeout(IO_TIMEOUT)
        if source:
            connection.bind((source, 0))
        connection.connect(("127.0.0.1", proxy.port))
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)
        return b""


def is_served(answer):
    return answer == b"400 /a NOT FOUND\n"


def is_denied(answer):
    return answer.startswith(b"300 sttp://127.0.0.1:") and answer.endswith(DENIED + b"\n")


def test_clients_of_the_connection():
    with Anywhere() as anywhere, \
            Proxy(settings_for(anywhere, "10.1.0.0/16", "172.16.5.5")) as proxy:
        for source, judge in (("10.1.2.3", is_served), ("10.1.255.255", is_served),
                              ("172.16.5.5", is_served), ("10.2.0.1", is_denied),
                              ("172.16.5.6", is_denied), ("127.0.0.1", is_denied),
                              ("9.9.9.9", is_denied)):
            answer = ask(proxy, request_for(anywhere), source)
            assert judge(answer), (source, answer)


def test_loopback_alone_by_default():
    with Anywhere() as anywhere, \
            Proxy({"listen_address": "0.0.0.0", **forward(f"127.0.0.1:{anywhere.port}")}) as proxy:
        for source, judge in (("127.0.0.1", is_served), ("127.9.9.9", is_served),
                              ("10.1.2.3", is_denied), ("9.9.9.9", is_denied)):
            answer = ask(proxy, request_for(anywhere), source)
            assert judge(answer), (source, answer)


def test_clients_of_the_header():
    with Anywhere() as anywhere, \
            Proxy(settings_for(anywhere, proxy_protocol=True,
                               trusted_proxies=["127.0.0.1"])) as proxy:
        for header in (version_1, version_2):
            assert is_served(ask(proxy, header(ALLOWED) + request_for(anywhere)))
            assert is_served(ask(proxy, header(f"::ffff:{ALLOWED}") + request_for(anywhere)))
            for source in (OTHER, "10.1.2.4", "fd00::1"):
                answer = ask(proxy, header(source) + request_for(anywhere))
                assert is_denied(answer), (source, answer)
        # Of the proxy itself: its own address counts.
        assert is_denied(ask(proxy, version_2(ALLOWED, 0x20) + request_for(anywhere)))


def test_who_is_not_trusted_is_closed():
    with Anywhere() as anywhere, \
            Proxy(settings_for(anywhere, ALLOWED, proxy_protocol=True,
                               trusted_proxies=["127.0.0.1"])) as proxy:
        for header in (b"", version_1(ALLOWED), version_2(ALLOWED)):
            assert ask(proxy, header + request_for(anywhere), ALLOWED) == b"", header
        assert not anywhere.came


def test_a_trusted_peer_without_a_header_is_closed():
    with Anywhere() as anywhere, \
            Proxy({"request_timeout": "300ms",
                   **settings_for(anywhere, "0.0.0.0/0", proxy_protocol=True,
                                  trusted_proxies=["127.0.0.1"])}) as proxy:
        assert b"400 " not in ask(proxy, request_for(anywhere))
        with connect(("127.0.0.1", proxy.port)) as connection:
            connection.sendall(version_2(ALLOWED)[:20])  # and no more: it has its time
            with contextlib.suppress(ConnectionError):
                assert b"400 " not in receive_all(connection)
        assert not anywhere.came


def test_a_claim_of_loopback_from_elsewhere_is_refused():
    """What is allowed for this machine alone is not for who says to be it."""
    with Anywhere() as anywhere, \
            Proxy(settings_for(anywhere, "127.0.0.0/8", "::1", proxy_protocol=True,
                               trusted_proxies=["0.0.0.0/0"])) as proxy:
        for header in (version_1, version_2):
            for claim in ("127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1"):
                assert ask(proxy, header(claim) + request_for(anywhere), OTHER) == b"", claim
            assert is_served(ask(proxy, header("127.0.0.1") + request_for(anywhere)))
        assert set(anywhere.came) == {"127.0.0.1"}


def test_a_header_where_none_is_expected():
    """An ordinary request that is none."""
    with Anywhere() as anywhere, \
            Proxy(settings_for(anywhere, "10.1.2.3")) as proxy:
        answer = ask(proxy, version_1(ALLOWED) + request_for(anywhere))
        assert answer.startswith(b"300 ") and answer.count(b"300 ") == 2, answer
        assert not anywhere.came


def test_a_unix_socket_is_for_who_may_open_it():
    with temporary_directory() as directory, Anywhere() as anywhere, \
            Proxy({"listen": [f"unix:{directory}/socket"],
                   **forward(f"127.0.0.1:{anywhere.port}", clients=[ALLOWED])}) as proxy:
        assert is_served(proxy.exchange(request_for(anywhere)))


if __name__ == "__main__":
    own_network.enter()
    sys.exit(run_tests(globals()))
