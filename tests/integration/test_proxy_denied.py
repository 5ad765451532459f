"""Where a forward proxy does not go. The script has a network of its own in which every address
leads here: had the proxy connected anywhere, it would have been seen."""

import re
import sys

import own_network
from harness import Server, run_tests, temporary_directory, wait_until
from own_network import Anywhere
from proxy_support import Proxy, Watched, chain, forward, reverse, through

DENIED = b'CLIENT ERROR "destination not allowed"'
NO_CHECKS = {"health": {"interval": "off"}}
GLOBAL, GLOBAL6 = "9.9.9.9", "2620:fe::9"

# All of them are denied where only names and other addresses are allowed.
NOT_GLOBAL = """
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255
    192.168.0.1 169.254.169.254 100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 198.51.100.1
    203.0.113.1 198.18.0.1 198.19.255.255 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    192.88.99.1
    :: ::1 fe80::1 febf::1 fec0::1 fc00::1 fdff::1 ff02::1 ff0e::1 100::1 2001:db8::1 2001:2::1
    ::127.0.0.1 ::10.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:0
    ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::c0a8:1 64:ff9b:1::1
    2002:7f00:1:: 2002:a00:1::1 2002:c0a8:1::1 2001:0:7f00:1::1 2001::1 2001:10::1 4000::1
""".split()

# Other ways to write 127.0.0.1, as getaddrinfo and inet_aton read them.
ODD = """
    2130706433 0x7f000001 0x7F000001 017700000001 127.1 127.0.1 0x7f.1 0x7f.0.0.1 0177.0.0.1
    0177.1 127.0.0.01 127.000.000.001 00000177.0.0.1 127.0.0.1. 2130706433. 0x7f.0x0.0x0.0x1
    127.0.0.1.. 4294967296 127.0.0.256 0 1 0x7f000001.
""".split()

