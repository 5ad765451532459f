"""An installed tree to build programs against, as a user has it."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess

import harness

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = harness.BIN.parent


def cache_value(name, build=BUILD):
    """A value of a build's CMake cache, "" where it is not set."""
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\w+=(.*)$", cache, re.MULTILINE)
    return found.group(1) if found else ""


COMPILER = cache_value("CMAKE_C_COMPILER")
SANITIZE = [f"-fsanitize={cache_value('STTP_SANITIZE')}"] if cache_value("STTP_SANITIZE") else []


def run(*command, **options):
    """Runs a command, fails with all that it said unless it ends with 0, returns its output."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            timeout=120, check=False, **options)
    assert result.returncode == 0, \
        f"{shlex.join(str(part) for part in command)}: status {result.returncode}\n" \
        f"{result.stdout}{result.stderr}"
    return result.stdout


def _compiler_of(build):
    """The program that its name leads to: cc and gcc may be one."""
    return os.path.realpath(shutil.which(cache_value("CMAKE_C_COMPILER", build)))


def release(directory, *targets):
    """The directory of a release by the compiler under test: what STTP_RELEASE names, where that is
    one, else a new one in `directory`."""
    build = pathlib.Path(os.environ.get("STTP_RELEASE") or directory)
    if build == directory or _compiler_of(build) != _compiler_of(BUILD):
        build = directory
        run("cmake", "--preset", "release", "-B", build, f"-DCMAKE_C_COMPILER={COMPILER}",
            cwd=SOURCE)
    run("cmake", "--build", build, *(f"--target={target}" for target in targets))
    return build


class Prefix:
    """`cmake --install` into a directory, and the environment to use it from there."""

    def __init__(self, path, build=BUILD):
        self.path = path
        run("cmake", "--install", build, "--prefix", path)
        libraries = next(path.glob("**/libsttp.so")).parent
        self.env = {**os.environ, "PATH": f"{path / 'bin'}:{os.environ['PATH']}",
                    "PKG_CONFIG_PATH": str(libraries / "pkgconfig"),
                    "LD_LIBRARY_PATH": str(libraries)}

    def compile(self, source, output, package, static=False):
        """Builds one C file with packages of pkg-config; -Werror, as a careful user does."""
        flags = run("pkg-config", "--cflags", "--libs", *(["--static"] if static else []),
                    *package.split(), env=self.env)
        if static:
            flags = re.sub(r"-l(sttp(-event)?)\b(?!-)", r"-l:lib\1.a", flags)
        run(COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", *SANITIZE, source, "-o", output,
            *shlex.split(flags), env=self.env)
        return output
