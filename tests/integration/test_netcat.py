"""The commands that people type: real netcats (OpenBSD's and the traditional one) and telnet. Each
must return at once, with exactly the right answer. A tool that is not installed is a failure."""

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

from harness import Server, run_tests, temporary_directory

AT_ONCE = 5.0
LONG = "this_is_a_very_long_filename_that_exceeds_32_characters.txt"

# What is typed, in order, on a store that is empty at first; an answer in which MESSAGE stands for
# a message.
MESSAGE = '"{msg}"'
COMMANDS = [
    (r'echo -e "CREATE /notes/reminder.txt Buy milk\n" | nc HOST PORT',
     "100 /notes/reminder.txt CREATED\n"),
    (r'echo -e "SHOW /notes/reminder.txt\n" | nc HOST PORT',
     "200 /notes/reminder.txt OK\nBuy milk\n"),
    (r'echo -e "CREATE /notes/meeting.txt \"Meet at noon\"\n" | nc HOST PORT',
     "100 /notes/meeting.txt CREATED\n"),
    (r'echo -e "CREATE /notes/meeting.txt again\n" | nc HOST PORT',
     f"300 /notes/meeting.txt CLIENT ERROR {MESSAGE}\n"),
    (r'echo -e "LIST /notes/\n" | nc HOST PORT',
     "200 /notes/ OK\nmeeting.txt, reminder.txt\n"),
    (r'echo -e "LIST /notes?q=MILK\n" | nc HOST PORT', "200 /notes OK\nreminder.txt\n"),
    (r'echo -e "UPDATE /notes/reminder.txt \"Buy milk and bread\"\n" | nc HOST PORT',
     "200 /notes/reminder.txt OK\nBuy milk and bread\n"),
    (r'echo -e "SHOW /notes/reminder.txt\nSHOW /notes/meeting.txt\n" | nc HOST PORT',
     "200 /notes/reminder.txt OK\nBuy milk and bread\n"
     "200 /notes/meeting.txt OK\nMeet at noon\n"),
    (r'echo -e "DELETE /notes/reminder.txt\n" | nc HOST PORT',
     "600 /notes/reminder.txt DELETED\n"),
    (r'echo -e "SHOW /notes/reminder.txt\n" | nc HOST PORT',
     "400 /notes/reminder.txt NOT FOUND\n"),
    (rf'echo -e "CREATE /notes/{LONG} Short text\n" | nc HOST PORT',
     f"310 /notes/{LONG} FILENAME TOO LONG\n"),
    (r'echo -e "SHOW /nonexistentpath/file.txt\n" | nc HOST PORT',
     "410 /nonexistentpath/ PATH NOT FOUND\n"),
    (r'echo -e "show /notes/meeting.txt\n" | nc HOST PORT',
     f"300 /notes/meeting.txt CLIENT ERROR {MESSAGE}\n"),
    (r'printf "SHOW /notes/meeting.txt\r\n\r\n" | nc HOST PORT',
     "200 /notes/meeting.txt OK\nMeet at noon\n"),
    (r'echo | nc HOST PORT', ""),
]


def pattern(answer):
    return re.escape(answer).replace(re.escape(MESSAGE), '"[^"\x00-\x1f\x7f]+"')


def tool(name):
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return found


@contextlib.contextmanager
def netcat_as_nc(name):
    """An environment in which the command `nc` is the netcat `name`."""
    program = tool(name)
    with temporary_directory() as directory:
        (directory / "nc").symlink_to(program)
        yield {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}


def run_at_once(command, environment):
    started = time.monotonic()
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True,
                            timeout=60, check=False)
    elapsed = time.monotonic() - started
    assert elapsed < AT_ONCE, f"{command} took {elapsed:.1f} s"
    return result.stdout.decode()


def run_commands(netcat, commands, host="127.0.0.1", listen=None):
    with Server(listen=listen) as server, netcat_as_nc(netcat) as environment:
        for command, answer in commands:
            line = command.replace("HOST", host).replace("PORT", str(server.port))
            got = run_at_once(line, environment)
            assert re.fullmatch(pattern(answer), got), \
                f"{netcat}: {line}\n  expected {answer!r}\n  received {got!r}"


def test_netcat_openbsd():
    run_commands("nc.openbsd", COMMANDS)


def test_netcat_traditional():
    run_commands("nc.traditional", COMMANDS)


def test_netcat_openbsd_half_close():
    """`-N` closes the sending side at the end of the input: no empty line is needed then."""
    run_commands("nc.openbsd", [
        ('echo "CREATE /a x" | nc -N HOST PORT', "100 /a CREATED\n"),
        ('echo "SHOW /a" | nc -N HOST PORT', "200 /a OK\nx\n"),
        ('echo -n "SHOW /a" | nc -N HOST PORT', f"300 - CLIENT ERROR {MESSAGE}\n"),
        ('nc -N HOST PORT </dev/null', ""),
    ])


def test_netcat_openbsd_ipv6():
    run_commands("nc.openbsd", COMMANDS[:3], host="::1", listen=["-a", "::1", "-p", "0"])


class Telnet:
    """A telnet in a terminal of its own, typed into line by line."""

    def __init__(self, host, port):
        program = tool("telnet")
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(program, ["telnet", host, str(port)])
        self.output = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\n")

    def expect(self, expression):
        """Waits for a match, takes everything up to its end, and returns what stood before it."""
        deadline = time.monotonic() + AT_ONCE
        while not (found := re.search(expression, self.output)):
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.terminal], [], [], left)[0]
            block = self._read() if ready else b""
            assert block, f"telnet: no {expression!r} in {self.output!r}"
            self.output += block.decode().replace("\r\n", "\n")
        before = self.output[:found.start()]
        self.output = self.output[found.end():]
        return before

    def _read(self):
        try:
            return os.read(self.terminal, 65536)
        except OSError:  # the other end of a terminal is closed
            return b""


def test_telnet():
    lines = [
        ("CREATE /notes/reminder.txt Buy milk", "100 /notes/reminder.txt CREATED\n"),
        ("SHOW /notes/reminder.txt", "200 /notes/reminder.txt OK\nBuy milk\n"),
        ('UPDATE /notes/reminder.txt "Buy bread"', "200 /notes/reminder.txt OK\nBuy bread\n"),
        ("LIST /notes/", "200 /notes/ OK\nreminder.txt\n"),
        (f"CREATE /notes/{LONG} Short text", f"310 /notes/{LONG} FILENAME TOO LONG\n"),
        ("SHOW /nonexistentpath/file.txt", "410 /nonexistentpath/ PATH NOT FOUND\n"),
        ("delete /notes/reminder.txt", f"300 /notes/reminder.txt CLIENT ERROR {MESSAGE}\n"),
        ("DELETE /notes/reminder.txt", "600 /notes/reminder.txt DELETED\n"),
    ]
    with Server() as server, Telnet("127.0.0.1", server.port) as telnet:
        telnet.expect(r"Escape character is '\^\]'\.\n")
        for line, answer in lines:
            telnet.type(line)
            before = telnet.expect(pattern(answer))
            assert before == line + "\n", f"beside the answer stands {before!r}"
        telnet.type("")
        before = telnet.expect(r"Connection closed by foreign host\.")
        assert before == "\n", f"after the empty line stands {before!r}"


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
