"""restore --to imap://: odd mail, odd names, keywords and kills, into a real Dovecot and a real Cyrus over IMAP."""
import collections
import glob
import hashlib
import os
import random
import re
import shutil
import subprocess

from cyruslab import dovecot, host, instance
from cyruslab.imap import PASSWORD, q, utf7
from cyruslab.source import values

from .base import scenario
from .material import msg
from .restore import LOGIN, begin, fresh, restore

MAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../testdata/odd")


def sha1(b):
    return hashlib.sha1(b).hexdigest()


def as_dovecot(b):
    """The form in which Dovecot returns a message: LF line ends stored, a CR before LF or at the end dropped, no NULs."""
    b = re.sub(rb"\r(?=\n|\Z)", b"", b)
    return re.sub(rb"(?<!\r)\n", b"\r\n", b).replace(b"\0", b"\x80")


def as_cyrus(b):
    """The form in which Cyrus returns a message: no 8-bit bytes in the header."""
    m = re.match(rb"(?:[^\r\n]+\r?\n)*", b)
    return re.sub(rb"[\x80-\xff]", b"X", m.group()) + b[m.end():]


# ---- the servers

class Place:
    """An account to restore into."""

    def __init__(self, x, user, port, close, served, connect):
        self.x, self.user, self.port, self.close, self.served, self.connect = x, user, port, close, served, connect

    @property
    def to(self):
        return "imap://%s@127.0.0.1:%d/?tls=no" % (self.user, self.port)

    def folders(self):
        """{folder: [(GUID, flags, date)]}"""
        c, out = self.connect(), {}
        try:
            for l in c.cmd('LIST "" "*"')[:-1]:
                v = values(l)
                if b"\\Noselect" in v[2] or b"\\NonExistent" in v[2]:
                    continue
                c.cmd("EXAMINE " + q(v[4]))
                out[v[4].decode()] = [self.message(values(m)[3]) for m in c.cmd("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")[:-1]
                                      if b" FETCH (" in m]
        finally:
            c.close()
        return out

    @staticmethod
    def message(items):
        d = dict(zip(items[0::2], items[1::2]))
        flags = sorted(f.decode() for f in d[b"FLAGS"] if f.lower() != b"\\recent")
        return sha1(d[b"BODY[]"] or b""), tuple(flags), re.sub("^0", " ", d[b"INTERNALDATE"].decode())

    def copies(self):
        return {f: collections.Counter(m[0] for m in l) for f, l in self.folders().items() if l}


def into_dovecot(x, user):
    d = dovecot.Dovecot(x.lab.path("dovecot")).start()

    def close():
        d.stop()
        shutil.rmtree(d.dir, ignore_errors=True)
    p = Place(x, user, d.port, close, as_dovecot, lambda: d.connect(user))
    p.server = d
    return p


def into_cyrus(x, user, name="imapto"):
    s = fresh(x, name, users=(user,))
    instance.sasl_user(x.lab.inst(name)["base"] + "/sasldb2", x.lab.inst(name)["realm"], user)
    a = instance.connect(x.lab, "cyrus", name)
    a.cmd("CREATE " + q(instance.user_inbox(x.lab.inst(name)["config"], user)))
    a.close()

    def close():
        s.close()
        instance.down(x.lab, name, wipe=True)
    return Place(x, user, x.lab.inst(name)["ports"]["imap"], close, as_cyrus, lambda: instance.connect(x.lab, user, name))


def settings(x):
    """The password, and a home directory for journals."""
    state = x.lab.path("state")
    host.mkdirs(state)
    x.backup["env"] = {**x.backup["env"], "RESTORE_IMAP_PASSWORD": PASSWORD, "XDG_STATE_HOME": state}
    return state


def push(x, user, top):
    """Pushes files unchanged, with bare newlines and NULs, which no IMAP server would accept."""
    secret = x.lab.path("push-password")
    host.write(secret, PASSWORD)
    r = subprocess.run([os.path.join(x.opt.bin, "backup_replay"), "--server", "127.0.0.1:%d" % x.backup["ports"]["backupd"], "--auth", instance.REPL,
                        "--password-file", secret, "--user", user, "--verbatim", top], capture_output=True, timeout=60)
    x.expect("push", r.returncode == 0, "backup_replay: %s" % (r.stdout + r.stderr).decode()[-600:])


# ---- scenarios

CYRUS_REFUSES = {"8bit", "barecr", "barelf", "empty", "garbagehdr", "gtfrom_first", "lfonlyend", "mixed", "nul", "nulhdr",
                 "onlyheader_noend", "onlylf", "spacecolon", "textonly", "utf16"}


