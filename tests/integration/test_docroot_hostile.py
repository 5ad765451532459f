"""Document roots that mean harm: links, special files, names and texts that no request can carry,
and roots that are changed, closed and replaced behind the server's back. In each case the answer is
the specified one, it names no path of the server's, and nothing outside is touched."""

import contextlib
import fcntl
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

from harness import MOUNTS_OF, NO_CACHE, OWN_MOUNTS, UNPRIVILEGED, Server, lines_of, names_of, \
    run_tests, status_of, temporary_directory
from roots_support import WAYS, Watch, answers_of, tree_of

INVALID = b'SERVER ERROR "stored file is not a valid short text"'


@contextlib.contextmanager
def locked_terminal():
    """The path of a device that nobody can open: it fails with EIO."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    try:
        number, = struct.unpack("i", fcntl.ioctl(master, 0x80045430, bytes(4)))  # TIOCGPTN
        yield f"/dev/pts/{number}"
    finally:
        os.close(master)


def make_outside(outside):
    (outside / "secret").write_text("secret")
    (outside / "folder").mkdir()
    (outside / "folder" / "secret").write_text("secret")
    os.mkfifo(outside / "fifo")


def make_links(docroot, outside):
    """Each symbolic link by its name: out of the root, inside it, nowhere, and around."""
    (docroot / "inside" / "below").mkdir(parents=True)
    (docroot / "inside" / "real").write_text("real")
    out = os.path.relpath(outside, docroot)
    links = {"to-file": outside / "secret", "to-folder": outside, "to-fifo": outside / "fifo",
             "up-to-file": f"{out}/secret", "up-to-folder": out, "to-above": "..", "to-root": "/",
             "to-itself": "to-itself", "loop-1": "loop-2", "loop-2": "loop-1",
             "here": ".", "to-inside": "inside", "to-real": "inside/real",
             "to-inside-whole": docroot / "inside", "to-real-whole": docroot / "inside" / "real",
             "to-nothing": "nothing", "to-none-outside": outside / "none", "chain": "to-folder",
             "slash": "inside/", "magic-root": "/proc/self/root", "magic-cwd": "/proc/self/cwd",
             "magic-fd": "/proc/self/fd/0", "long": "x" * 4000,
             "inside/back": "..", "inside/below/loop": "../../inside"}
    for name, target in links.items():
        (docroot / name).symlink_to(target)
    return list(links)


def make_special_files(docroot):
    """Fifo, socket and devices. A device 0:0 needs no right to make; the others do."""
    os.mkfifo(docroot / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(docroot / "sock"))
    os.mknod(docroot / "no-device", stat.S_IFCHR | 0o666, os.makedev(0, 0))
    names = ["fifo", "sock", "no-device"]
    if os.geteuid() == 0:
        for name, kind, device in (("null", stat.S_IFCHR, (1, 3)), ("zero", stat.S_IFCHR, (1, 5)),
                                   ("full", stat.S_IFCHR, (1, 7)),
                                   ("no-terminal", stat.S_IFCHR, (136, 0xFFFFF)),
                                   ("no-disk", stat.S_IFBLK, (259, 0xFFFFF))):
            os.mknod(docroot / name, kind | 0o666, os.makedev(*device))
            names.append(name)
    return names


def expect_nothing_there(server, name):
    """What section 5 says of a thing that is neither file nor directory, for every action."""
    path = b"/" + name.encode()
    for request in (b"SHOW %s", b"UPDATE %s x", b"DELETE %s", b"LIST %s", b"DELETE %s/",
                    b"LIST %s/", b"LIST %s?recursive=1&q=secret"):
        echo = path + (b"/" if request.endswith(b"/") else b"")
        assert status_of(server, request % path) == (400, echo), request % path
    assert status_of(server, b"CREATE %s x" % path) == (300, path), path
    for below in (b"secret", b"folder", b"folder/secret", b"real"):
        parent = path + b"/" + (b"folder/" if b"/" in below else b"")
        for request in (b"SHOW %s/%s", b"UPDATE %s/%s x", b"DELETE %s/%s", b"LIST %s/%s"):
            assert status_of(server, request % (path, below)) == (410, parent), (request, path)
        request = b"CREATE %s/%s x" % (path, below)
        assert status_of(server, request) == (510, parent), request


def test_links_and_special_files_by_every_action():
    for way, wrapper in WAYS.items():
        with temporary_directory() as outside, Server(*NO_CACHE, wrapper=wrapper) as server:
            make_outside(outside)
            odd = make_links(server.docroot, outside) + make_special_files(server.docroot)
            root_before, outside_before = tree_of(server.docroot), tree_of(outside)
            with Watch(outside, outside / "folder") as watch:
                for name in odd:
                    expect_nothing_there(server, name)
                assert names_of(server, b"LIST /") == [b"inside/"]
                assert names_of(server, b"LIST /?recursive=1") == \
                    [b"inside/", b"inside/below/", b"inside/real"]
                assert names_of(server, b"LIST /?recursive=1&q=secret") == []
                assert names_of(server, b"LIST /?recursive=1&q=real") == [b"inside/real"]
                assert watch.events() == [], (way, watch.events())
            assert tree_of(server.docroot) == root_before, way
            assert tree_of(outside) == outside_before, way
    if os.geteuid() != 0:
        print("    devices made by mknod: not run, needs root; those that are mounted did run")


def test_devices_that_are_mounted_in_the_root():
    """Needs no right: each device stands over a file, in a mount namespace of the server's own."""
    script = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'
    for wrapper in WAYS.values():
        with temporary_directory() as docroot, locked_terminal() as terminal:
            devices = {"null": "/dev/null", "zero": "/dev/zero", "full": "/dev/full",
                       "random": "/dev/urandom", "terminal": terminal}
            mounts = []
            for name, device in devices.items():
                (docroot / name).touch()
                mounts += [device, str(docroot / name)]
            with Server(*NO_CACHE, docroot=docroot,
                        wrapper=(*OWN_MOUNTS, "sh", "-euc", script, "sh", *mounts,
                                 "--", *wrapper)) as server:
                for name in devices:
                    expect_nothing_there(server, name)
                assert names_of(server, b"LIST /?q=") == []


