"""The same requests on every store give the same bytes, and those of the reference, messages apart.

A world of hostile names and texts is made and searched through and through; random sessions change
it meanwhile, so that searches meet what no index has yet. STTP_SEED repeats a run."""

import contextlib
import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from harness import FULL, NO_CACHE, SEED, Server, run_tests
from history import parse_answers
from reference import Reference, same
from stores_support import STORES

# Names that sort, compare, match, fold or normalize in ways of their own.
NAMES = [name for line in (
    "a A b B aa ab Ab aB AB k K s S i I ss 10 9 01 1e0",
    "a!b a\"b a#b a$1 a%b a&b a'b a(b) a*b a+b a,b a-b a.b a0b a:b a;b a<b> a=b a@b a[b] a\\b a]b",
    "a^b a_b a`b a{b} a|b a~b % %% _ __ * ** \\ \\\\ \\% \\_ [ab] [a-z] [^a] ] ' '' \" \"\" '-- ');--",
    "$$ :a @a # & + - -- NULL null x'41' {} %s %41 é É e\u0301 E\u0301 ß ẞ ſ \u212a ı İ i\u0307 σ ς Σ",
    "ﬁ ǆ Ǆ ж Ж 中 中文 \u0301 \u200d \u202e \u2028 \ufeff \ufffd \ufffe \uffff \ud7ff \ue000 \u00a0",
    "\u3000 \U0001f600 \U0001f600\U0001f601 \U00010000 \U0010fffd \U0010ffff ... .a a. .sttp a.txt",
    "A.TXT") for name in line.split(" ")]
NAMES += [character * 32 for character in ("z", "é", "\U0001f600", "%", "_", "*")]
DIRECTORIES = ["d" * 255, "é" * 127 + "a", "\U0001f600" * 63 + "abc", "%_" * 20, "a" * 33]
TEXTS = [text for line in (
    "|x|a|A|ab|abc|ABC|aBc|abcd|xabcx|xABCx|ab c|a_c|a%c|a\\c|a*c|a?c|%|_|%%%|___|50%_|\\|\\%|\\_",
    "\\\\\\|'|''|\"|\"\"|\"\"\"|\"a\"|' OR ''='|a\"b|\"abc|abc\"|a AND b|a OR b|NOT a|a NEAR b|a* b*",
    "^abc|{abc}|abc:|-abc|NULL|Été|éTÉ|ÉTÉ|été|e\u0301te\u0301|straße|STRASSE|STRAẞE|ſpeed|Speed",
    "\u212aelvin|kelvin|KELVIN|ıstanbul|İstanbul|istanbul|ISTANBUL|ΣΊΣΥΦΟΣ|σίσυφος|ﬁne|fine|Ǆ|ǆ",
    "ЖУК|жук|日本語|日本語テキスト|\U0001f600\U0001f601\U0001f602|a\U0001f600b|\ufeffabc|abc\ufffe",
    "\uffff\uffff\uffff|\U0010ffff\U0010ffff\U0010ffff|\u2028abc|a\u200db|a\u00a0b|ab\u0301c",
    "tab\there|\t|\t\t\t| |   | abc |a\tb\tc") for text in line.split("|")]
TEXTS += [character * 160 for character in ("x", "é", "\U0001f600", "\\", "%", "'")]
TEXTS += ["abc" * 53, "z" * 157 + "abc", "A" * 159 + "é"]
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def encoded(rng, text):
    """A value of a query: what has to be percent-encoded is, and sometimes more."""
    return "".join(
        character if character not in " %&" and rng.random() < 0.9
        else "".join(f"%{byte:02{rng.choice('xX')}}" for byte in character.encode())
        for character in text)