PRIVATE_NAMES = {
    "loopback.example.org": ["127.0.0.1"],
    "loopback6.example.org": ["::1"],
    "both.example.org": ["127.0.0.1", "::1"],
    "private.example.org": ["10.0.0.1", "192.168.1.1"],
    "link.example.org": ["169.254.169.254"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "nat64.example.org": ["64:ff9b::7f00:1"],
    "sixtofour.example.org": ["2002:7f00:1::1"],
    "unspecified.example.org": ["0.0.0.0"],
    "unspecified6.example.org": ["::"],
    "unique.example.org": ["fd00::1"],
}


def host_of(address):
    return f"[{address}]" if ":" in address else address


def with_port(host, port):
    """As it is, where it has a port."""
    return host if re.search(r"^[^:]*:\d+$|\]:\d+$", host) else f"{host}:{port}"


def answers(proxy, targets):
    """One answer each, in their order."""
    lines = proxy.exchange(b"".join(b"SHOW %s\n" % target for target in targets)).split(b"\n")
    assert len(lines) == len(targets) + 1 and lines[-1] == b"", lines
    return lines[:-1]


def is_refused(target, answer):
    """Maybe for another reason."""
    return answer.startswith(b"300 %s CLIENT ERROR " % target)


def is_denied(target, answer):
    return answer == b"300 %s %s" % (target, DENIED)


def check_denied(allow, hosts, judge=is_denied, **more):
    """Each of the hosts, on the port that the rules name in place of PORT, and nobody comes."""
    with Anywhere() as anywhere:
        rules = [rule.replace("PORT", str(anywhere.port)) for rule in allow]
        with Watched(forward(*rules, **more)) as proxy:
            targets = [b"sttp://%s/a" % with_port(host, anywhere.port).encode()
                       for host in hosts]
            for target, answer in zip(targets, answers(proxy, targets)):
                assert judge(target, answer), (target, answer)
            proxy.stop()
        assert not anywhere.came, anywhere.came
        assert not proxy.connects, proxy.connects


def check_allowed(allow, hosts, reached=None):
    """The first host of the rules' port is reached, at one of these addresses."""
    with Anywhere() as anywhere:
        rules = [rule.replace("PORT", str(anywhere.port)) for rule in allow]
        with Watched(forward(*rules)) as proxy:
            targets = [b"sttp://%s:%d/a" % (host.encode(), anywhere.port) for host in hosts]
            for target, answer in zip(targets, answers(proxy, targets)):
                assert answer == b"400 /a NOT FOUND", (target, answer)
            proxy.stop()
        connected = {host.removeprefix("::ffff:") for host, _ in proxy.connects}
        assert anywhere.came and set(anywhere.came) | connected <= set(reached or hosts), \
            (anywhere.came, connected)


def test_nothing_is_allowed_by_default():
    hosts = [GLOBAL, host_of(GLOBAL6), "127.0.0.1", "[::1]", "localhost", "example.org"]
    with own_network.Names({"example.org": [GLOBAL]}):
        check_denied([], hosts)


def test_a_proxy_that_is_no_forward_proxy_takes_no_url():
    with Anywhere() as anywhere, Watched(reverse(("127.0.0.1", 1), **NO_CHECKS)) as proxy:
        got = proxy.exchange(through(("127.0.0.1", anywhere.port), b"SHOW /a\n"))
        assert got.startswith(b"300 sttp://127.0.0.1:%d/a CLIENT ERROR " % anywhere.port), got
        proxy.stop()
    assert not anywhere.came and not proxy.connects


def test_addresses_that_are_not_global_need_an_entry():
    check_denied(["*.example.org:*", "example.org:PORT", f"{GLOBAL}:PORT"],
                 map(host_of, NOT_GLOBAL))


def test_global_addresses_need_an_entry_too():
    check_denied(["*.example.org:*", "9.9.9.8:PORT", "9.9.8.0/24:*", "[2620:fe::]/127:PORT"],
                 [GLOBAL, host_of(GLOBAL6), "1.1.1.1"])


def test_numbers_that_look_like_none():
    """They are denied, or no hosts at all, whatever the rules have."""
    check_denied(["*:*", "127.0.0.0/8:*", "0.0.0.0/0:PORT"], ODD, is_refused)


def test_names_of_addresses_that_are_not_global():
    with own_network.Names(PRIVATE_NAMES):
        check_denied(["*.example.org:PORT"], PRIVATE_NAMES)


def test_names_of_the_hosts_file():
    with own_network.hosts("127.0.0.1 here.example.org", "::1 here6.example.org",
                           "10.1.2.3 far.example.org"):
        check_denied(["*.example.org:PORT"], ["here.example.org", "here6.example.org",
                                              "far.example.org", "HERE.Example.ORG"])


def test_other_names_and_ports():
    names = {name: [GLOBAL] for name in ("example.org", "a.example.org", "b.example.com",
                                         "badexample.org", "org", "a.example")}
    with own_network.Names(names):
        check_denied(["*.example.org:PORT", "b.example.com:1"],
                     ["example.org", "b.example.com", "badexample.org", "org", "a.example",
                      "a.example.org:1", "a.example.org:65535", "localhost", "a.example.org"
                      ".example.com"])


def test_an_address_of_one_port():
    check_denied(["127.0.0.1:PORT", "[::1]:PORT"],
                 ["127.0.0.1:1", "[::1]:1", "127.0.0.2", "[::2]", "127.0.0.1:80"])


def test_with_a_parent_names_and_ports_are_checked_here():
    with Anywhere() as anywhere:
        with own_network.Names({"example.org": [GLOBAL]}):
            check_denied(["example.org:PORT"], ["example.org:1", "other.example.org", "127.0.0.1",
                                                GLOBAL, "[::ffff:127.0.0.1]"],
                         parent=f"sttp://127.0.0.1:{anywhere.port}")
        assert not anywhere.came


def test_with_a_parent_addresses_are_checked_there():
    with Anywhere() as anywhere, own_network.Names(PRIVATE_NAMES), \
            chain(2, forward("*.example.org:*"), "*.example.org:*") as proxies:
        for name in PRIVATE_NAMES:
            target = b"sttp://%s:%d/a" % (name.encode(), anywhere.port)
            assert is_denied(target, answers(proxies[0], [target])[0]), name
        assert not anywhere.came


def test_what_is_no_target():
    """They have reasons of their own, and nobody comes."""
    with temporary_directory() as directory, Anywhere() as anywhere, \
            Server(listen=["--listen", f"unix:{directory}/socket"]) as server:
        with Watched(forward("0.0.0.0/0:*", "[::]/0:*", "*.example.org:*")) as proxy:
            where = b"127.0.0.1:%d" % anywhere.port
            for target in (b"sttp+unix:%s:/a" % str(server.address).encode(),
                           b"sttp://user@%s/a" % where, b"sttp://a:b@%s/a" % where,
                           b"sttp://%s" % where, b"sttp:///a", b"sttp://%s@9.9.9.9/a" % where,
                           b"sttp://[fe80::1%25lo]:1/a", b"sttp://[::1/a", b"sttp://127.0.0.1:0/a",
                           b"sttp://127.0.0.1:65536/a", b"http://%s/a" % where, b"//%s/a" % where,
                           b"sttp:/%s/a" % where, b"sttp://%31%32%37.0.0.1/a",
                           b"unix:%s" % str(server.address).encode()):
                answer = answers(proxy, [target])[0]
                assert answer.startswith(b"300 "), (target, answer)
            proxy.stop()
        assert not anywhere.came and not proxy.connects, (anywhere.came, proxy.connects)


def test_the_log_has_the_reason_and_the_client_has_not():
    with own_network.Names(PRIVATE_NAMES), Proxy(forward("*.example.org:*")) as proxy:
        target = b"sttp://private.example.org:8080/a"
        assert is_denied(target, answers(proxy, [target])[0])
        line = proxy.wait_log(r"private\.example\.org")
        assert "10.0.0.1" in line or "192.168.1.1" in line, line


# -- what is allowed, by the same means


def test_a_name_of_a_global_address():
    with own_network.Names({"a.example.org": [GLOBAL], "x.y.example.org": [GLOBAL6],
                            "host.example.com": [GLOBAL]}):
        check_allowed(["*.example.org:PORT", "host.example.com:*"],
                      ["a.example.org", "A.EXAMPLE.org", "x.y.example.org", "host.example.com"],
                      [GLOBAL, GLOBAL6])


def test_only_the_addresses_that_were_checked_are_connected_to():
    """One of a name's addresses is global: that one, and no other."""
    with own_network.Names({"a.example.org": ["127.0.0.1", "10.0.0.1", GLOBAL, "::1"]}):
        check_allowed(["*.example.org:PORT"], ["a.example.org"] * 8, [GLOBAL])


def test_an_entry_by_address():
    check_allowed(["127.0.0.1:PORT", "10.0.0.0/8:*", "[fd00::]/8:PORT", "[::1]:PORT"],
                  ["127.0.0.1", "10.200.0.1", "[fd12::1]", "[::1]"],
                  ["127.0.0.1", "10.200.0.1", "fd12::1", "::1"])


def test_a_name_and_an_entry_by_address():
    with own_network.Names(PRIVATE_NAMES):
        check_allowed(["*.example.org:PORT", "10.0.0.0/8:PORT"], ["private.example.org"],
                      ["10.0.0.1"])


def test_a_name_that_moves_is_checked_again():
    """What was allowed once is not for ever: a name that leads inwards now is not followed."""
    with own_network.Names({"a.example.org": [GLOBAL]}) as names, Anywhere() as anywhere, \
            Proxy({"threads": 1, **forward("*.example.org:*")}) as proxy:
        target = b"sttp://a.example.org:%d/a" % anywhere.port
        assert answers(proxy, [target]) == [b"400 /a NOT FOUND"]
        names.set({"a.example.org": ["127.0.0.1"]})

        wait_until(lambda: is_denied(target, answers(proxy, [target])[0]), what="a denial")
        assert set(anywhere.came) == {GLOBAL}, anywhere.came


if __name__ == "__main__":
    own_network.enter()
    sys.exit(run_tests(globals()))