def test_a_fifo_with_writer_and_reader_stays_untouched():
    """What waits in a fifo is nobody's text, and nobody's text goes into it."""
    with Server(*NO_CACHE) as server:
        os.mkfifo(server.docroot / "fifo")
        fifo = os.open(server.docroot / "fifo", os.O_RDWR | os.O_NONBLOCK)
        try:
            os.write(fifo, b"mine")
            expect_nothing_there(server, "fifo")
            assert os.read(fifo, 100) == b"mine"
        finally:
            os.close(fifo)


# -- names and texts


def test_names_that_no_request_can_name_by_every_action():
    """Each stands in the root, as a file or with a file in it, and nobody can get at it."""
    refused = {b"n" * 33: 310, "ж".encode() * 33: 310, b".sttp-old": 300, b"a\tb": 300,
               b"a\x7f": 300, b"a\xc2\x85": 300, b"\xff\xfe": 300, b"cut\xf0\x9f": 300,
               b"\xed\xa0\x80": 300}
    spaces = [b" ", b"a b", b"what?", b"q?q=x", b"line\nend"]
    with Server(*NO_CACHE) as server:
        root = os.fsencode(server.docroot)
        for name in [*refused, *spaces]:
            with open(os.path.join(root, name), "wb") as file:
                file.write(b"secret")
        for name in (b".sttp-dir", b"bad\xff", b"d d", b"d?d"):
            os.mkdir(os.path.join(root, name))
            with open(os.path.join(root, name, b"in"), "wb") as file:
                file.write(b"secret")
        before = tree_of(server.docroot)
        for name, code in refused.items():
            for request in (b"SHOW /%s", b"UPDATE /%s x", b"DELETE /%s", b"CREATE /%s x"):
                answer, = lines_of(server, request % name)
                assert answer.startswith(b"%d " % code), (request % name, answer)
        for name in (b".sttp-dir", b"bad\xff", b".sttp-new", b"x" * 256, b"..", b".", b""):
            for request in (b"SHOW /%s/in", b"UPDATE /%s/in x", b"DELETE /%s/in",
                            b"CREATE /%s/in x", b"LIST /%s/in", b"LIST /%s//", b"DELETE /%s//"):
                answer, = lines_of(server, request % name)
                assert answer.startswith(b"300 "), (request % name, answer)
        for name in [*spaces, b"d d/in", b"d?d/in"]:
            for request in (b"SHOW /%s", b"UPDATE /%s x", b"DELETE /%s", b"LIST /%s/in"):
                for line in server.exchange(request % name + b"\n").split(b"\n")[:-1]:
                    assert re.match(rb"(300|400|410) ", line), (request % name, line)
        assert names_of(server, b"LIST /?recursive=1") == []
        assert names_of(server, b"LIST /?recursive=1&q=secret") == []
        assert tree_of(server.docroot) == before


def test_percent_encoded_paths_are_taken_as_they_stand():
    with temporary_directory() as outside, Server(*NO_CACHE) as server:
        (outside / "x").write_text("secret")
        with Watch(outside, outside / "x") as watch:
            for path in (b"/%2e%2e/x", b"/%2e./x", b"/..%2fx", b"/%2fetc", b"/a%00b", b"/%0a"):
                assert lines_of(server, b"CREATE %s mine" % path, b"SHOW " + path)[1:] == \
                    [b"200 %s OK" % path, b"mine"]
                assert (server.docroot / path[1:].decode()).read_text() == "mine"
            assert watch.events() == []


