"""A release build is hardened: read off the programs and libraries themselves, not off the flags."""

import platform
import re
import sys

import harness
import installed

PROGRAMS = ["sttpd", "sttp-cli", "sttp-bench"]
LIBRARIES = ["libsttp.so", "libsttp-event.so"]
ALL = PROGRAMS + LIBRARIES
PLACES = {}  # of these names


def install_release(directory):
    """What README.md builds and installs, by the compiler under test. One for all tests of this
    file."""
    build = installed.release(directory / "build")
    prefix = installed.Prefix(directory / "prefix", build)
    for name in ALL:
        PLACES[name] = next(prefix.path.glob(f"**/{name}"))


def readelf(file, *options):
    return installed.run("readelf", "--wide", *options, PLACES[file])


def undefined_symbols(file):
    """What a file takes from shared libraries."""
    symbols = installed.run("nm", "-D", "--undefined-only", PLACES[file])
    return {line.split()[-1].split("@")[0] for line in symbols.splitlines()}


def for_each(files, check):
    """Runs `check` on every file, so that all that fail are told at once."""
    failures = [f"{file}: {told}" for file in files if (told := check(file))]
    assert not failures, "\n".join(failures)


def test_programs_are_position_independent():
    def check(file):
        is_pie = re.search(r"FLAGS_1.*\bPIE\b", readelf(file, "--dynamic"))
        return None if is_pie else "no position-independent executable"

    for_each(PROGRAMS, check)


def test_code_is_never_relocated_or_writable():
    def check(file):
        if "TEXTREL" in readelf(file, "--dynamic"):
            return "relocations in the code"
        segments = re.findall(r"^ +LOAD +(?:0x\w+ +){5}(.{3}) ", readelf(file, "--segments"),
                              re.MULTILINE)
        if "R E" not in segments or "RWE" in segments:
            return f"segments {segments}"
        return None

    for_each(ALL, check)


def test_relocations_are_read_only():
    """Full RELRO: everything is bound at the start, then made read-only."""
    def check(file):
        if "GNU_RELRO" not in readelf(file, "--segments"):
            return "no GNU_RELRO"
        return None if re.search(r"\bNOW\b", readelf(file, "--dynamic")) else "bound lazily"

    for_each(ALL, check)


def test_stack_is_not_executable():
    def check(file):
        stack = re.search(r"GNU_STACK +(?:0x\w+ +){5}(.{3}) ", readelf(file, "--segments"))
        return None if stack and stack.group(1) == "RW " else f"{stack}"

    for_each(ALL, check)


def test_stack_protector():
    for_each(ALL, lambda file: None if "__stack_chk_fail" in undefined_symbols(file)
             else "no __stack_chk_fail")


def test_stack_is_probed():
    """A frame that is larger than a page touches each of its pages, so that it cannot step over the
    guard page below a thread's stack into another's."""
    assert platform.machine() == "x86_64", "the probe's instruction is known for x86-64 alone"

    def check(file):
        code = installed.run("objdump", "-d", "--no-show-raw-insn", PLACES[file])
        probe = re.search(r"sub +\$0x1000,%rsp\n.*\b(orq|movq) +\$0x0,\(%rsp\)\n", code)
        return None if probe else "no probe"

    # sttp-bench has no such frame.
    for_each([file for file in PROGRAMS if file != "sttp-bench"], check)


def test_fortify():
    def check(file):
        checked = [name for name in undefined_symbols(file) if re.fullmatch(r"__\w+_chk", name)]
        return None if checked else "no checked function of the C library"

    for_each(ALL, check)


def test_no_search_path_for_libraries():
    def check(file):
        path = re.search(r"\((RPATH|RUNPATH)\).*", readelf(file, "--dynamic"))
        return path and path.group(0)

    for_each(ALL, check)


def test_libraries_export_only_sttp():
    def check(file):
        symbols = installed.run("nm", "-D", "--defined-only", PLACES[file])
        names = [line.split()[-1].split("@")[0] for line in symbols.splitlines()]
        private = [name for name in names if not re.match(r"sttp_[a-z]|STTP_", name)]
        return f"{private} of {names}" if private or len(names) < 8 else None

    for_each(LIBRARIES, check)


if __name__ == "__main__":
    with harness.temporary_directory() as scratch:
        install_release(scratch)
        sys.exit(harness.run_tests(globals()))