@scenario("imap1", stores=("dir",), conf=LOGIN)
def odd_mail(x):
    "odd mail over IMAP, into Dovecot and Cyrus: each message once, however the server changes it, with, without and after losing the journal"
    state = settings(x)
    push(x, "odi", MAIL)
    mail = {os.path.basename(f)[:-4]: open(f, "rb").read() for f in glob.glob(MAIL + "/*.eml")}
    for name, open_, refused in (("dovecot", into_dovecot, {"empty"}), ("cyrus", into_cyrus, CYRUS_REFUSES)):
        d = open_(x, "odi")
        want = collections.Counter(sha1(d.served(b)) for n, b in mail.items() if n not in refused)
        try:
            for run in ("first", "again", "lost", "after"):
                step = "imap1-%s-%s" % (name, run)
                if run == "lost":       # like a restore from another host
                    shutil.rmtree(state)
                    host.mkdirs(state)
                dry = restore(x, step + "-dry", "-n", "--to", d.to, "odi", "-a", rc=None)
                said = restore(x, step, "-v", "--to", d.to, "odi", "-a", rc=75)
                got = d.copies().get("INBOX", collections.Counter())
                x.expect(step, got == want, "missing %s, too many %s" % (dict(want - got), dict(got - want)))
                n = sum(want.values()) if run == "first" else 0
                x.expect(step, re.search(r"\b%d messages? added" % n, said), "not %d added: %s" % (n, said[-900:]))
                would = n + len(refused)
                x.expect(step + "-dry", re.search(r"\b%d messages? would be added" % would, dry), "not %d: %s" % (would, dry[-600:]))
                lines = re.findall(r"\(message ([0-9a-f]{40})\): the server refuses the message", said)
                x.expect(step, sorted(lines) == sorted(sha1(mail[r]) for r in refused), "refused: %s" % lines)
                x.expect(step, " %d refused" % len(refused) in said, said[-600:])
        finally:
            d.close()


@scenario("imap2", stores=("dir",), conf=LOGIN)
def killed(x):
    "restore over IMAP killed 20 times, into Dovecot and Cyrus, and the journal lost half way: complete in the end, without duplicates"
    state = settings(x)
    x.user("kir")
    c = x.imap("kir")
    c.append("INBOX", [(msg("k%d" % i, b"x" * 4000 + b"\r\n"), ["\\Seen", "$kw%d" % (i % 7)][:i % 3], None) for i in range(250)])
    c.append("INBOX", [(msg("k1", b"x" * 4000 + b"\r\n"), [], None)])         # the same message again
    c.cmd("CREATE More")
    c.append("More", [(msg("more%d" % i), [], None) for i in range(60)])
    x.sync("imap2-backup", "-u", "kir", again=False, check=False)
    rng = random.Random(8)
    for name, open_ in (("dovecot", into_dovecot), ("cyrus", into_cyrus)):
        src = Place(x, "kir", 0, None, None, lambda: instance.connect(x.lab, "kir"))
        want = {f: sorted(l) for f, l in src.folders().items()}
        d = open_(x, "kir")
        step = "imap2-" + name
        try:
            kills = 0
            while kills < 20:
                p = begin(x, "--rate", "40kB", "--to", d.to, "kir", "-a")
                try:
                    p.communicate(timeout=rng.uniform(0.1, 0.25))
                    if p.returncode == 0:
                        break
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.communicate()
                    kills += 1
                if kills == 10:
                    shutil.rmtree(state)
                    host.mkdirs(state)
            x.expect(step, kills == 20, "killed only %d times" % kills)
            restore(x, step, "-v", "--to", d.to, "kir", "-a")
            got = {f.replace("INBOX.More", "More"): sorted(l) for f, l in d.folders().items()}
            for f in want:
                x.expect(step, got.get(f) == want[f], "%s differs: %d messages, wanted %d; %s" % (
                    f, len(got.get(f, [])), len(want[f]), [(a, b) for a, b in zip(got.get(f, []), want[f]) if a != b][:2]))
            said = restore(x, step + "-again", "-v", "--to", d.to, "kir", "-a")
            x.expect(step + "-again", " 0 messages added" in said, said[-600:])
        finally:
            d.close()


NAMES = ["Sent", "Sent.mbox", "a.b", "a^b", "a_b", "a", "a/b", "a/B", "Archive", "archive", "sp ace", "  lead", " ", "~", "~home", "back\\slash",
         "per%cent", "st*ar", "amp&er", "q\"uote", "brace{5}", "par(en)", "]sq[", "emoji😀📧", "Entwürfe", "日本語", "INBOX/child", "inbox2", "INBOX_",
         "Inbox.", "sieve", "cur", "cur/x", "...", ".hid", "..", "%2Fx", "-dash", "#hash", "|pipe", "$(touch x)", "`id`", "x" * 200,
         "x" * 200 + "y" + "z" * 30, "é" * 60, "y" * 130 + "/" + "z" * 130, "Trash", "a:b", "semi;", "'q'", "<lt>", "dot.end."]
