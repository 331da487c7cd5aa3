"""Compares the bucket with the source. Every difference is one line of text."""
import base64
import hashlib
import zlib

from . import target
from .source import OWN


def plain(v):
    """A dlist value in JSON -> str, list, dict, None."""
    if isinstance(v, dict):
        if set(v) == {"b64"}:
            return base64.b64decode(v["b64"]).decode("utf-8", "surrogateescape")
        if set(v) == {"flag"}:
            return plain(v["flag"])
        if set(v) == {"kv"}:
            return {k: plain(x) for k, x in v["kv"]}
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    return v


def fields(v):
    """Fields of a mailbox, a quota, … : an object, or pairs where order matters."""
    v = v["kv"] if isinstance(v, dict) and set(v) == {"kv"} else v
    return {k: plain(x) for k, x in (v.items() if isinstance(v, dict) else v)}


class Bucket:
    """The state of backups, as cyr_backup reads it from the bucket."""

    def __init__(self, lab, users=(), shared=(), name="backup"):
        self.lab, self.name = lab, name
        self.mailboxes, self.items = {}, []
        self.who = [("-u", u) for u in users] + [("-m", s) for s in shared]
        for who in self.who:
            for o in target.ndjson(lab, *who, "json", "state", name=name):
                self.add(o)

    def add(self, o):
        t = o["type"]
        if t == "mailbox":
            o["fields"] = fields(o["fields"])
            o["records"] = {}
            # a mailbox that was moved to another backup leaves a tombstone
            old = self.mailboxes.get(o["uniqueid"])
            if old is None or old.get("deleted") or not o.get("deleted"):
                self.mailboxes[o["uniqueid"]] = o
        elif t == "record":
            m = self.mailboxes.get(o["uniqueid"])
            if m is not None:
                o["annotations"] = [{k: plain(v) for k, v in a.items()} for a in o.get("annotations") or []]
                m["records"][o["uid"]] = o
        else:
            self.items.append(o)

    def live(self):
        return {u: m for u, m in self.mailboxes.items() if not m.get("deleted")}

    def of(self, kind, **want):
        return [o for o in self.items if o["type"] == kind and all(o.get(k) == v for k, v in want.items())]


def alive(rec):
    return not rec.get("expunged") and "\\Expunged" not in rec["flags"]


def crc(s):
    return zlib.crc32(s.encode("utf-8", "surrogateescape"))


def sync_crcs(m):
    """Both CRCs of Cyrus (imap/mailbox.c, mailbox_synccrcs) over the records in the bucket."""
    basic, annot = 0, 12345678
    for r in m["records"].values():
        if not alive(r):
            continue
        flags = 0
        for f in r["flags"]:
            flags ^= crc(f.lower())
        basic ^= crc("%d %s %s (%d) %s %s" % (r["uid"], r["modseq"], r["last_updated"], flags,
                                              r["internaldate"], r["guid"]))
        for a in r["annotations"]:
            if a["value"] is not None:
                annot ^= crc("%d %s %s %s" % (r["uid"], a["entry"], a["userid"] or "", a["value"]))
    return [basic, annot]


def sequence(s):
    """'1:3,7' -> {1, 2, 3, 7}"""
    out = set()
    for part in filter(None, str(s or "").split(",")):
        a, _, b = part.partition(":")
        out.update(range(int(a), int(b or a) + 1))
    return out


def unchanged(a, b):
    """Compares two states of the source: has anything changed that a client could notice?"""
    out = []
    for u in sorted(set(a) | set(b)):
        if (u in a) != (u in b):
            out.append("mailbox %s %s" % ((a.get(u) or b[u])["name"], "is gone" if u in a else "is new"))
            continue
        for k in ("name", "uidvalidity", "uidnext", "highestmodseq", "crcs"):
            if a[u].get(k) != b[u].get(k):
                out.append("%s: %s was %r, is %r" % (a[u]["name"], k, a[u].get(k), b[u].get(k)))
        x, y = a[u].get("messages", {}), b[u].get("messages", {})
        for uid in sorted(set(x) | set(y)):
            p = {k: x[uid][k] for k in ("flags", "modseq")} if uid in x else None
            n = {k: y[uid][k] for k in ("flags", "modseq")} if uid in y else None
            if p != n:
                out.append("%s: uid %d was %r, is %r" % (a[u]["name"], uid, p, n))
    return out


