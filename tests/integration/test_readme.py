"""Every command of README.md, in its order, gives what README.md says it gives.

The blocks marked `console` are run in one shell, with the installed programs on the path. Port
8080, which may be taken on this machine, is replaced by a free one, also where sttp-cli takes it by
default, and so is that of the proxy."""

import os
import re
import signal
import subprocess
import sys

import harness
import installed

README = (installed.SOURCE / "README.md").read_text(encoding="utf-8")
MARK = "--- end of output ---"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands():
    """(command, expected output) for each `$ ` line of the console blocks."""
    found = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, output = found.pop()
            found.append((command, output + line + "\n"))
    return found


def adapt(command, port, proxy_port, prefix):
    """The command as it is run here: the ports, the prefix and the build directory of this run."""
    if "8080" not in command:
        command = command.replace("sttp-cli ", f"sttp-cli -p {port} ")
    command = command.replace("cmake --install build --prefix /usr/local",
                              f"cmake --install {installed.BUILD} --prefix {prefix} >/dev/null")
    if command.startswith("cc "):
        command = " ".join([installed.COMPILER, *installed.SANITIZE, command[3:]])
    return command.replace("8080", str(port)).replace("3128", str(proxy_port))


class Shell:
    """A bash that tells where each command's output ends."""

    def __init__(self, directory, env):
        self._process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         cwd=directory, env=env, start_new_session=True)

    def run(self, command):
        self._process.stdin.write(f"{command}\necho '{MARK}'\n")
        self._process.stdin.flush()
        output = ""
        for line in self._process.stdout:
            if line.rstrip("\n").endswith(MARK):
                return output + line.replace(MARK + "\n", "")
            output += line
        raise AssertionError(f"the shell ended at: {command}\n{output}")

    def close(self):
        """Ends the shell and what it started: they are a process group of their own."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def start(shell, command, ports):
    """Starts a server and waits until it answers, if only that it has nothing to list."""
    program = command.split()[0]
    shell.run(f"{command[:-1]} 2>{program}.log &")
    with_retry = f"sttp-cli -p {ports[program]} -q --retry 8 list /"
    status = shell.run(f"{with_retry} >/dev/null; echo $?")
    assert status == {"sttpd": "0\n", "sttp-proxy": "30\n"}[program], shell.run(f"cat {program}.log")


def test_console_blocks():
    port = harness.free_port()
    proxy_port = harness.free_port()
    with harness.temporary_directory() as directory:
        prefix = installed.Prefix(directory / "prefix")
        [program] = blocks("c")
        (directory / "reminder.c").write_text(program.replace("8080", str(port)), encoding="utf-8")
        shell = Shell(directory, prefix.env)
        try:
            seen = 0
            for command, expected in commands():
                command = adapt(command, port, proxy_port, directory / "other-prefix")
                if command.endswith("&"):
                    start(shell, command, {"sttpd": port, "sttp-proxy": proxy_port})
                    continue
                output = shell.run(command)
                assert output == expected, f"$ {command}\n{output}\nREADME says:\n{expected}"
                seen += 1
            assert seen >= 16, seen
        finally:
            shell.close()


def test_named_files_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (installed.SOURCE / target).exists(), target
    for line in re.findall(r"^    (\S+/) ", README, re.MULTILINE):
        assert (installed.SOURCE / line).is_dir(), line


if __name__ == "__main__":
    sys.exit(harness.run_tests(globals()))