class World:
    """Paths that are, may be, or were there, and requests about them."""

    def __init__(self, rng):
        self.rng = rng
        self.directories = ["/"]
        self.files = []

    def new_directory(self):
        name = self.rng.choice(DIRECTORIES if self.rng.random() < 0.2 else NAMES)
        directory = f"{self.rng.choice(self.directories[-8:])}{name}/"
        if len(directory.encode()) > 900:
            return self.rng.choice(self.directories)
        if directory not in self.directories:
            self.directories.append(directory)
        return directory

    def new_file(self):
        directory = self.new_directory() if self.rng.random() < 0.1 else \
            self.rng.choice(self.directories)
        path = directory + self.rng.choice(NAMES)
        self.files.append(path)
        return path

    def text(self):
        if self.rng.random() < 0.7:
            return self.rng.choice(TEXTS)
        parts = self.rng.choices([*TEXTS, *NAMES], k=3)
        return self.rng.choice(("", " ", "-")).join(parts)[:160]

    def file(self):
        return self.rng.choice(self.files) if self.files else "/a"

    def change(self):
        """A request that may change something, and often meets what is there."""
        rng = self.rng
        path = self.new_file() if rng.random() < 0.5 else self.file()
        if rng.random() < 0.06:
            path += "/" + rng.choice(NAMES)  # below a file
        if rng.random() < 0.04:
            path = rng.choice(self.directories).rstrip("/") or "/a"
        action = rng.choice(("CREATE", "CREATE", "CREATE", "UPDATE", "DELETE", "SHOW", "RMDIR"))
        if action in ("CREATE", "UPDATE"):
            return f'{action} {path} "{self.text()}"'
        if action == "RMDIR":
            path = rng.choice((*self.directories[-8:], path + "/", "/"))
            return f"DELETE {path if rng.random() < 0.8 else path.rstrip('/') or '/'}"
        return f"{action} {path}"

    def found_text(self):
        """A part of a text, A to Z in either case; or what a search may take for something else."""
        rng = self.rng
        text = CONTROL.sub("", rng.choice(TEXTS if rng.random() < 0.7 else NAMES))
        if rng.random() < 0.8 and text:
            start = rng.randrange(len(text))
            text = text[start:start + rng.choice((1, 2, 3, 3, 4, 5, 8, 200))]
        return "".join(c.swapcase() if c.isascii() and rng.random() < 0.3 else c for c in text)

    def pattern(self):
        rng = self.rng
        name = rng.choice([*NAMES, *DIRECTORIES])
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            at = rng.randrange(len(name) + 1)
            name = name[:at] + rng.choice(("*", "?", "**")) + name[at + rng.randrange(3):]
        return name if rng.random() < 0.9 else rng.choice(("*", "?", "**", "?*", "*/", "a/*", "??"))

    def after(self, base):
        rng = self.rng
        name = rng.choice([*self.files, *self.directories])
        name = name.removeprefix(base) if name.startswith(base) else name.rpartition("/")[2]
        how = rng.randrange(5)
        if how == 0:
            name = name[:rng.randrange(len(name) + 1)]
        elif how == 1:
            name += rng.choice(("!", "/", "\U0010ffff", " ", "~", "-"))
        elif how == 2:
            name = name.swapcase()
        return name or "!"

    def query(self):
        """A LIST with some of the keys."""
        rng = self.rng
        base = rng.choice(self.directories)
        parts = []
        if rng.random() < 0.5:
            parts.append(f"q={encoded(rng, self.found_text())}")
        if rng.random() < 0.35:
            parts.append(f"name={encoded(rng, self.pattern())}")
        if rng.random() < 0.8:
            parts.append(f"recursive={rng.choice('0111')}")
        if rng.random() < 0.25:
            parts.append(f"type={rng.choice(('file', 'dir', 'all'))}")
        if rng.random() < 0.4:
            parts.append(f"limit={rng.choice((1, 1, 2, 3, 7, 20, 100, 10000))}")
        if rng.random() < 0.35:
            parts.append(f"after={encoded(rng, self.after(base))}")
        rng.shuffle(parts)
        target = base if rng.random() < 0.5 else base.rstrip("/") or "/"
        if rng.random() < 0.05:
            target = rng.choice((self.file(), self.file() + "/", target.rstrip("/") + "/none",
                                 target.rstrip("/") + "/none/none"))
        return f"LIST {target}" + (f"?{'&'.join(parts)}" if parts else "")