def looks(want, got, uids=True, ids=True, modseqs=True):
    """Compares the mailboxes and messages of a source before and after a restore."""
    key = (lambda m: m["uniqueid"]) if ids else (lambda m: m["name"])
    a, b = {key(m): m for m in want.values()}, {key(m): m for m in got.values()}
    out = ["%s is missing" % a[k]["name"] for k in sorted(set(a) - set(b))]
    out += ["%s is unexpected" % b[k]["name"] for k in sorted(set(b) - set(a))]
    heads = ["name", "acl", "quota", "annotations"] + (["uidvalidity", "uidnext", "crcs"] if uids else [])
    if modseqs:
        heads.append("highestmodseq")
    for k in sorted(set(a) & set(b)):
        m, n = a[k], b[k]
        for h in heads:
            if m.get(h) != n.get(h):
                out.append("%s: %s was %r, is %r" % (m["name"], h, m.get(h), n.get(h)))
        if "messages" not in m:
            continue
        if uids:
            p, r = m["messages"], n.get("messages", {})
        else:
            def bag(o):
                return sorted((v["guid"], v["flags"], v["internaldate"], sorted(v["annotations"].items()))
                              for v in o.get("messages", {}).values())
            p, r = dict(enumerate(bag(m))), dict(enumerate(bag(n)))
        for uid in sorted(set(p) | set(r)):
            if p.get(uid) != r.get(uid):
                out.append("%s: uid %s was %r, is %r" % (m["name"], uid, p.get(uid), r.get(uid)))
    return out


def mailboxes(src, bucket, exactly=True):
    """src: Source.look(whole=True). exactly: the bucket has no other live mailbox."""
    out = []
    have = bucket.live()
    if exactly:
        for u in sorted(set(have) - set(src)):
            out.append("%s (%s) is live in the bucket but not at the source" % (have[u]["name"], u))
        roots = {r for m in src.values() for r in m["quota"]}
        for o in bucket.of("quota"):
            if o["root"] not in roots:
                out.append("quota of %s is in the bucket but not at the source" % o["root"])
    for u, m in src.items():
        if u not in have:
            out.append("%s (%s) is not in the bucket" % (m["name"], u))
            continue
        out += ["%s: %s" % (m["name"], t) for t in mailbox(m, have[u], bucket)]
    return out


def mailbox(m, b, bucket):
    f = b["fields"]

    def eq(what, source, ours):
        return [] if source == ours else ["%s: source %r, bucket %r" % (what, source, ours)]
    out = eq("name", m["name"], b["name"]) + eq("MBOXNAME", m["name"], f.get("MBOXNAME", b["name"]))
    if b.get("resync"):
        out.append("is in resync: %s" % b["resync"])
    acl = (f.get("ACL") or "").rstrip("\t").split("\t")
    out += eq("ACL", {k: sorted(v) for k, v in m["acl"].items()},
              {acl[i]: sorted(acl[i + 1]) for i in range(0, len(acl) - 1, 2)})
    users = {"", m["owner"] if m["owner"] and not m["deleted"] else "cyrus"}
    # the administrator, who reads deleted mailboxes, cannot see their owner's private annotations
    ours = {(a["ENTRY"], a.get("USERID") or ""): a["VALUE"] for a in f.get("ANNOTATIONS") or []}
    visible = {k: v for k, v in ours.items() if k[1] in users and v is not None and not k[0].startswith(OWN)}
    out += eq("annotations", m["annotations"], visible)
    out += eq("shared seen", m.get("sharedseen", False), "S" in (f.get("OPTIONS") or ""))
    # QUOTAROOT is not compared: a client does not send a mailbox when a root above it changes
    for root, limits in m["quota"].items():
        q = [fields(o["fields"]) for o in bucket.of("quota", root=root)]
        kept = {k: int(v) for k, v in (q[0] if q else {}).items() if k in
                ("STORAGE", "MESSAGE", "X-ANNOTATION-STORAGE", "X-NUM-FOLDERS") and int(v) >= 0}
        out += eq("quota of " + root, limits, kept)
    out += eq("CRCs", m["crcs"], sync_crcs(b))
    live = {u: r for u, r in b["records"].items() if alive(r)}
    out += eq("live messages", b["live"], len(live))
    if "messages" not in m:
        return out
    for k, key in (("uidvalidity", "UIDVALIDITY"), ("highestmodseq", "HIGHESTMODSEQ")):
        out += eq(key, m[k], int(f.get(key, -1)))
    out += eq("LAST_UID", m["uidnext"] - 1, int(f.get("LAST_UID", -1)))
    for name, uids in (("missing from the bucket", set(m["messages"]) - set(live)),
                       ("only in the bucket", set(live) - set(m["messages"]))):
        if uids:
            out.append("uids %s %s" % (sorted(uids)[:20], name))
    for uid in sorted(set(m["messages"]) & set(live)):
        s, r = m["messages"][uid], live[uid]
        ours = {"flags": sorted(r["flags"]), "modseq": int(r["modseq"]), "internaldate": int(r["internaldate"]),
                "size": int(r["size"]), "guid": r["guid"],
                "annotations": {(a["entry"], a["userid"] or ""): a["value"] for a in r["annotations"]
                                if (a["userid"] or "") in users and a["value"] is not None
                                and not a["entry"].startswith(OWN)}}
        for k, v in ours.items():
            out += eq("uid %d %s" % (uid, k), s[k], v)
        if r.get("missing"):
            out.append("uid %d has no body in the bucket" % uid)
    return out[:40]


