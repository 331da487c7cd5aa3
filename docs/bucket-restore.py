#!/usr/bin/env python3
"""Reads a partition of backupd without backupd. See bucket-restore.md.

It needs Python 3.9 or later, zstd, and for a bucket one of rclone, aws and mc. It writes
nothing to the bucket and does not trust its contents: every name is checked against
format.md, every body against its hash, and no entry is unpacked under its own name.
"""
import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

USAGE = """usage: bucket-restore.py STORE list
       bucket-restore.py STORE mailboxes BACKUP [TIME]
       bucket-restore.py STORE restore BACKUP NEWDIR [MAILBOX...] [TIME]
STORE: /directory | rclone:REMOTE:BUCKET/PREFIX | aws:s3://BUCKET/PREFIX | mc:ALIAS/BUCKET/PREFIX
BACKUP: as listed, user/anne      MAILBOX: as shown by mailboxes; none = all of them
TIME: RFC 3339 in UTC, 2026-11-20T14:05:00Z; none = the newest state"""

DONE, WRONG, INCOMPLETE = 0, 64, 75     # exit status


class Trouble(Exception):
    """An error, as one line for the user."""


class Erased(Trouble):
    """A message that was erased on purpose."""


class Damaged(Trouble):
    """An object that is missing, damaged, or does not conform to format.md."""


def shown(text):
    """Text for a terminal, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def report(text):
    print("bucket-restore: " + shown(text), file=sys.stderr, flush=True)


class Problems:
    """Everything that could not be restored: each is reported once, and the exit status depends on them."""

    def __init__(self):
        self.count = 0

    def add(self, text):
        self.count += 1
        report(text)


# ---- the names that format.md allows

HEX40, HEX64, NUMBER = "[0-9a-f]{40}", "[0-9a-f]{64}", "[0-9]{16}"
BACKUP = re.compile(r"(user|shared|server)/[A-Za-z0-9._@=~-]{1,255}")
LOG = re.compile(rf"({NUMBER})(?:-({NUMBER}))?\.tar\.zst")
CHECKPOINT = re.compile(rf"({NUMBER})\.tar\.zst")
COPYING = re.compile(rf"copying-({NUMBER})\.json")
PACK = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\.tar\.zst")
ENTRY = re.compile(rf"(?:{NUMBER}/)?(?:commit\.ndjson|places\.ndjson|{HEX40}\.eml|{HEX64}\.part)"
                   rf"|state\.ndjson|state\.json|backup\.json|directory\.json|{HEX64}\.(?:records|messages|places)")
CHUNK_ENTRY = re.compile(rf"(?:{NUMBER}/)?(?:{HEX40}\.eml|{HEX64}\.part)")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def matching(pattern, value, what):
    """Returns value if it is text that matches the pattern."""
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return value
    raise Damaged(f"{what} is {shown(repr(value))[:120]}, which format.md does not allow")


def number_of(value, what, most=2**63 - 1, least=0):
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise Damaged(f"{what} is {shown(repr(value))[:120]}, which format.md does not allow")


def text_of(value):
    """Decodes a String of format.md 2.3: text, or bytes in base64."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"]).decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise Damaged(f"a string is {shown(repr(value))[:120]}")
    return value


def bound(text):
    """Encodes text for the database, which accepts only UTF-8 as text."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def unbound(value):
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def key_of(value):
    """A uniqueid or a mailbox's name, for the database."""
    return bound(text_of(value))


# ---- the store: a directory, or a bucket read by one of three programs

class Directory:
    def __init__(self, root):
        self.root = os.path.realpath(root)

    def names(self, key):
        """Lists the direct children of a key."""
        try:
            return sorted(os.listdir(os.path.join(self.root, key)))
        except FileNotFoundError:
            return []
        except OSError as e:
            raise Trouble(f"cannot list {key}: {e}")

    @contextlib.contextmanager
    def get(self, key):
        """Yields a path of the object. Links are not followed, because somebody who can write
        to the directory could point them to any file."""
        path = os.path.join(self.root, key)
        try:
            regular = os.path.realpath(path) == path and stat.S_ISREG(os.lstat(path).st_mode)
        except OSError as e:
            raise Damaged(f"cannot read {key}: {e}")
        if not regular:
            raise Damaged(f"cannot read {key}: not a regular file")
        yield path


class Bucket:
    """A bucket that a program reads. where is the prefix in the program's notation."""

    # program: command to list, statuses that mean "not found", command to fetch
    PROGRAMS = {
        "rclone": (["rclone", "lsf"], (3,), ["rclone", "copyto", "--retries", "1"]),
        "aws": (["aws", "s3", "ls"], (1,), ["aws", "s3", "cp", "--only-show-errors"]),
        "mc": (["mc", "ls", "--json"], (1,), ["mc", "cp", "-q"]),
    }

    def __init__(self, program, where, scratch):
        self.program, self.where, self.scratch = program, where, scratch
        self.ls, self.nothing, self.cp = self.PROGRAMS[program]

    def names(self, key):
        r = run([*self.ls, f"{self.where}/{key}/"])
        if r.returncode not in (0, *self.nothing):
            raise Trouble(f"cannot list {key}: {said(r)}")
        lines = r.stdout.decode("utf-8", "replace").splitlines()
        if self.program == "mc":
            with damage("the answer of mc"):
                lines = [json.loads(line).get("key", "") for line in lines]
        elif self.program == "aws":     # "PRE anne/" or "2026-11-20 14:05:00 123 0001.tar.zst"
            lines = [line.split(None, 3)[-1] if not line.split()[:1] == ["PRE"] else line.split(None, 1)[-1]
                     for line in lines if line.strip()]
        return sorted(line.rstrip("/") for line in lines if line)

    @contextlib.contextmanager
    def get(self, key):
        path = os.path.join(self.scratch, "object")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        r = run([*self.cp, f"{self.where}/{key}", path])
        if r.returncode or not os.path.isfile(path):
            raise Damaged(f"cannot read {key}: {said(r)}")
        try:
            yield path
        finally:
            os.unlink(path)