def test_sparse_files_of_terabytes():
    size = 4 << 40
    for wrapper in WAYS.values():
        with Server(*NO_CACHE, wrapper=wrapper) as server:
            for name in "abcd":
                with open(server.docroot / name, "wb") as file:
                    file.truncate(size)
            (server.docroot / "b").write_bytes(b"text")
            os.truncate(server.docroot / "b", size)
            for path in (b"/a", b"/b"):
                assert lines_of(server, b"SHOW " + path) == [b"500 " + path + b" " + INVALID]
            assert names_of(server, b"LIST /?q=") == []
            assert names_of(server, b"LIST /") == [b"a", b"b", b"c", b"d"]
            assert lines_of(server, b"UPDATE /c ok", b"SHOW /c") == [b"200 /c OK", b"ok"] * 2
            assert lines_of(server, b"DELETE /d", b"SHOW /d") == \
                [b"600 /d DELETED", b"400 /d NOT FOUND"]
            assert (server.docroot / "a").stat().st_size == size


def test_paths_of_the_greatest_length():
    """512 directories deep, or with the longest names; the same by either way."""
    deep = [b"/a" * 511 + b"/f",
            b"/" + b"/".join([b"d" * 255] * 3 + [b"e" * 222, b"f" * 32])]
    assert [len(path) for path in deep] == [1024, 1024]
    for wrapper in WAYS.values():
        with Server(*NO_CACHE, "--durability", "none", wrapper=wrapper) as server:
            for path in deep:
                parent, name = path.rsplit(b"/", 1)
                assert lines_of(server, b"CREATE %s one" % path, b"UPDATE %s two" % path,
                                b"SHOW " + path, b"LIST " + parent) == \
                    [b"100 %s CREATED" % path, b"200 %s OK" % path, b"two",
                     b"200 %s OK" % path, b"two", b"200 %s OK" % parent, name]
                top = path.split(b"/")[1]
                listed = names_of(server, b"LIST /%s?recursive=1&type=file" % top)
                assert listed == [path.split(b"/", 2)[2]]
                assert status_of(server, b"SHOW %sx" % path)[0] in (300, 310)
                assert status_of(server, b"DELETE " + path) == (600, path)
                above = [parent.rsplit(b"/", depth)[0] for depth in range(parent.count(b"/"))]
                assert lines_of(server, *(b"DELETE %s/" % directory for directory in above)) == \
                    [b"600 %s/ DELETED" % directory for directory in above]
            assert not any(server.docroot.iterdir())


# -- behind the server's back


def test_names_added_behind_the_servers_back():
    """Each shows at the next request: what is there counts, and nothing that was there."""
    with Server(*NO_CACHE) as server:
        root = server.docroot
        assert lines_of(server, b"SHOW /d/a", b"LIST /") == \
            [b"410 /d/ PATH NOT FOUND", b"200 / OK", b""]
        (root / "d").mkdir()
        (root / "d" / "a").write_text("one")
        assert lines_of(server, b"SHOW /d/a", b"LIST /d") == \
            [b"200 /d/a OK", b"one", b"200 /d OK", b"a"]
        (root / "d" / "a").write_text("two")
        assert lines_of(server, b"SHOW /d/a")[1] == b"two"
        (root / "d").rename(root / "e")
        assert lines_of(server, b"SHOW /d/a", b"SHOW /e/a") == \
            [b"410 /d/ PATH NOT FOUND", b"200 /e/a OK", b"two"]
        (root / "e" / "a").unlink()
        (root / "e" / "a").mkdir()
        assert status_of(server, b"SHOW /e/a") == (300, b"/e/a")
        (root / "e" / "a").rmdir()
        (root / "e").rmdir()
        (root / "e").write_text("file")
        assert lines_of(server, b"SHOW /e/a", b"CREATE /e/a x", b"SHOW /e") == \
            [b"410 /e/ PATH NOT FOUND", b"510 /e/ CANNOT CREATE PATH", b"200 /e OK", b"file"]


def test_a_root_that_is_renamed_and_replaced():
    """The server keeps to the directory that it was started on, wherever that is moved."""
    for wrapper in WAYS.values():
        with temporary_directory() as place:
            (place / "root").mkdir()
            with Server(*NO_CACHE, docroot=place / "root", wrapper=wrapper) as server:
                server.exchange(b"CREATE /d/a one\n")
                (place / "root").rename(place / "moved")
                (place / "other").mkdir()
                (place / "other" / "a").write_text("other")
                (place / "root").symlink_to("other")
                assert lines_of(server, b"SHOW /d/a", b"CREATE /b two", b"LIST /", b"SHOW /a") == \
                    [b"200 /d/a OK", b"one", b"100 /b CREATED", b"200 / OK", b"b, d/",
                     b"400 /a NOT FOUND"]
                assert (place / "moved" / "b").read_text() == "two"
                assert os.listdir(place / "other") == ["a"]