@contextlib.contextmanager
def every_store(*arguments, **options):
    """A server for each kind, by the names of the kinds."""
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(Server(*arguments, store=kind, **options))
               for kind in STORES}


def lines_of(requests):
    return b"".join(request.encode("utf-8") + b"\n" for request in requests)


def exchange_all(servers, data, **options):
    """What each server answers, to all at once."""
    with ThreadPoolExecutor(len(servers)) as pool:
        answers = pool.map(lambda server: server.exchange(data, **options), servers.values())
        return dict(zip(servers, answers))


def difference(what, requests, first, second):
    """Where two streams of answers to the same requests differ first; `what` names them."""
    ours, theirs = ([lines for lines, _ in parse_answers(stream)] for stream in (first, second))
    for number, request in enumerate(requests):
        one = ours[number] if number < len(ours) else None
        other = theirs[number] if number < len(theirs) else None
        equal = one == other if None in (one, other) else same(b"\n".join(other), b"\n".join(one))
        if not equal or (one != other and "reference" not in what):
            return f"seed {SEED}, {what} differ at request {number}: {request!r}\n" \
                   f"  {str(one)[:2000]}\n  {str(other)[:2000]}"
    return f"seed {SEED}, {what} differ behind the last answer"


def check(servers, reference, requests, **options):
    """Sends requests to all; returns the answers, which are the same."""
    data = lines_of(requests)
    answers = exchange_all(servers, data, **options)
    fs = answers["fs"]
    expected = reference.session(data) if reference else fs
    assert same(fs, expected), difference("reference and fs", requests, expected, fs)
    for kind, got in answers.items():
        assert got == fs, difference(f"fs and {kind}", requests, fs, got)
    return fs


def populate(world, count):
    return [f'CREATE {world.new_file()} "{world.text()}"' for _ in range(count)]


def test_searches_through_hostile_names_and_texts():
    for round_ in range(10 if FULL else 2):
        rng = random.Random(f"{SEED}/{round_}")
        world, reference = World(rng), Reference()
        with every_store() as servers:
            check(servers, reference, populate(world, 400))
            check(servers, reference, [world.query() for _ in range(2000 if FULL else 300)])
            check(servers, reference, [f"LIST /?recursive=1&q={encoded(rng, text)}"
                                       for text in (*TEXTS, *NAMES) if not CONTROL.search(text)])
            check(servers, reference, [f"LIST /?recursive=1&name={encoded(rng, name)}"
                                       for name in NAMES])


def test_sessions_that_change_and_search():
    for round_ in range(40 if FULL else 4):
        rng = random.Random(f"{SEED}/changes/{round_}")
        world, reference = World(rng), Reference()
        with every_store(*([] if round_ % 2 else NO_CACHE)) as servers:
            for _ in range(12):
                requests = [world.change() if rng.random() < 0.6 else world.query()
                            for _ in range(100 if FULL else 40)]
                check(servers, reference, requests)
            check(servers, reference, ["LIST /?recursive=1", "LIST /?recursive=1&q="])