def run(command):
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as e:
        raise Trouble(f"cannot run {command[0]}: {e}")


def said(r):
    lines = (r.stderr or r.stdout).decode("utf-8", "replace").split()
    return " ".join(lines)[:2000] if lines else f"status {r.returncode}"


def store_of(arg, scratch):
    program, colon, where = arg.partition(":")
    if colon and program in Bucket.PROGRAMS:
        return Bucket(program, where.rstrip("/"), scratch)
    return Directory(arg)


# ---- containers: format.md 1

def header(name, size):
    """Returns the only valid header of an entry with this name and size (format.md 1.2)."""
    h = (name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0" +
         b" " * 8 + b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167))
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]


def entries(store, key):
    """Yields (name, size, read) of each entry of a container. read(n) returns up to n
    bytes of the body; the rest is skipped."""
    with store.get(key) as path, open(path, "rb") as file:
        try:
            zstd = subprocess.Popen(["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as e:
            raise Trouble(f"cannot run zstd: {e}")
        try:
            yield from archive(zstd.stdout, key)
            if zstd.stdout.read(1) or zstd.wait():
                raise Damaged(f"cannot read {key}: {zstd.stderr.read().decode('utf-8', 'replace').strip() or 'data after the end of the archive'}")
        finally:
            zstd.kill()
            zstd.communicate()


def archive(pipe, key):
    seen = set()
    while True:
        block = exactly(pipe, 512, key)
        if block == bytes(512):
            if exactly(pipe, 512, key) != bytes(512):
                raise Damaged(f"cannot read {key}: the end of the archive is missing")
            return
        name = block[:100].rstrip(b"\0").decode("ascii", "replace")
        try:
            size = int(block[124:135], 8)
        except ValueError:
            size = -1
        if not ENTRY.fullmatch(name) or name in seen or size < 0 or block != header(name, size):
            raise Damaged(f"cannot read {key}: format.md does not allow the name or header of the entry {name!r}")
        seen.add(name)
        body = Body(pipe, size, key)
        yield name, size, body.read
        body.skip()
        exactly(pipe, -size % 512, key)


def exactly(pipe, n, key):
    data = pipe.read(n)
    if len(data) != n:
        raise Damaged(f"cannot read {key}: the object is truncated or damaged")
    return data


class Body:
    def __init__(self, pipe, size, key):
        self.pipe, self.left, self.key = pipe, size, key

    def read(self, n=1 << 20):
        data = exactly(self.pipe, min(n, self.left), self.key)
        self.left -= len(data)
        return data

    def skip(self):
        while self.read():
            pass


LONGEST_LINE = 64 << 20


def lines(read, what):
    """Yields the objects of an .ndjson body."""
    rest = b""
    while True:
        data = read()
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield parsed(line, what)
        if len(rest) > LONGEST_LINE or not data and rest:
            raise Damaged(f"{what}: a line is truncated or too long")
        if not data:
            return


def parsed(line, what):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Damaged(f"{what}: {e}")
    if not isinstance(value, dict):
        raise Damaged(f"{what}: a line is not an object")
    return value


@contextlib.contextmanager
def damage(what):
    """Reports data of an unexpected form as damage."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
        raise Damaged(f"{what}: {type(e).__name__}: {e}")


# ---- the state of a backup, replayed into a database, because it may not fit into memory

SCHEMA = """
CREATE TABLE mailbox (id TEXT PRIMARY KEY, name TEXT, live INTEGER);
CREATE TABLE record (mailbox TEXT, uid INTEGER, made INTEGER, live INTEGER, guid TEXT, date INTEGER, flags TEXT,
                     PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;
CREATE TABLE message (guid TEXT PRIMARY KEY, size INTEGER, chunks TEXT) WITHOUT ROWID;  -- chunks NULL: no body
CREATE TABLE place (n INTEGER PRIMARY KEY, chunk TEXT, object TEXT, entry TEXT);
CREATE INDEX place_of ON place (chunk);
CREATE TABLE erased (chunk TEXT PRIMARY KEY, at TEXT);
CREATE TABLE chunk (hash TEXT PRIMARY KEY, sha1 TEXT, size INTEGER, uses INTEGER);
"""

LETTERS = {"\\draft": "D", "\\flagged": "F", "\\answered": "R", "\\seen": "S", "\\deleted": "T"}


class State:
    def __init__(self, store, backup, scratch):
        self.store, self.backup, self.scratch = store, backup, scratch
        self.db = sqlite3.connect(os.path.join(scratch, "state"), isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;" + SCHEMA)
        self.sealed = None      # the repository that the backup was moved to
        self.bridged = set()    # commits that a bridge records as lost
        self.place_key = re.compile(rf"{PACK.pattern}|backups/{re.escape(backup)}/log/{NUMBER}(-{NUMBER})?\.tar\.zst")
        self.block_key = re.compile(rf"backups/{re.escape(backup)}/records/{HEX64}\.tar\.zst")

    @contextlib.contextmanager
    def transaction(self):
        self.db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    # -- common to commits and checkpoints

    def place(self, p, container):
        if p["object"] == "erased":     # format.md 3
            self.db.execute("REPLACE INTO erased VALUES (?, ?)", (matching(HEX64, p["chunk"], "a chunk"), matching(MOMENT, p["entry"], "a time")))
            return
        at = container if p["object"] == "." else matching(self.place_key, p["object"], "the object of a place")
        self.db.execute("INSERT INTO place (chunk, object, entry) VALUES (?, ?, ?)",
                        (matching(HEX64, p["chunk"], "a chunk"), at, matching(CHUNK_ENTRY, p["entry"], "the entry of a place")))
        self.db.execute("DELETE FROM erased WHERE chunk = ?", (p["chunk"],))    # it has arrived again

    def record(self, mailbox, r, made, expunged=False):
        flags = {text_of(f).lower() for f in r.get("flags") or ()}
        row = (mailbox, number_of(r["uid"], "a uid", 2**32 - 1, 1), made, int(not expunged and "\\expunged" not in flags),
               matching(HEX40, r["guid"], "a guid"), number_of(r.get("internaldate", 0), "an internaldate", least=-2**62),
               "".join(letter for flag, letter in LETTERS.items() if flag in flags))
        self.db.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def message(self, m):
        guid = matching(HEX40, m["guid"], "a guid")
        if m.get("missing"):
            self.db.execute("INSERT OR IGNORE INTO message VALUES (?, 0, NULL)", (guid,))
            return
        chunks = [matching(HEX64, c, "a chunk") for c in m.get("chunks") or ()]
        self.db.execute("REPLACE INTO message VALUES (?, ?, ?)", (guid, number_of(m["size"], "a size"), " ".join(chunks)))

    def blocks(self, wanted):
        """Yields the lines of blocks as (block, line), in order. wanted: [(object, sha256, kind)]."""
        at = {}
        for key in dict.fromkeys(o for o, _, _ in wanted):
            names = {f"{h}.{k}": h for o, h, k in wanted if o == key}
            for name, _, read in entries(self.store, matching(self.block_key, key, "the object of a block")):
                if name in names:
                    at[names[name]] = self.keep(read, name)
        for _, sha256, kind in wanted:
            if sha256 not in at:
                raise Damaged(f"block {sha256}.{kind} is missing in its object")
            with open(at[sha256], "rb") as f:
                for line in lines(lambda: f.read(1 << 20), f"block {sha256}"):
                    yield sha256, line
        for path in at.values():
            os.unlink(path)

    def keep(self, read, name):
        """Writes the body of an entry to a file. Its hash must be the one in its name."""
        fd, path = tempfile.mkstemp(dir=self.scratch)
        digest = hashlib.sha256()
        with open(fd, "wb") as f:
            for data in iter(read, b""):
                digest.update(data)
                f.write(data)
        if digest.hexdigest() != name.partition(".")[0]:
            raise Damaged(f"block {name} has another hash")
        return path

    # -- checkpoints: format.md 5

    def checkpoint(self, key, number, until):
        """Loads a checkpoint; False if it is later than the moment."""
        state, places = os.path.join(self.scratch, "checkpoint"), []
        with damage(key):
            for name, _, read in entries(self.store, key):
                if name == "state.ndjson":
                    with open(state, "wb") as f:
                        for data in iter(read, b""):
                            f.write(data)
                elif name == "places.ndjson":
                    places = list(lines(read, key))
            with open(state, "rb") as f, self.transaction():
                loaded = self.state(lines(lambda: f.read(1 << 20), key), places, number, until)
        os.unlink(state)
        return loaded

    def places(self, key):
        """Adds the places in a checkpoint."""
        with damage(key):
            for name, _, read in entries(self.store, key):
                if name == "places.ndjson":
                    rows = list(lines(read, key))
            with self.transaction():
                self.add_places(rows)

    def add_places(self, rows):
        for p in rows:
            if "places" in p:
                for _, line in self.blocks([(p["object"], p["places"], "places")]):
                    self.place(line, None)

    def state(self, rows, places, number, until):
        head = next(rows)
        if head["version"] not in (1, 3) or head["backup"] != self.backup or head["number"] != number:
            raise Damaged("the first line belongs to another backup, number or version")
        if until and moment(head["time"]) > until:
            return False
        self.made, self.hash = moment(head["time"]), head.get("hash")
        at = {p["block"]: p["object"] for p in places if "block" in p}
        mailbox = None
        for row in rows:
            if "mailbox" in row:
                mailbox = key_of(row["mailbox"]["uniqueid"])
                self.db.execute("INSERT INTO mailbox VALUES (?, ?, ?)",
                                (mailbox, key_of(row["mailbox"]["name"]), int("deleted" not in row["mailbox"])))
            elif "records" in row:
                h = row["records"]["sha256"]
                for _, line in self.blocks([(at[h], h, "records")]):
                    self.record(mailbox, line["record"], line["commit"], "expunged" in line)
            elif "messages" in row:
                h = row["messages"]["sha256"]
                for _, line in self.blocks([(at[h], h, "messages")]):
                    self.message(line)
        self.add_places(places)
        return True

    # -- commits: format.md 3

    def commit(self, events, number):
        for e in events:
            apply = getattr(self, "on_" + e.get("event", "").replace("-", "_"), None)
            if apply:
                apply(e, number)

    def take_name(self, name, mailbox):
        self.db.execute("UPDATE mailbox SET live = 0 WHERE name = ? AND id <> ?", (name, mailbox))

    def on_mailbox(self, e, number):
        mailbox, name = key_of(e["uniqueid"]), key_of(e["name"])
        self.take_name(name, mailbox)
        self.db.execute("REPLACE INTO mailbox VALUES (?, ?, 1)", (mailbox, name))

    def on_rename(self, e, number):
        mailbox, name = key_of(e["uniqueid"]), key_of(e["new"])
        self.take_name(name, mailbox)
        self.db.execute("UPDATE mailbox SET name = ? WHERE id = ?", (name, mailbox))

    def on_unmailbox(self, e, number):
        self.db.execute("UPDATE mailbox SET live = 0 WHERE id = ?", (key_of(e["uniqueid"]),))

    on_moved_away = on_unmailbox

    def on_unuser(self, e, number):
        self.db.execute("UPDATE mailbox SET live = 0")

    def on_records(self, e, number):
        for r in e["records"]:
            self.record(key_of(e["uniqueid"]), r, number)

    def on_recordblocks(self, e, number):
        wanted = [(b["object"], matching(HEX64, b["sha256"], "a block"), "records") for b in e["blocks"]]
        for _, line in self.blocks(wanted):
            self.record(key_of(e["uniqueid"]), line["record"], number)

    def on_complete(self, e, number):
        self.db.execute("UPDATE record SET live = 0 WHERE mailbox = ? AND made <> ?", (key_of(e["uniqueid"]), number))

    def on_expunge(self, e, number):
        self.db.executemany("UPDATE record SET live = 0 WHERE mailbox = ? AND uid = ?",
                            [(key_of(e["uniqueid"]), number_of(u, "a uid")) for u in e["uids"]])

    def on_messages(self, e, number):
        for m in e["messages"]:
            self.message(m)

    def on_lost(self, e, number):
        self.db.executemany("UPDATE message SET chunks = NULL WHERE guid = ?", [(matching(HEX40, g, "a guid"),) for g in e["messages"]])

    on_erased = on_lost

    def on_bridged(self, e, number):
        for r in e["lost"]:
            first, last = number_of(r["from"], "a commit"), number_of(r["to"], "a commit")
            if last - first > 1_000_000:
                raise Damaged("a bridged event names more commits than can exist")
            self.bridged.update(range(first, last + 1))

    def on_sealed(self, e, number):
        self.sealed = e.get("to") or None


def moment(t):
    """Returns a time in a form that sorts: with all nine digits."""
    whole, _, part = matching(MOMENT, t, "a time")[:-1].partition(".")
    try:
        time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        raise Damaged(f"{t}: there is no such time")
    return f"{whole}.{part:0<9}"


class Log:
    """Replays a backup's log, from the newest checkpoint that is not after the moment."""

    def __init__(self, store, backup, until, scratch, problems):
        self.store, self.backup, self.problems = store, backup, problems
        # Without a fraction, include all of that second.
        self.until = until and (moment(until) if "." in until else moment(until)[:-9] + "9" * 9)
        self.scratch = scratch
        self.hash = None        # of the previous commit
        self.lost = []          # commits that could not be read, and why
        self.later = set()      # checkpoints after the moment

    def state(self):
        stored = list(self.store.names(f"backups/{self.backup}/log"))
        names = self.belonging([m for m in map(LOG.fullmatch, stored) if m])
        state, self.next = self.begin(names)
        begun = self.next > 1
        if not names:
            raise Trouble(f"{self.backup}: no such backup")
        kept = self.before_log(state, int(names[0][1])) if int(names[0][1]) > 1 else 0
        for m in names:
            first, last = int(m[1]), int(m[2] or m[1])
            if not m[2] and last < self.next:
                continue        # only segments: their places have the places of merged bodies
            if not begun and first > 1:
                raise Trouble("commit 1 is gone: the moment is before the kept history, or objects are missing")
            if begun and self.next < int(names[0][1]) and kept in self.later:
                self.single()
                break
            begun = True
            if not self.object(state, m[0], first, last):
                break
        else:
            self.copied(stored)
        if self.next == 1:
            raise Trouble(f"{self.backup}: the backup has no data at that time")
        for n, why in self.lost:
            if n in state.bridged:
                report(f"commit {n} was lost; the log continues without it")
            else:
                self.problems.add(f"commit {n} is skipped: {why}")
        return state

    def copied(self, stored):
        """Reports a log that was not completely copied (format.md 2.1)."""
        end = max((int(m[1]) for m in map(COPYING.fullmatch, stored) if m), default=0)
        if end >= self.next:
            self.problems.add(f"the backup was not completely copied: commits {self.next} to {end} are not here yet; run the export again")

    # -- objects that do not belong to the log, although they are in its place: format.md 4

    def belonging(self, names):
        """Returns the objects of the log, without those of another history."""
        spans = [(int(m[1]), int(m[2] or m[1]), m) for m in names]
        singles = {first for first, _, m in spans if not m[2]}
        foreign = {s for s in spans if s[2][2] and self.doubtful(s, spans, singles) and not self.continued(s, spans, singles)}
        spans = [s for s in spans if s not in foreign]
        begin = self.after_hole(spans)
        begin = self.after_stray([s for s in spans if s[1] >= begin]) or begin
        for _, last, m in foreign.union(s for s in spans if s[1] < begin):
            report(f"{m[0]} does not belong to the log and is ignored")
        return [m for _, last, m in spans if last >= begin]

    def doubtful(self, s, spans, singles):
        overlaps = any(o is not s and o[0] <= s[1] and s[0] <= o[1] for o in spans)
        return overlaps or bool(singles) and s[1] >= max(singles)

    def continued(self, s, spans, singles):
        """Whether the next commit names the hash of the last commit of a segment. A damaged segment
        counts as one of the log."""
        try:
            hashes, prev = {}, None
            for number, head, digest, _ in self.commits(s[2]):
                if number != (max(hashes) + 1 if hashes else s[0]) or prev and head["prev"] not in ("", prev):
                    raise Damaged("a commit does not continue the previous one")
                hashes[number] = prev = digest
            if max(hashes, default=0) != s[1]:
                raise Damaged("commits are missing")
        except Damaged:
            return True
        after = [o for o in spans if o is not s and o[0] <= s[1] + 1 <= o[1]]
        for o in sorted(after, key=lambda o: bool(o[2][2])):    # a single commit first
            prev = self.of_commit(o, s[1] + 1, lambda head, digest: head["prev"])
            if prev:
                return prev == hashes[s[1]]
        same = max((n for n in singles if s[0] <= n <= s[1]), default=0)
        if not same:
            return True
        digest = self.of_commit(next(o for o in spans if o[0] == same and not o[2][2]), same, lambda head, digest: digest)
        return digest in (None, hashes[same])

    def of_commit(self, s, n, what):
        """Returns what(first line, hash) of a commit, or None if it is unreadable."""
        with contextlib.suppress(Damaged):
            for number, head, digest, _ in self.commits(s[2]):
                if number == n:
                    return what(head, digest)
        return None

    def after_hole(self, spans):
        """Returns the commit with which the log begins if retention has ended in a hole of it, or 0."""
        begin, end = 0, 0
        for first, last, _ in sorted(spans, key=lambda s: s[:2]):
            if end and first > end + 1 and self.retained(first, spans):
                begin = first
            end = max(end, last)
        return begin

    def after_stray(self, spans):
        """Returns the commit with which the log begins if it does not continue the one before, and
        retention has ended between the two; otherwise 0."""
        first = min(s[0] for s in spans) if spans else 1
        kept = [int(n[:16]) for n in self.store.names(f"backups/{self.backup}/checkpoints") if CHECKPOINT.fullmatch(n)]
        end = min((n for n in kept if n >= first - 1), default=0)
        if first == 1 or end < first or any(s[0] <= end < s[1] for s in spans):
            return 0
        of = [self.digest_at(end, spans), self.prev_at(end + 1, spans)]
        return end + 1 if all(of) and of[0] != of[1] and self.retained(end + 1, spans) else 0

    def digest_at(self, n, spans):
        return next((self.of_commit(s, n, lambda head, digest: digest) for s in spans if s[0] <= n <= s[1]), None)

    def prev_at(self, n, spans):
        return next((self.of_commit(s, n, lambda head, digest: head["prev"]) for s in spans if s[0] <= n <= s[1]), None)

    def retained(self, n, spans):
        """Whether retention has removed all commits before n: it leaves a checkpoint and an event."""
        if f"{n - 1:016}.tar.zst" not in self.store.names(f"backups/{self.backup}/checkpoints"):
            return False
        after = n - 1
        with contextlib.suppress(Damaged):
            for first, last, m in sorted(spans, key=lambda s: s[:2]):
                if last <= after:
                    continue
                if first > after + 1:
                    break       # another hole
                for number, _, _, events in self.commits(m):
                    if any(e.get("event") == "retained" and number_of(e["to"], "a commit") >= n - 1 for e in events):
                        return True
                after = last
        return False

    def commits(self, m):
        """Yields (number, first line, hash, other lines) of the commits in an object."""
        key, spool = f"backups/{self.backup}/log/{m[0]}", os.path.join(self.scratch, "commit")
        with damage(key):
            for name, size, read in entries(self.store, key):
                if name.endswith("commit.ndjson"):
                    self.save(spool, read, size)
                    with open(spool, "rb") as f:
                        events = lines(lambda: f.read(1 << 20), key)
                        head = next(events)
                        number = int(name[:16]) if "/" in name else int(m[1])
                        if head["backup"] != self.backup or head["number"] != number:
                            raise Damaged(f"{key}: commit {number} belongs to another backup or number")
                        yield number, head, self.digest.hexdigest(), events

    def contradicts(self, state, number, spans):
        """Whether the log shows that a checkpoint is of another one: format.md 5.3."""
        other = False           # the next commit names another one
        for s in spans:
            if state.hash and s[0] <= number + 1 <= s[1]:
                try:
                    for n, head, _, events in self.commits(s[2]):
                        if n == number + 1 and head["prev"] in ("", state.hash):
                            return False
                        if n == number + 1:
                            other = not any(e.get("event") == "bridged" for e in events)
                except Damaged:
                    return False
        if state.hash and any(s[0] <= number <= s[1] for s in spans):
            return self.digest_at(number, spans) not in (None, state.hash)
        newest = max(spans, key=lambda s: s[1], default=None)
        if other or not newest or newest[1] >= number:
            return other
        made = self.of_commit(newest, newest[1], lambda head, digest: moment(head["time"]))
        return bool(made) and made > state.made

    def before_log(self, state, first):
        """Returns the number of the checkpoint that retention left at the beginning of the log, or 0.
        The places in it replace those in the log that was removed."""
        at = f"backups/{self.backup}/checkpoints"
        for name in sorted(filter(CHECKPOINT.fullmatch, self.store.names(at))):
            number = int(name[:16])
            if number >= first - 1:
                try:
                    if number != self.next - 1:
                        state.places(f"{at}/{name}")
                    return number
                except Damaged as e:
                    report(f"checkpoint {number} is skipped: {e}")
        return 0

    def single(self):
        """The checkpoint is a single moment: what came after it was removed by retention."""
        if self.begun[:19] != self.until[:19]:
            self.problems.add(f"the history between {self.begun} and a later moment was removed by retention: this is the state of {self.begun}")

    def begin(self, names):
        spans = [(int(m[1]), int(m[2] or m[1]), m) for m in names]
        at = f"backups/{self.backup}/checkpoints"
        for name in sorted(filter(CHECKPOINT.fullmatch, self.store.names(at)), reverse=True):
            state = State(self.store, self.backup, tempfile.mkdtemp(dir=self.scratch))
            number = int(name[:16])
            try:
                if not state.checkpoint(f"{at}/{name}", number, self.until):
                    self.later.add(number)
                elif self.contradicts(state, number, spans):
                    report(f"checkpoint {number} is of another log and is ignored")
                else:
                    self.begun = state.made
                    return state, number + 1
            except Damaged as e:
                report(f"checkpoint {number} is skipped: {e}")
        return State(self.store, self.backup, tempfile.mkdtemp(dir=self.scratch)), 1

    def object(self, state, name, first, last):
        """Applies the commits of an object. Returns False at the first commit after the moment."""
        key = f"backups/{self.backup}/log/{name}"
        for n in range(self.next, min(first, self.next + 1000)):
            self.lost.append((n, "no object contains it"))
        try:
            with damage(key):
                return self.read(state, key, first, last)
        except Damaged as e:
            if self.next <= last:
                self.lost.append((self.next, str(e)))
                self.next, self.hash = last + 1, None
            return True

    def read(self, state, key, first, last):
        spool = os.path.join(self.scratch, "commit")
        for name, size, read in entries(self.store, key):
            number = int(name[:16]) if "/" in name else first
            if name.endswith("commit.ndjson") and number >= self.next:
                # Read it to the end before applying any of it.
                self.save(spool, read, size)
                if not self.apply(state, spool, number):
                    return False
            elif name.endswith("places.ndjson"):
                with state.transaction():
                    for p in lines(read, key):
                        self.place(state, p, key)
        return True

    def place(self, state, p, key):
        try:
            with damage(key):
                state.place(p, key)
        except Damaged as e:
            self.problems.add(f"a place in {key} is skipped: {e}")

    def save(self, spool, read, size):
        if size > 256 << 20:
            raise Damaged("a commit is larger than format.md allows")
        self.digest = hashlib.sha256()
        with open(spool, "wb") as f:
            for data in iter(read, b""):
                self.digest.update(data)
                f.write(data)

    def apply(self, state, spool, number):
        with open(spool, "rb") as f:
            events = lines(lambda: f.read(1 << 20), f"commit {number}")
            head = next(events)
            if head["version"] not in (1, 2, 3) or head["backup"] != self.backup or head["number"] != number:
                raise Damaged(f"commit {number}: the first line belongs to another backup, number or version")
            if self.until and moment(head["time"]) > self.until:
                return False
            if self.hash and head["prev"] and head["prev"] != self.hash:
                self.problems.add(f"commit {number} does not continue the previous one")
            with state.transaction():
                state.commit(events, number)
        self.next, self.hash = number + 1, self.digest.hexdigest()
        return True


# ---- the Maildir

def folder_name(internal):
    """Returns the directory of a mailbox in a Maildir++, by the mapping of restore.md ("File names")."""
    levels = below_inbox(internal)
    if not levels:
        return ""
    parts = [escaped(level) or "%_" for level in levels]
    if parts[0].lower() == "inbox":
        parts[0] = "%%%02X" % ord(parts[0][0]) + parts[0][1:]
    name = "".join("." + p for p in parts)
    if len(name) <= 200:
        return name
    end = 160
    escape = name.rfind("%", 0, end)
    if escape >= 0 and end - escape < 3:
        end = escape
    original = ".".join(levels).encode("utf-8", "surrogateescape")
    return name[:end] + "%-" + hashlib.sha256(original).hexdigest()[:16]


def below_inbox(internal):
    rest = internal.partition("!")[2] or internal
    levels = rest.split(".")
    return levels[2:] if levels[0] == "user" and len(levels) > 1 and levels[1] else levels


def escaped(level):
    return "".join(chr(b) if 0x20 <= b < 0x7F and chr(b) not in "%/\\" else "%%%02X" % b
                   for b in level.encode("utf-8", "surrogateescape"))


def external(internal):
    """Returns a name as an administrator writes it with unixhierarchysep on; still in modified UTF-7."""
    domain, bang, name = internal.partition("!")
    name = name if bang else internal
    return name.replace(".", "/").replace("^", ".") + ("@" + domain if bang else "")


class Maildir:
    """A new Maildir++ that only this user can write to."""

    def __init__(self, root, problems):
        self.root, self.problems = root, problems
        try:
            os.mkdir(root, 0o700)
        except OSError as e:
            raise Trouble(f"{root} must be a new directory: {e.strerror}")
        self.pieces = os.path.join(root, "tmp", "pieces")
        self.folders = {}       # uniqueid: directory

    def make(self, mailboxes):
        for sub in ("cur", "new", "tmp", "tmp/pieces"):
            os.mkdir(os.path.join(self.root, sub))
        taken = set()
        with open(os.path.join(self.root, "folders.ndjson"), "x") as index:
            for uniqueid, name in mailboxes:
                folder = folder_name(name)
                try:
                    if folder in taken:
                        raise FileExistsError(errno.EEXIST, "another mailbox has the same directory")
                    taken.add(folder)
                    if folder:
                        os.mkdir(os.path.join(self.root, folder))
                        for sub in ("cur", "new", "tmp"):
                            os.mkdir(os.path.join(self.root, folder, sub))
                        open(os.path.join(self.root, folder, "maildirfolder"), "x").close()
                except OSError as e:
                    self.problems.add(f"{name} is skipped: {e.strerror}")
                    continue
                self.folders[uniqueid] = os.path.join(self.root, folder)
                print(json.dumps({"path": folder or ".", "name": external(name), "internal": name, "uniqueid": unbound(uniqueid)}), file=index)

    def finish(self):
        shutil.rmtree(self.pieces)


ENDS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class Restore:
    def __init__(self, store, state, maildir, problems):
        self.store, self.state, self.db, self.maildir, self.problems = store, state, state.db, maildir, problems
        self.shown, self.done, self.total, self.erased = 0, 0, 0, 0

    def run(self, mailboxes):
        self.maildir.make(mailboxes)
        wanted = ",".join("?" * len(self.maildir.folders))
        self.records = (f"FROM record LEFT JOIN message USING (guid) WHERE record.live AND mailbox IN ({wanted})", list(self.maildir.folders))
        where, args = self.records
        self.total = self.db.execute("SELECT count(*) " + where, args).fetchone()[0]
        self.count_uses()
        self.fetch()
        self.write()
        self.maildir.finish()
        erased = f", {self.erased} erased" if self.erased else ""
        print(f"{self.done} of {self.total} messages restored{erased}, {self.problems.count} problem{'s' * (self.problems.count != 1)}")

    def count_uses(self):
        where, args = self.records
        with self.state.transaction():
            for (chunks,) in self.db.execute("SELECT chunks " + where + " AND chunks > ''", args):
                for c in chunks.split():
                    self.db.execute("INSERT INTO chunk VALUES (?, NULL, 0, 1) ON CONFLICT DO UPDATE SET uses = uses + 1", (c,))

    def fetch(self):
        """Fetches every wanted chunk from its newest place, or else from an older one."""
        tried, self.failed = set(), {}
        while True:
            rows = self.db.execute("""SELECT object FROM place JOIN chunk ON chunk = hash WHERE sha1 IS NULL
                                      GROUP BY object ORDER BY max(n) DESC""").fetchall()
            todo = [o for o, in rows if o not in tried]
            if not todo:
                break
            for key in todo:
                tried.add(key)
                try:
                    self.pull(key)
                except Damaged as e:
                    if not self.follow(key):
                        self.failed[key] = str(e)
        for key, why in self.failed.items():
            if self.wanted(key):
                self.problems.add(why)
            else:
                report(f"{why}; its contents were read from other objects")

    def wanted(self, key):
        """Returns the entries of an object whose chunks are still missing, with these chunks."""
        return dict(self.db.execute("SELECT entry, chunk FROM place JOIN chunk ON chunk = hash WHERE object = ? AND sha1 IS NULL", (key,)))

    def pull(self, key):
        """Reads one object and stores its wanted chunks."""
        with damage(key):
            names = self.wanted(key)
            have = set()
            for name, size, read in entries(self.store, key) if names else ():
                if name in names and names[name] not in have and self.chunk(names[name], size, read, key):
                    have.add(names[name])

    def chunk(self, want, size, read, key):
        """Stores a chunk if its bytes have its hash. A partial file is overwritten."""
        path = os.path.join(self.maildir.pieces, want)
        sha1, sha256 = hashlib.sha1(), hashlib.sha256()
        with open(path + ".part", "wb") as f:
            for data in iter(read, b""):
                sha1.update(data)
                sha256.update(data)
                f.write(data)
        if sha256.hexdigest() != want:
            self.failed[key] = f"{key}: the bytes of {want} do not have its hash"
            return False
        os.rename(path + ".part", path)
        self.db.execute("UPDATE chunk SET sha1 = ?, size = ? WHERE hash = ?", (sha1.hexdigest(), size, want))
        self.progress()
        return True

    def follow(self, key):
        """Records the new places of the entries of a pack that is gone (format.md 6)."""
        m = PACK.fullmatch(key)
        if not m:
            return False
        try:
            with damage(key), self.store.get(f"moved/{m[1]}/{m[2]}.json") as path, open(path, "rb") as f:
                note = json.load(f)["entries"]
                for entry, chunk in self.db.execute("SELECT entry, chunk FROM place WHERE object = ?", (key,)).fetchall():
                    if entry in note:
                        self.state.place({"chunk": chunk, "object": note[entry], "entry": entry}, None)
        except Damaged:
            return False
        return True

    def write(self):
        where, args = self.records
        rows = self.db.execute("SELECT mailbox, uid, guid, date, flags, size, chunks " + where + " ORDER BY mailbox, uid", args)
        for mailbox, uid, guid, date, flags, size, chunks in rows:
            path = os.path.join(self.maildir.folders[mailbox], "cur", f"{date}.{uid}_{guid}:2,{flags}")
            if chunks is None:
                self.problems.add(f"uid {uid} of {self.name(mailbox)}: the backup has no body of {guid}")
                continue
            try:
                self.put(path, chunks.split(), guid)
                os.utime(path, (date, date))
            except OSError as e:
                if e.errno in ENDS_ALL:
                    raise
                self.problems.add(f"uid {uid} of {self.name(mailbox)} cannot be written: {e}")
                continue
            except Erased as e:
                self.erased += 1
                report(f"uid {uid} of {self.name(mailbox)}: {e}")
                continue
            except (Damaged, OverflowError) as e:
                self.problems.add(f"uid {uid} of {self.name(mailbox)}: {e}")
                continue
            self.done += 1
            self.progress()

    def name(self, mailbox):
        return unbound(self.db.execute("SELECT name FROM mailbox WHERE id = ?", (mailbox,)).fetchone()[0])

    def put(self, path, chunks, guid):
        have = {c: self.db.execute("SELECT sha1, uses FROM chunk WHERE hash = ?", (c,)).fetchone() for c in chunks}
        lost = [c for c in chunks if have[c][0] is None]
        if lost:
            at = self.db.execute("SELECT at FROM erased WHERE chunk = ?", (lost[0],)).fetchone()
            if at:
                raise Erased(f"{guid} was erased on {at[0]}")
            raise Damaged(f"{guid} is not restored: the backup no longer has its body")
        if len(chunks) == 1 and have[chunks[0]][0] == guid and have[chunks[0]][1] == 1:
            os.rename(os.path.join(self.maildir.pieces, chunks[0]), path)
            return
        digest = hashlib.sha1()
        with open(path, "xb") as out:
            for c in chunks:
                with open(os.path.join(self.maildir.pieces, c), "rb") as f:
                    for data in iter(lambda: f.read(1 << 20), b""):
                        digest.update(data)
                        out.write(data)
        if digest.hexdigest() != guid:
            os.unlink(path)
            raise Damaged(f"{guid} is not restored: its bytes have another hash")

    def progress(self):
        if sys.stderr.isatty() and time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            fetched = self.db.execute("SELECT count(sha1), count(*) FROM chunk").fetchone()
            print(f"\r{fetched[0]} of {fetched[1]} bodies read, {self.done} of {self.total} messages written ", end="", file=sys.stderr, flush=True)


# ---- the command line

def usage():
    print(USAGE, file=sys.stderr)
    sys.exit(WRONG)


def check_store(store, given):
    """Reports a mistyped STORE, which must not look like a store without backups."""
    if given.startswith(("s3://", "minio://")):
        raise Trouble(f"{given} is the notation of imapd.conf; write aws:s3://BUCKET/PREFIX, mc:ALIAS/BUCKET/PREFIX or rclone:REMOTE:BUCKET/PREFIX")
    try:
        with store.get("repository.json"):
            pass
    except Damaged as e:
        if not store.names("backups"):
            raise Trouble(f"no backup found at {given}: check the prefix ({e})")
        report(f"warning: {e}")


def check_arguments(verb, args):
    for a in args[2:] if verb == "restore" else args[1:]:
        if re.match(r"\d{4}-\d\d-\d\d", a):
            raise Trouble(f"{a}: write a TIME in UTC, for example 2026-11-20T14:05:00Z")
        if "/" in a and a.partition("/")[0] in ("user", "shared"):
            raise Trouble(f"{a}: write a MAILBOX as printed by mailboxes, for example user.anne.Sent")
    if args and "/" not in args[0]:
        raise Trouble(f"{args[0]}: write a BACKUP as printed by list, for example user/{args[0]}")


def list_backups(store):
    for kind in ("user", "shared", "server"):
        for name in store.names("backups/" + kind):
            if BACKUP.fullmatch(f"{kind}/{name}"):
                print(f"{kind}/{name}")


def main(args):
    os.umask(0o077)
    if len(args) < 2 or args[1] not in ("list", "mailboxes", "restore"):
        usage()
    store, verb, args = args[0], args[1], args[2:]
    problems = Problems()
    until = args.pop() if args and MOMENT.fullmatch(args[-1]) else None
    if verb == "list" and (args or until) or verb == "mailboxes" and len(args) != 1 or verb == "restore" and len(args) < 2:
        usage()
    with tempfile.TemporaryDirectory() as scratch:
        check_arguments(verb, args)
        given, store = store, store_of(store, scratch)
        check_store(store, given)
        if verb == "list":
            list_backups(store)
            return DONE
        backup = args[0]
        if not BACKUP.fullmatch(backup):
            usage()
        state = Log(store, backup, until, scratch, problems).state()
        warn_if_moved(store, state)
        wanted = [name for name in args[2:] if name]
        mailboxes = [(u, unbound(n)) for u, n in state.db.execute("SELECT id, name FROM mailbox WHERE live ORDER BY name")
                     if not wanted or unbound(n) in wanted]
        for name in set(wanted) - {n for _, n in mailboxes}:
            problems.add(f"{name}: no mailbox of this name at that time")
        if verb == "mailboxes":
            for uniqueid, name in mailboxes:
                print(f"{shown(name)}\t{shown(unbound(uniqueid))}")
        elif not mailboxes:
            raise Trouble(f"{backup}: no mailbox at that time" if not wanted else "nothing to restore")
        else:
            Restore(store, state, Maildir(args[1], problems), problems).run(mailboxes)
    return INCOMPLETE if problems.count else DONE


def warn_if_moved(store, state):
    if not state.sealed:
        return
    try:
        with damage("repository.json"), store.get("repository.json") as path, open(path, "rb") as f:
            here = json.load(f)["id"]
    except Damaged as e:
        here = str(e)
    if here != state.sealed:
        report(f"warning: {state.backup} was moved to repository {state.sealed}; newer mail is there")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as e:
        report(str(e))
        sys.exit(INCOMPLETE)
    except (OSError, sqlite3.OperationalError) as e:
        report(f"the restore ends here: {e}. Make room and restore into a new directory")
        sys.exit(INCOMPLETE)
    except KeyboardInterrupt:
        sys.exit(130)