def test_a_root_that_is_removed():
    """Nothing is there and nothing can be made; the server goes on, and says why in its log."""
    for wrapper in WAYS.values():
        with Server(*NO_CACHE, wrapper=wrapper) as server:
            server.docroot.rmdir()
            answers = lines_of(server, b"SHOW /a", b"SHOW /d/a", b"LIST /", b"LIST /d",
                               b"UPDATE /a x", b"DELETE /a", b"CREATE /a x", b"CREATE /d/a x")
            assert [answer[:4] for answer in answers] == \
                [b"400 ", b"410 ", b"200 ", b"", b"400 ", b"400 ", b"400 ", b"500 ", b"500 "]
            assert not any(b"sttp-test" in answer for answer in answers)
            server.wait_log(r"CREATE /a failed .*No such file or directory")
            assert not server.docroot.exists()


def test_a_directory_that_is_closed_and_opened_again():
    """chmod 000 in the middle of requests: each is answered in full or refused with a reason."""
    denied = b'500 /d/a SERVER ERROR "permission denied by the storage; ask the server\'s operator"'
    with Server(*NO_CACHE, "--durability", "none", **UNPRIVILEGED) as server:
        folder = server.docroot / "d"
        server.exchange(b"CREATE /d/a text\n")
        seen, done = set(), threading.Event()

        def close_and_open():
            while not done.is_set():
                folder.chmod(0)
                folder.chmod(0o700)

        closer = threading.Thread(target=close_and_open)
        closer.start()
        try:
            deadline = time.monotonic() + 60
            while len(seen) < 4 and time.monotonic() < deadline:
                requests = [b"SHOW /d/a", b"UPDATE /d/a text"] * 20
                seen.update(zip(requests, answers_of(server, requests)))
        finally:
            done.set()
            closer.join()
        assert seen == {(request, answer) for request in (b"SHOW /d/a", b"UPDATE /d/a text")
                        for answer in ((b"200 /d/a OK", b"text"), (denied, None))}, seen
        folder.chmod(0)
        for request, code in ((b"SHOW /d/a", 500), (b"LIST /d", 500), (b"UPDATE /d/a x", 500),
                              (b"DELETE /d/a", 500), (b"CREATE /d/b x", 500), (b"SHOW /none", 400)):
            assert status_of(server, request)[0] == code, request
        assert names_of(server, b"LIST /?recursive=1") == [b"d/"]
        server.docroot.chmod(0)
        for request in (b"SHOW /d/a", b"SHOW /none", b"LIST /", b"CREATE /a x", b"DELETE /d/"):
            answer, = lines_of(server, request)
            assert answer.startswith(b"500 ") and b"permission denied" in answer, answer
        server.docroot.chmod(0o700)
        folder.chmod(0o700)
        assert lines_of(server, b"SHOW /d/a")[1] == b"text"


def test_a_mount_in_the_middle():
    """What is mounted over a directory takes its place at the next request, and gives it back."""
    for wrapper in WAYS.values():
        with Server(*NO_CACHE, wrapper=(*OWN_MOUNTS, *wrapper)) as server:
            def inside(*command):
                subprocess.run([*MOUNTS_OF, str(server.process.pid), *command], check=True)

            folder = str(server.docroot / "d")
            server.exchange(b"CREATE /d/a below\n")
            inside("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
            assert lines_of(server, b"SHOW /d/a", b"LIST /d", b"CREATE /d/b above",
                            b"CREATE /d/e/f above", b"UPDATE /d/b new", b"LIST /?recursive=1",
                            b"SHOW /d/b") == \
                [b"400 /d/a NOT FOUND", b"200 /d OK", b"", b"100 /d/b CREATED",
                 b"100 /d/e/f CREATED", b"200 /d/b OK", b"new",
                 b"200 / OK", b"d/, d/b, d/e/, d/e/f", b"200 /d/b OK", b"new"]
            assert [answer[:3] for answer in lines_of(
                server, b"DELETE /d/e/f", b"DELETE /d/e/", b"DELETE /d/b", b"DELETE /d/")] == \
                [b"600", b"600", b"600", b"500"]
            inside("mount", "-o", "remount,ro", "tmpfs", folder)
            assert lines_of(server, b"CREATE /d/c x") == \
                [b'500 /d/c SERVER ERROR "the storage is read-only; SHOW and LIST work"']
            inside("umount", folder)
            assert lines_of(server, b"SHOW /d/a", b"LIST /d") == \
                [b"200 /d/a OK", b"below", b"200 /d OK", b"a"]


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