WORDS = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Forwarded", "NonJunk", "Odd.flag", "k!#x", "a:b", "x/y", "~t", "x" * 60]


@scenario("imap3", stores=("dir",), conf=LOGIN)
def names_and_keywords(x):
    "odd names, keywords and dates over IMAP, into Dovecot and Cyrus: every folder has a separate name, and a refused keyword is reported and set later"
    settings(x)
    x.user("ned")
    c = x.imap("ned")
    made = ["INBOX"] + [n for n in NAMES if b" OK" in c.cmd("CREATE " + q(utf7(n)), ok=False)[-1]]
    for i, n in enumerate(made):
        words = " ".join({WORDS[i % 13], WORDS[(i * 5 + 1) % 13]})
        date = "%02d-Mar-%d 0%d:00:00 +1345" % (1 + i % 28, (1971, 1999, 2024, 2037)[i % 4], i % 10)
        c.cmd(["APPEND %s (%s) \"%s\" " % (q(utf7(n)), words, date), (msg("name %d" % i),)])
    c.append("INBOX", [(msg("kw%d" % i), ["kw%d" % i], None) for i in range(60)])
    x.sync("imap3-backup", "-u", "ned", again=False, check=False)
    source = Place(x, "ned", 0, None, None, lambda: instance.connect(x.lab, "ned"))
    want = sorted(m for l in source.folders().values() for m in l)
    long = sum("x" * 60 in m[1] for m in want)
    late = sum("-2037 " in m[2] for m in want)
    x.expect("imap3", long > 3 and len(made) > 40, "%d folders, %d long keywords" % (len(made), long))

    d = into_dovecot(x, "ned")
    try:
        step = "imap3-dovecot"
        dry = restore(x, step + "-dry", "-n", "-v", "--to", d.to, "ned", "-a")
        for again in ("", "-again"):
            said = restore(x, step + again, "-v", "--to", d.to, "ned", "-a", rc=75)
            alike(x, step + again, d, [(g, tuple(f for f in fl if f != "x" * 60), at) for g, fl, at in want])
            if not again:
                warned = re.search(r"restore: warning: \S+: the server stored %d messages with another date" % late, said)
                x.expect(step, warned, "%d dates are late: %s" % (late, said[-900:]))
            x.expect(step + again, len(re.findall(r"is without x{60} \(Keyword length too long", said)) == long, said[-1500:])
        x.expect(step, set(places(dry)) < set(places(said)) and len(places(dry)) == 2, "the dry run reports other names: %s, %s" % (places(dry), places(said)))
        x.expect(step, len(d.copies()) == len(made), "%d folders became %d" % (len(made), len(d.copies())))
        x.expect(step + "-again", re.search(r"\b0 messages added", said), said[-600:])
        d.server.stop()
        d.server.configure("mail_max_keyword_length = 100")
        d.server.start()
        restore(x, step + "-wider", "-v", "--to", d.to, "ned", "-a")
        alike(x, step + "-wider", d, want)
    finally:
        d.close()

    d = into_cyrus(x, "ned")
    try:
        step = "imap3-cyrus"
        c = d.connect()
        c.append("INBOX", [(msg("full"), ["full%d" % i for i in range(90)], None)])
        c.close()
        for again in ("", "-again"):
            said = restore(x, step + again, "-v", "--to", d.to, "ned", "-a", rc=75)
            lost = re.findall(r"user.ned: uid \d+ .* is without (kw\d+) \(Too many user flags in mailbox\)", said)
            got = {m[0]: m for m in d.folders()["INBOX"]}
            bare = sorted(f for g, fl, _ in source.folders()["INBOX"] for f in fl if f not in got[g][1])
            x.expect(step + again, 50 <= len(lost) < 60 and sorted(lost) == bare, "%d lost, %d missing: %s" % (len(lost), len(bare), said[-900:]))
        x.expect(step, len(d.copies()) == len(made), "%d folders became %d" % (len(made), len(d.copies())))
        x.expect(step + "-again", re.search(r"\b0 messages added", said), said[-600:])
    finally:
        d.close()


def alike(x, step, d, want):
    """Compares bytes, flags and dates. Dovecot replaces dates of 2037 or later by today's."""
    got = sorted(m for l in d.folders().values() for m in l)
    x.expect(step, len(got) == len(want), "%d messages, wanted %d" % (len(got), len(want)))
    differ = [(a, b) for a, b in zip(got, sorted(want)) if a != b and (a[:2] != b[:2] or "-2037 " not in b[2])]
    x.expect(step, not differ, "differ: %s" % differ[:3])


def places(said):
    return sorted(re.findall(r"restored to (\S.*?); --map", said))
