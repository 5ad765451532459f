"""What lies behind the servers of the tests that speak of the protocol alone.

STTP_STORE is the store of every server that a test starts: fs, sqlite or postgres. STTP_CACHE is
its cache, for a server that has one: memory, redis or both; none: no server has one. The database
server and Redis are started with the first sttpd that needs them, and end with the test.
"""

import atexit
import contextlib
import itertools
import os
import re
import secrets

STORES = ("fs", "sqlite", "postgres")
CACHES = ("none", "memory", "redis", "both")

STORE = os.environ.get("STTP_STORE") or "fs"
CACHE = os.environ.get("STTP_CACHE") or "memory"
if STORE not in STORES or CACHE not in CACHES:
    raise SystemExit(f"STTP_STORE is one of {STORES}, STTP_CACHE one of {CACHES}")

# A server that stops while it connects ends beside a thread that is within libpq, where the
# libraries for these two clear up behind it: ThreadSanitizer sees that as a race of theirs.
PLAIN = "gssencmode=disable sslmode=disable"

_started = contextlib.ExitStack()
atexit.register(_started.close)
_servers = {}
_numbers = itertools.count()


def _server(name):
    """The one database server, or Redis, of this test."""
    if name not in _servers:
        if name == "postgres":
            import postgres_support
            assert postgres_support.is_there(), \
                "PostgreSQL is not installed: scripts/install-deps.sh test"
            server = postgres_support.Cluster()
        else:
            import redis_support
            server = redis_support.Redis()
        _servers[name] = _started.enter_context(server)
    return _servers[name]


def redis_hits():
    """How often Redis had what a server asked it for."""
    if "redis" not in _servers:
        return 0
    statistics = _servers["redis"].command("INFO", "stats").decode()
    return int(re.search(r"keyspace_hits:(\d+)", statistics)[1])


class Backing:
    """What a server keeps its texts in, and its answers, and the arguments that tell it so."""

    _kept = {}

    @classmethod
    def of(cls, docroot):
        """The one that belongs to a document root for as long as this test runs: a server that is
        started again finds what the one before it left."""
        if docroot not in cls._kept:
            cls._kept[docroot] = cls(docroot)
            _started.callback(cls._kept[docroot].close)
        return cls._kept[docroot]

    def __init__(self, docroot, kind=STORE, cache=CACHE):
        """A fresh one; `docroot` is a directory, and empty where it has no store yet."""
        self.kind = kind
        self._own = contextlib.ExitStack()
        self.arguments = []
        self.database = None
        if kind == "sqlite":
            self.arguments += ["--storage-backend", "sqlite",
                               "--storage-sqlite-path", str(docroot / "sttp.db")]
        if kind == "postgres":
            self.database = self._own.enter_context(self._new_database())
            self.arguments += ["--storage-backend", "postgres",
                               "--storage-postgres-conninfo", f"{self.database.conninfo} {PLAIN}"]
        if cache == "none":
            self.arguments += ["--cache-enabled", "false"]
        if cache in ("redis", "both"):
            self.arguments += ["--cache-backend", cache,
                               "--cache-redis-address", _server("redis").address,
                               "--cache-redis-prefix", f"{secrets.token_hex(4)}:"]

    @contextlib.contextmanager
    def _new_database(self):
        """Every second one has an index of trigrams, and is made to use it for few texts, too."""
        trigrams = next(_numbers) % 2 == 1
        with _server("postgres").database(trigrams=trigrams) as database:
            if trigrams:
                database.sql(f"ALTER DATABASE {database.name} SET enable_seqscan = off")
            yield database

    def is_quiet(self):
        """Whether no server that was killed does anything any more: one of a database server's
        processes may be within its last transaction."""
        return self.database is None or self.database.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
            "backend_type = 'client backend' AND pid <> pg_backend_pid()") == ["0"]

    def close(self):
        self._own.close()
