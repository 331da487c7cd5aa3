"""The state of the source: mailboxes, messages and the rest, read over IMAP and ManageSieve."""
import datetime
import hashlib
import re

from . import instance
from .host import die
from .imap import ADMIN, q

UNIQUEID = "/shared/vendor/cmu/cyrus-imapd/uniqueid"
SYNCCRCS = "/shared/vendor/cmu/cyrus-imapd/synccrcs"
OWN = "/vendor/cmu/cyrus-imapd/"        # Cyrus's own annotations: computed, not stored


# ---- responses as values

TOKEN = re.compile(rb' |\(|\)|"((?:[^"\\]|\\.)*)"|~?\{(\d+)\}\r\n|((?:\[[^\]]*\]|[^ ()"\r\n])+)', re.S)


def values(line, pos=0):
    """'* 1 FETCH (UID 1 …)' -> nested lists of bytes and None (NIL)."""
    stack = [[]]
    while pos < len(line):
        m = TOKEN.match(line, pos)
        if not m:
            if line[pos:].strip():
                die("cannot read %r" % line[pos:pos + 60])
            break
        pos = m.end()
        t = m.group(0)
        if t == b"(":
            stack.append([])
        elif t == b")":
            done = stack.pop()
            stack[-1].append(done)
        elif m.group(1) is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", m.group(1)))
        elif m.group(2):
            n = int(m.group(2))
            stack[-1].append(line[pos:pos + n])
            pos += n
        elif t != b" ":
            stack[-1].append(None if t.upper() == b"NIL" else t)
    return stack[0]


def text(b):
    return b.decode("utf-8", "surrogateescape")


def plist(items):
    return list(zip(items[0::2], items[1::2]))


class Names:
    """Converts between names of imapd and names of replication and mailboxes.db."""

    def __init__(self, config):
        def on(key, default):
            return config.get(key, default) in ("yes", "1", "on", "true")
        self.slash = on("unixhierarchysep", "yes")
        self.alt = on("altnamespace", "yes")
        self.domains = config.get("virtdomains", "off") not in ("off", "no", "0")

    def parts(self, s):
        return s.replace(".", "^").replace("/", ".") if self.slash else s

    def internal(self, name):
        """From an administrator's view: user/anne@example.org -> example.org!user.anne"""
        if self.domains and "@" in name:
            name, dom = name.rsplit("@", 1)
            return dom + "!" + self.parts(name)
        return self.parts(name)

    def inbox(self, userid):
        """Internal name of a user's INBOX."""
        local, _, dom = userid.partition("@") if self.domains else (userid, "", "")
        return (dom + "!" if dom else "") + "user." + local.replace(".", "^")

    def owner(self, internal):
        """(userid or None, name below that user's or the shared INBOX, deleted?)"""
        dom, _, name = internal.rpartition("!")
        p = name.split(".")
        deleted = p[0] == "DELETED"
        if deleted:
            p = p[1:]
        if p[0] != "user":
            return None, p, deleted
        return p[1].replace("^", ".") + ("@" + dom if dom else ""), p[2:], deleted

    def in_own_view(self, internal):
        """The name of a live mailbox as its user sees it."""
        rest = ".".join(self.owner(internal)[1])
        if self.slash:
            rest = rest.replace(".", "/").replace("^", ".")
        if not rest:
            return "INBOX"
        return rest if self.alt else "INBOX" + ("/" if self.slash else ".") + rest

    def from_view(self, userid, name):
        """As a user sees it -> internal."""
        p = self.parts(name).split(".")
        top = self.inbox(userid)
        if p[0].upper() == "INBOX" and (len(p) == 1 or not self.alt):
            return ".".join([top] + p[1:])
        if not self.alt:
            return ".".join(p)
        if p[0] == "Other Users":
            return ".".join(["user"] + p[1:])
        if p[0] == "Shared Folders":
            return ".".join(p[1:])
        return ".".join([top] + p)