def account(user, src, bucket):
    """Subscriptions, seen state in other people's mailboxes, scripts."""
    out = []
    subs = {o["name"] for o in bucket.of("sub", user=user)}
    if src["subs"] != subs:
        out.append("subscriptions of %s: source %s, bucket %s" % (user, sorted(src["subs"]), sorted(subs)))
    for uniqueid, (uids, live) in src["seen"].items():
        got = [fields(o["fields"]) for o in bucket.of("seen", user=user, uniqueid=uniqueid)]
        got = sequence(got[0].get("SEENUIDS")) & live if got else set()
        if uids != got:
            out.append("seen state of %s in %s: source %s, bucket %s" % (user, uniqueid, sorted(uids), sorted(got)))
    scripts = {}
    for o in bucket.of("sieve", user=user):
        content = plain(o["content"])
        scripts[o["filename"].removesuffix(".script")] = content
        if hashlib.sha1(content.encode("utf-8", "surrogateescape")).hexdigest() != o["guid"]:
            out.append("script %s of %s: the GUID does not match the content" % (o["filename"], user))
    if scripts != src["scripts"]:
        out.append("scripts of %s: source %r, bucket %r" % (user, src["scripts"], scripts))
    active = [o["filename"].rsplit(".", 1)[0] for o in bucket.of("sieve-active", user=user) if o["filename"]]
    if active != ([src["active"]] if src["active"] else []):
        out.append("active script of %s: source %s, bucket %s" % (user, src["active"], active))
    return out


def bodies(bucket):
    """Every live message must be readable from the bucket, with the SHA-1 of its GUID."""
    out, read = [], set()
    for who in bucket.who:
        for o in target.ndjson(bucket.lab, *who, "json", "bodies", name=bucket.name):
            read.add(o["guid"])
            if o["sha1"] != o["guid"]:
                out.append("message %s: bytes read have SHA-1 %s" % (o["guid"], o["sha1"]))
    want = {r["guid"]: who for m in bucket.live().values() for r in m["records"].values()
            if alive(r) and not r.get("missing")
            for who in bucket.who}
    if set(want) - read:
        out.append("messages that were not read: %s" % sorted(set(want) - read)[:10])
    return out


def one_body(bucket, who, guid):
    r = target.tool(bucket.lab, "cyr_backup", *who, "dump", "message", guid, name=bucket.name)
    if r.returncode or hashlib.sha1(r.stdout).hexdigest() != guid:
        return ["dump message %s: rc %d, %d bytes, SHA-1 %s %s" % (
            guid, r.returncode, len(r.stdout), hashlib.sha1(r.stdout).hexdigest(), r.stderr[-200:])]
    return []