def test_pages_make_the_whole():
    rng = random.Random(f"{SEED}/pages")
    world, reference = World(rng), Reference()
    with every_store() as servers:
        check(servers, reference, populate(world, 150))
        for query in ("recursive=1", "recursive=1&q=", "recursive=1&type=dir", "recursive=1&q=a",
                      "recursive=1&name=*a*"):
            whole = check(servers, reference, [f"LIST /?{query}"]).split(b"\n")[1].split(b", ")
            limit = max(2, len(whole) // 7)
            names, after = [], ""
            while True:
                page = check(servers, reference, [f"LIST /?{query}&limit={limit}{after}"])
                page = [name for name in page.split(b"\n")[1].split(b", ") if name]
                names += page
                if len(page) < limit:
                    break
                after = f"&after={encoded(rng, page[-1].decode())}"
            assert names == whole, query


def test_the_edges_of_paths():
    """The longest paths and names, files as parents, directories with and without their slash."""
    deepest = "/d" * 511 + "/a"  # 1,024 bytes
    long_names = "".join(f"/{name}" for name in ("d" * 255, "é" * 127 + "a", "e" * 255)) + "/f/"
    widest = long_names + "\U0001f600" * 32
    for directory in (deepest, widest):
        assert len(directory.encode()) <= 1024
    requests = [f"CREATE {deepest} deep", f"CREATE {widest} wide", f"CREATE {deepest}a x",
                f"SHOW {deepest}", f"SHOW {widest}", f"LIST {deepest[:-2]}", f"LIST {deepest}",
                f"LIST {deepest[:-1]}", f"DELETE {deepest[:-1]}", f"DELETE {deepest[:-2]}",
                "LIST /?recursive=1", "LIST /?recursive=1&q=DEEP", "LIST /d?recursive=1&name=a",
                f"LIST /?recursive=1&limit=5&after={deepest[1:-2]}",
                f"LIST {deepest[:-4]}?recursive=1", f"LIST {long_names}?q=wide",
                f"DELETE {deepest}", f"DELETE {deepest[:-1]}", f"LIST {deepest[:-3]}",
                f"SHOW {deepest}", f"UPDATE {deepest} x", f"UPDATE {deepest[:-2]} x",
                "DELETE /", "DELETE /d", "DELETE /d/", "LIST /", "LIST /?recursive=0"]
    for path in ("/f", "/x/f", "/x/y/f"):
        requests += [
            f"{action} {target}{' text' if action in ('CREATE', 'UPDATE') else ''}"
            for target in (path, f"{path}/", f"{path}/g", f"{path}/g/", f"{path}/g/h",
                           f"{path}s", f"{path}s/", path.rpartition('/')[0] or "/")
            for action in ("SHOW", "LIST", "UPDATE", "DELETE", "CREATE", "SHOW", "LIST")]
        requests += [f"CREATE {path} again", "LIST /?recursive=1", f"DELETE {path}/",
                     f"LIST {path}", f"LIST {path}/", f"LIST {path}?q=a", f"LIST {path}/g?q=a"]
    with every_store() as servers:
        check(servers, Reference(), requests)


def test_the_longest_listing():
    """16 MiB with the final LF can be listed; one byte more cannot, but for a page of it."""
    directory = "".join(f"/{name * 240}" for name in "pqrs")[1:]
    each = len(directory) + 1 + 5 + 2
    count, rest = divmod((1 << 24) - 1 + 2, each)
    names = [f"{number:05}" for number in range(count)]
    for number in range(count):  # 27 more bytes fit into a name
        extra = min(27, rest)
        names[number] += "x" * extra
        rest -= extra
    assert rest == 0
    requests = [f"CREATE /{directory}/{name} x" for name in names]
    arguments = (*NO_CACHE, "--durability", "none")
    with every_store(*arguments) as servers:
        check(servers, None, requests, timeout=240)
        listing = check(servers, None, ["LIST /?recursive=1&type=file"], timeout=60)
        expected = ", ".join(f"{directory}/{name}" for name in names).encode()
        assert len(expected) + 1 == 1 << 24
        assert listing == b"200 / OK\n" + expected + b"\n"
        last = f"/{directory}/{names[-1]}"
        answer = check(servers, None, [f"CREATE {last}x x", f"DELETE {last}",
                                       "LIST /?recursive=1&type=file", "LIST /?recursive=1",
                                       "LIST /?recursive=1&q=x", f"LIST /{directory}",
                                       "LIST /?recursive=1&type=file&limit=10000"], timeout=60)
        assert answer.count(b"too many names; use limit and after") == 3, answer[:2000]


if __name__ == "__main__":
    if not FULL:  # it takes half a minute
        del test_the_longest_listing
    sys.exit(run_tests(globals()))
