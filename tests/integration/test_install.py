"""The installed library: every example is built against it by pkg-config and by find_package, with
the shared and with the static libraries, and run; and the library as others build it."""

import contextlib
import re
import signal
import subprocess
import sys

import harness
import installed

EXAMPLES = installed.SOURCE / "examples"
CORE_EXAMPLES = ["parse_buffer", "client", "pipeline"]
EVENT_EXAMPLES = ["embedded_server", "async_poll", "async_libevent"]


def check_parse_buffer(program, env, server):
    output = installed.run(program, env=env, input='CREATE /notes/a.txt "x"\nshow /b\nSHOW /c')
    lines = output.splitlines()
    assert lines[0] == 'CREATE /notes/a.txt: "x"', output
    assert lines[1].startswith("STTP_ERR_ACTION: ") and "SHOW" in lines[1], output
    assert len(lines) == 3, output


def check_client(program, env, server):
    output = installed.run(program, f"sttp://127.0.0.1:{server.port}/greeting.txt", env=env)
    assert output == "hello\n", output


def check_pipeline(program, env, server):
    paths = ["/greeting.txt", "/missing.txt"] * 2000
    output = installed.run(program, "127.0.0.1", server.port, env=env,
                           input="".join(path + "\n" for path in paths))
    expected = ["/greeting.txt: hello", "/missing.txt: 400 NOT FOUND"] * 2000
    assert output.splitlines() == expected, output[:300]


@contextlib.contextmanager
def running(program, env):
    """A server program that prints the address it listens on in its first line."""
    process = subprocess.Popen([str(program), "127.0.0.1:0"], stdout=subprocess.PIPE, text=True,
                               env=env)
    try:
        line = process.stdout.readline()
        yield harness.parse_address(re.search(r"\S+:\d+", line).group(0))
        process.send_signal(signal.SIGTERM)
        assert process.wait(harness.STOP_DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def check_embedded_server(program, env, server):
    with running(program, env) as address:
        answer = harness.exchange(address, b"SHOW /world\nLIST /\nSHOW\n\n")
        assert answer.startswith(b'200 /world OK\nhello\n300 / CLIENT ERROR "'), answer
        assert b'\n300 - CLIENT ERROR "' in answer, answer


def check_async_poll(program, env, server):
    with harness.Server() as other:
        output = installed.run(program, "/greeting.txt", server.port, other.port, env=env)
    assert output == f"{server.port}: hello\n", output


def check_async_libevent(program, env, server):
    paths = ["/greeting.txt", "/missing.txt"] * 2000
    output = installed.run(program, "localhost", server.port, env=env,
                           input="".join(path + "\n" for path in paths))
    expected = ["/greeting.txt: hello", "/missing.txt: 400 NOT FOUND"] * 2000
    assert sorted(output.splitlines()) == sorted(expected), output[:300]


def check_all(binaries, env):
    with harness.Server() as server:
        server.exchange(b"CREATE /greeting.txt hello\n")
        for name in [*CORE_EXAMPLES, *EVENT_EXAMPLES]:
            globals()[f"check_{name}"](binaries / name, env, server)


def linked_libraries(program):
    return installed.run("ldd", program)


def with_pkg_config(prefix, directory, static):
    directory.mkdir()
    for name in CORE_EXAMPLES:
        prefix.compile(EXAMPLES / f"{name}.c", directory / name, "sttp", static)
    for name in EVENT_EXAMPLES:
        package = "sttp-event libevent_core" if name == "async_libevent" else "sttp-event"
        prefix.compile(EXAMPLES / f"{name}.c", directory / name, package, static)
    return directory


def with_find_package(prefix, directory, static):
    flags = " ".join(["-Wall", "-Wextra", "-Werror", *installed.SANITIZE])
    installed.run("cmake", "-S", EXAMPLES, "-B", directory, "-G", "Ninja",
                  f"-DCMAKE_C_COMPILER={installed.COMPILER}", f"-DCMAKE_C_FLAGS={flags}",
                  f"-DCMAKE_PREFIX_PATH={prefix.path}", f"-DSTTP_STATIC={'ON' if static else 'OFF'}")
    installed.run("cmake", "--build", directory)
    return directory


def check_build(build):
    with harness.temporary_directory() as directory:
        prefix = installed.Prefix(directory / "prefix")
        for static in (False, True):
            binaries = build(prefix, directory / f"static-{static}", static)
            for name in [*CORE_EXAMPLES, *EVENT_EXAMPLES]:
                uses_shared = "libsttp" in linked_libraries(binaries / name)
                assert uses_shared != static, f"{name}: static {static}"
            check_all(binaries, prefix.env)


def test_examples_by_pkg_config():
    check_build(with_pkg_config)


def test_examples_by_find_package():
    check_build(with_find_package)


def test_every_header_alone_in_c_and_cpp():
    include = installed.SOURCE / "libsttp" / "include"
    headers = sorted([*include.glob("sttp/*.h"), *include.glob("sttp/adapters/*.h")])
    assert len(headers) >= 13, headers
    for language, standard in (("c", "c11"), ("c++", "c++11")):
        for header in headers:
            source = "#define _POSIX_C_SOURCE 200809L /* for the adapters */\n" \
                     f"#include <{header.relative_to(include)}>\n" \
                     'extern sttp_slice slice;\nsttp_slice slice = {"", 0};\n' \
                     'void set(void);\nvoid set(void) { slice = STTP_SLICE("x"); }\n'
            installed.run(installed.COMPILER, "-x", language, f"-std={standard}", "-Wall", "-Wextra",
                          "-pedantic", "-Wshadow", "-Werror", "-fsyntax-only",
                          "-I", include, "-", input=source)


def test_shared_libraries_export_only_sttp():
    for library in ("libsttp.so", "libsttp-event.so"):
        symbols = installed.run("nm", "-D", "--defined-only", installed.BUILD / "lib" / library)
        names = [line.split()[-1].split("@")[0] for line in symbols.splitlines()]
        public = [name for name in names if not name.startswith("STTP_")]
        assert len(public) >= 8, symbols
        private = [name for name in public if not re.match(r"sttp_[a-z]", name)]
        assert not private, private


def test_core_needs_libc_alone():
    needed = re.findall(r"NEEDED\)\s+Shared library: \[(.+?)\]",
                        installed.run("readelf", "-d", installed.BUILD / "lib" / "libsttp.so"))
    if installed.SANITIZE:  # the sanitizer's runtime library needs more
        needed = [name for name in needed if name == "libc.so.6"]
    assert [name for name in needed if not name.startswith("ld-linux")] == ["libc.so.6"], needed


def test_soname_is_apart_from_the_release():
    dynamic = installed.run("readelf", "-d", installed.BUILD / "lib" / "libsttp.so")
    assert "[libsttp.so.0]" in dynamic, dynamic


def test_two_builds_of_a_release_are_alike():
    with harness.temporary_directory() as directory:
        libraries = []
        for name in ("one", "other"):
            build = directory / name
            installed.run("cmake", "--preset", "release", "-B", build,
                          f"-DCMAKE_C_COMPILER={installed.COMPILER}", cwd=installed.SOURCE)
            installed.run("cmake", "--build", build, "--target", "sttp", "sttp-static")
            libraries.append([(build / "lib" / f"libsttp.{end}").read_bytes()
                              for end in ("a", "so")])
        assert libraries[0] == libraries[1]


if __name__ == "__main__":
    if installed.SANITIZE:  # a release is the same whatever this build is sanitized with
        del test_two_builds_of_a_release_are_alike
    sys.exit(harness.run_tests(globals()))
