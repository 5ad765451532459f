"""sttpd behind proxies that say by the PROXY protocol who their clients are."""

import ipaddress
import re
import socket
import struct
import sys

from harness import Server, StartFailure, connect, exchange, lines_of, read_line, receive_all, \
    run_tests, temporary_directory

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8080\r\n"
FLAGS = ("--proxy-protocol", "true", "--trusted-proxies", "127.0.0.1", "-v")


def address_bytes(text):
    return ipaddress.ip_address(text).packed


def v2(client, destination, ports=(40000, 8080), command=PROXY, fields=b""):
    """A header of version 2, as the specification has it."""
    client, destination = address_bytes(client), address_bytes(destination)
    family = 0x11 if len(client) == 4 else 0x21
    body = client + destination + struct.pack("!HH", *ports) + fields
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def connect_from(source, address):
    return socket.create_connection(address, 10, (source, 0))


def served(connection):
    connection.sendall(b"SHOW /a\n")
    return read_line(connection) == b"400 /a NOT FOUND\n"


def closed_unanswered(connection, data):
    """Whether no byte comes back. What was not read makes a reset of the end."""
    try:
        connection.sendall(data)
        return receive_all(connection) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


# -- what the log knows


def test_the_log_tells_client_and_proxy():
    with Server(*FLAGS) as server:
        with connect(server.address) as connection:
            own = "%s:%d" % connection.getsockname()
            connection.sendall(LINE)
            assert served(connection)
            server.wait_log(rf"connection 1 from 192\.0\.2\.1:40000 opened on \S+ by proxy {own}$")
        server.wait_log(r"connection 1 from 192\.0\.2\.1:40000 closed: closed by client, 1 requests")
        with connect(server.address) as connection:
            connection.sendall(v2("2001:db8::1", "2001:db8::2") + b"SHOW /a\n")
            assert read_line(connection) == b"400 /a NOT FOUND\n"
            server.wait_log(r"connection 2 from \[2001:db8::1\]:40000 opened on \S+ by proxy ")
        with connect(server.address) as connection:
            own = "%s:%d" % connection.getsockname()
            connection.sendall(v2("192.0.2.1", "192.0.2.2", command=LOCAL))
            assert served(connection)
            server.wait_log(rf"connection 3 from {own} opened on \S+$")


def test_headers_that_come_byte_by_byte():
    with Server(*FLAGS) as server:
        for header in LINE, v2("192.0.2.1", "192.0.2.2", fields=b"\x04\0\x10" + bytes(16)):
            request = header + b'CREATE /a "x"\nSHOW /a\nDELETE /a\n\n'
            assert exchange(server.address, request, half_close=False, chunk=1) == \
                b"100 /a CREATED\n200 /a OK\nx\n600 /a DELETED\n"


def test_a_proxy_that_looks_whether_the_server_is_there():
    with Server(*FLAGS) as server:
        connect(server.address).close()
        server.wait_log("debug a connection from .* ended before its PROXY header: closed by client")
        assert "warning" not in server.text()


# -- who is trusted


def test_others_are_closed():
    with Server(*FLAGS) as server:
        with connect_from("127.0.0.2", server.address) as connection:
            assert closed_unanswered(connection, LINE + b"CREATE /a x\n")
            server.wait_log(r"warning refused a connection from 127\.0\.0\.2:\d+ on \S+: "
                            r"not a trusted proxy \(1 refused")
        assert exchange(server.address, LINE + b"SHOW /a\n\n", half_close=False) == \
            b"400 /a NOT FOUND\n"


def test_headers_that_are_refused():
    for header, reason in (
            (b"SHOW /a\n", "the connection does not begin with one"),
            (b"PROXY TCP4 192.0.2.1\r\n", "its line is malformed"),
            (v2("192.0.2.1", "192.0.2.2", fields=b"\x03\0\x04abcd"), "its checksum is wrong"),
            (v2("192.0.2.1", "192.0.2.2", fields=b"\x01"), "its length is wrong"),
            (v2("192.0.2.1", "192.0.2.2", command=0x22), "its command is not known")):
        with Server(*FLAGS) as server:
            with connect(server.address) as connection:
                assert closed_unanswered(connection, header + b"CREATE /a x\n"), header
            server.wait_log(rf"warning refused a connection from 127\.0\.0\.1:\d+ on \S+: "
                            rf"PROXY header refused: {reason} \(1 refused")
            assert exchange(server.address, LINE + b"SHOW /a\n\n", half_close=False) == \
                b"400 /a NOT FOUND\n"


def test_a_header_has_its_time():
    with Server(*FLAGS, "--request-timeout", "300ms", "--idle-timeout", "1h") as server:
        with connect(server.address) as silent, connect(server.address) as partial, \
                connect(server.address) as good:
            good.sendall(LINE)
            partial.sendall(LINE[:20])
            assert silent.recv(1) == b""
            assert closed_unanswered(partial, b"")
            server.wait_log("refused a connection from .*: request timeout")
            assert served(good)


def test_elsewhere_it_is_no_request():
    with Server() as server:
        lines = lines_of(server, LINE.rstrip(b"\n"), b"SHOW /a")
        assert lines[0].startswith(b"300 TCP4 CLIENT ERROR") and \
            lines[1:] == [b"400 /a NOT FOUND"], lines
        with connect(server.address) as connection:
            connection.sendall(v2("192.0.2.1", "192.0.2.2"))
            assert receive_all(connection) == b"", "it begins with an empty line"


# -- limits and settings


def test_the_limit_is_of_the_clients_address():
    with Server(*FLAGS, "--max-connections-per-address", "2") as server:
        with connect(server.address) as first, connect(server.address) as second, \
                connect(server.address) as other, connect(server.address) as third:
            for connection in first, second:
                connection.sendall(LINE)
                assert served(connection)
            other.sendall(v2("192.0.2.2", "192.0.2.3"))
            assert served(other)
            assert closed_unanswered(third, LINE)
            server.wait_log(r"refused a connection from 192\.0\.2\.1:40000 on \S+: "
                            "too many connections")


def test_each_address_has_settings_of_its_own():
    with temporary_directory() as directory:
        config = (f'listen:\n  - "127.0.0.1:0"\n'
                  f'  - {{address: "127.0.0.1:0", proxy_protocol: true, '
                  f'trusted_proxies: ["::1", 127.0.0.0/8]}}\n'
                  f'  - address: "unix:{directory}/s"\n    proxy_protocol: true\n')
        with Server("-v", config=config, listen=[]) as server:
            plain, proxied, local = server.addresses
            assert exchange(plain, b"SHOW /a\n\n") == b"400 /a NOT FOUND\n"
            with connect_from("127.0.0.2", proxied) as connection:
                connection.sendall(LINE)
                assert served(connection)
            with connect(local) as connection:
                connection.sendall(LINE)
                assert served(connection)
                server.wait_log(r"from 192\.0\.2\.1:40000 opened on unix:\S+ by proxy unix$")


def test_settings_that_do_not_fit_together():
    for flags, part in (
            (("--proxy-protocol", "yes"), "nobody may connect to '127.0.0.1:0'"),
            (("--trusted-proxies", "::1"), "takes no header from them without proxy_protocol"),
            (("--proxy-protocol", "yes", "--trusted-proxies", "10.0.0.1/8"), "is not valid")):
        try:
            with Server(*flags):
                raise AssertionError(f"started with {flags}")
        except StartFailure as failure:
            assert failure.status == 2 and re.search(part, failure.stderr), failure


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