class Source:
    def __init__(self, lab, inst="src"):
        self.lab, self.inst = lab, inst
        self.names = Names(lab.inst(inst)["config"])
        self.conns, self.bodies = {}, {}

    def close(self):
        for c in self.conns.values():
            c.close()
        self.conns, self.bodies = {}, {}

    def conn(self, user):
        if user not in self.conns:
            self.conns[user] = instance.connect(self.lab, user, self.inst)
        return self.conns[user]

    def mailboxes(self):
        """Every mailbox: {uniqueid: head}."""
        out = {}
        c = self.conn(ADMIN)
        for l in c.cmd('GETMETADATA "*" (%s %s)' % (UNIQUEID, SYNCCRCS)):
            v = values(l)
            if v[1:2] != [b"METADATA"] or not v[2]:
                continue
            ext, ann = text(v[2]), {text(k): text(x) for k, x in plist(v[3]) if x is not None}
            # timsieved stores scripts in a mailbox too; they are compared as scripts
            if UNIQUEID not in ann or "#sieve" in ext:
                continue
            m = out[ann[UNIQUEID]] = {"uniqueid": ann[UNIQUEID], "ext": ext,
                                      "name": self.names.internal(ext)}
            m["owner"], _, m["deleted"] = self.names.owner(m["name"])
            m["crcs"] = [int(n) for n in ann[SYNCCRCS].split()]
        return out

    def select(self, scope, mailboxes=None):
        """The mailboxes of scope: "all", or a set of ("user", id) and ("mailbox", external name)."""
        return {u: m for u, m in (mailboxes or self.mailboxes()).items()
                if scope == "all" or ("user", m["owner"]) in scope or ("mailbox", m["ext"]) in scope}

    def look(self, scope, whole):
        """State of the mailboxes in scope; whole: with bodies, annotations, ACL and quota."""
        boxes = self.select(scope)
        for m in boxes.values():
            if whole:
                self.heads(m)
            if not m["deleted"]:            # imapd does not allow selecting a deleted mailbox
                self.messages(m, whole)
        return boxes

    def heads(self, m):
        a = self.conn(ADMIN)
        for l in a.cmd("GETACL " + q(m["ext"])):
            if l.startswith(b"* ACL"):
                m["acl"] = {text(i): text(r) for i, r in plist(values(l)[3:])}
        m["quota"] = {}
        for l in a.cmd("GETQUOTAROOT " + q(m["ext"])) if not m["deleted"] else ():
            v = values(l)
            if v[1:2] == [b"QUOTA"]:
                r = v[3]
                m["quota"][self.names.internal(text(v[2]))] = {
                    text(r[i]): int(r[i + 2]) for i in range(0, len(r), 3)}
        user = m["owner"] if m["owner"] and not m["deleted"] else ADMIN
        c, name = self.conn(user), self.names.in_own_view(m["name"]) if user != ADMIN else m["ext"]
        m["annotations"] = {}
        for l in c.cmd("GETMETADATA (DEPTH infinity) %s (/shared /private)" % q(name)):
            v = values(l)
            if v[1:2] != [b"METADATA"]:
                continue
            for k, x in plist(v[3]):
                kind, entry = re.match(r"/(shared|private)(.*)", text(k)).groups()
                if entry == OWN + "sharedseen":
                    m["sharedseen"] = x == b"true"
                if x is not None and not entry.startswith(OWN):
                    m["annotations"][entry, "" if kind == "shared" else user] = text(x)

    def messages(self, m, whole):
        user = m["owner"] or ADMIN
        c = self.conn(user)
        r = c.cmd("EXAMINE " + q(self.names.in_own_view(m["name"]) if m["owner"] else m["ext"]))
        for l in r:
            g = re.search(rb"\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)", l)
            if g:
                m[g.group(1).decode().lower()] = int(g.group(2))
        m["messages"] = {}
        what = "(UID FLAGS MODSEQ%s)" % (
            " INTERNALDATE RFC822.SIZE ANNOTATION (/* (value.priv value.shared))" if whole else "")
        for l in c.cmd("UID FETCH 1:* " + what, ok=False):
            v = values(l)
            if v[2:3] != [b"FETCH"]:
                continue
            f = {k.upper(): x for k, x in plist(v[3])}
            if b"UID" not in f:
                continue                    # flags changed by another session
            msg = {"modseq": int(f[b"MODSEQ"][0]),
                   "flags": sorted(text(x) for x in f[b"FLAGS"] if x != b"\\Recent")}
            if not m["owner"] and not m.get("sharedseen"):
                msg["flags"] = [x for x in msg["flags"] if x != "\\Seen"]   # the administrator's own
            if whole:
                when = text(f[b"INTERNALDATE"]).strip()
                msg["internaldate"] = int(datetime.datetime.strptime(when, "%d-%b-%Y %H:%M:%S %z").timestamp())
                msg["size"] = int(f[b"RFC822.SIZE"])
                msg["annotations"] = {
                    (text(e), user if k == b"value.priv" else ""): text(x)
                    for e, vals in plist(f.get(b"ANNOTATION", [])) for k, x in plist(vals)
                    if x is not None and not text(e).startswith(OWN)}
            m["messages"][int(f[b"UID"])] = msg
        if whole:
            self.hash_bodies(c, m)
        c.cmd("UNSELECT")

    def hash_bodies(self, c, m):
        """SHA-1 of every message's bytes; a UID's bytes never change, so each is read once."""
        key = m["uniqueid"], m["uidvalidity"]
        need = [u for u in m["messages"] if (key, u) not in self.bodies]
        for i in range(0, len(need), 100):
            for l in c.cmd("UID FETCH %s (UID BODY.PEEK[])" % ",".join(map(str, need[i:i + 100]))):
                v = values(l)
                if v[2:3] == [b"FETCH"]:
                    f = dict(plist(v[3]))
                    if b"BODY[]" in f:
                        self.bodies[key, int(f[b"UID"])] = hashlib.sha1(f[b"BODY[]"] or b"").hexdigest()
        for u, msg in m["messages"].items():
            msg["guid"] = self.bodies.get((key, u), "unreadable")

    def account(self, user):
        """A user's data outside mailboxes: subscriptions, scripts, seen state elsewhere."""
        c = self.conn(user)
        out = {"subs": set(), "seen": {}, "scripts": {}, "active": None}
        for l in c.cmd('LSUB "" "*"'):
            v = values(l)
            if v[1:2] == [b"LSUB"]:
                out["subs"].add(self.names.from_view(user, text(v[4])))
        s = instance.sieve(self.lab, user, self.inst)
        try:
            for l in s.cmd("LISTSCRIPTS"):
                g = re.match(rb'"([^"]*)"( ACTIVE)?', l)
                if g:
                    name = text(g.group(1))
                    out["scripts"][name] = text(s.cmd('GETSCRIPT "%s"' % name)[0])
                    if g.group(2):
                        out["active"] = name
        finally:
            s.close()
        ids = {m["name"]: u for u, m in self.mailboxes().items()}
        for l in c.cmd('LIST "" "*"'):
            v = values(l)
            if v[1:2] != [b"LIST"] or b"\\Noselect" in v[2]:
                continue
            name = self.names.from_view(user, text(v[4]))
            if self.names.owner(name)[0] == user or name not in ids:
                continue
            if not c.cmd("EXAMINE " + q(text(v[4])), ok=False)[-1].split(b" ", 1)[1].startswith(b"OK"):
                continue
            seen, live = set(), set()
            for l in c.cmd("UID FETCH 1:* (UID FLAGS)", ok=False):
                f = values(l)
                if f[2:3] == [b"FETCH"]:
                    f = dict(plist(f[3]))
                    live.add(int(f[b"UID"]))
                    if b"\\Seen" in f[b"FLAGS"]:
                        seen.add(int(f[b"UID"]))
            c.cmd("UNSELECT")
            out["seen"][ids[name]] = seen, live
        return out
