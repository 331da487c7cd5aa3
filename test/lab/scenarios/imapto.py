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
from cyruslab.imap import PASSWORD, q
from cyruslab.source import values

from .base import scenario
from .material import msg
from .restore import LOGIN, begin, fresh, restore

MAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../testdata/odd")


def sha1(b):
    return hashlib.sha1(b).hexdigest()


def as_dovecot(b):
    """What Dovecot serves: it keeps lines with LF, drops a CR before LF or at the end, and has no NULs."""
    b = re.sub(rb"\r(?=\n|\Z)", b"", b)
    return re.sub(rb"(?<!\r)\n", b"\r\n", b).replace(b"\0", b"\x80")


def as_cyrus(b):
    """What Cyrus serves: it has no 8-bit bytes in the header."""
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
        return sha1(d[b"BODY[]"] or b""), tuple(flags), d[b"INTERNALDATE"].decode()

    def copies(self):
        return {f: collections.Counter(m[0] for m in l) for f, l in self.folders().items() if l}


def into_dovecot(x, user, more=""):
    d = dovecot.Dovecot(x.lab.path("dovecot"), more=more).start()

    def close():
        d.stop()
        shutil.rmtree(d.dir, ignore_errors=True)
    return Place(x, user, d.port, close, as_dovecot, lambda: d.connect(user))


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
    """The password, and a home for journals."""
    state = x.lab.path("state")
    host.mkdirs(state)
    x.backup["env"] = {**x.backup["env"], "RESTORE_IMAP_PASSWORD": PASSWORD, "XDG_STATE_HOME": state}
    return state


def push(x, user, top):
    """Files as they are, with bare newlines and NULs, which no IMAP server would take."""
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
    "odd mail over IMAP, into Dovecot and Cyrus: each message once, whatever the server makes of it, with a journal, without and with a lost one"
    state = settings(x)
    push(x, "odi", MAIL)
    mail = {os.path.basename(f)[:-4]: open(f, "rb").read() for f in glob.glob(MAIL + "/*.eml")}
    for name, open_, refused in (("dovecot", into_dovecot, {"empty"}), ("cyrus", into_cyrus, CYRUS_REFUSES)):
        d = open_(x, "odi")
        want = collections.Counter(sha1(d.served(b)) for n, b in mail.items() if n not in refused)
        try:
            for run in ("first", "again", "lost", "after"):
                step = "imap1-%s-%s" % (name, run)
                if run == "lost":       # as from another host
                    shutil.rmtree(state)
                    host.mkdirs(state)
                dry = restore(x, step + "-dry", "-n", "--to", d.to, "odi", "-a", rc=None)
                said = restore(x, step, "-v", "--to", d.to, "odi", "-a", rc=75)
                got = d.copies().get("INBOX", collections.Counter())
                x.expect(step, got == want, "lacks %s, has too many of %s" % (dict(want - got), dict(got - want)))
                n = sum(want.values()) if run == "first" else 0
                x.expect(step, re.search(r"\b%d messages? added" % n, said), "not %d added: %s" % (n, said[-900:]))
                would = n + len(refused)
                x.expect(step + "-dry", re.search(r"\b%d messages? would be added" % would, dry), "not %d: %s" % (would, dry[-600:]))
                lines = re.findall(r"\(message ([0-9a-f]{40})\): the server refuses it", said)
                x.expect(step, sorted(lines) == sorted(sha1(mail[r]) for r in refused), "refused: %s" % lines)
                x.expect(step, " %d refused" % len(refused) in said, said[-600:])
        finally:
            d.close()


@scenario("imap2", stores=("dir",), conf=LOGIN)
def killed(x):
    "restore over IMAP killed 20 times, into Dovecot and Cyrus, and the journal lost half way: complete in the end, and nothing twice"
    state = settings(x)
    x.user("kir")
    c = x.imap("kir")
    c.append("INBOX", [(msg("k%d" % i, b"x" * 4000 + b"\r\n"), ["\\Seen", "$kw%d" % (i % 7)][:i % 3], None) for i in range(600)])
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
                p = begin(x, "--rate", "60kB", "--to", d.to, "kir", "-a")
                try:
                    p.communicate(timeout=rng.uniform(0.08, 0.25))
                    if p.returncode == 0:
                        break
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.communicate()
                    kills += 1
                if kills == 10:
                    shutil.rmtree(state)
                    host.mkdirs(state)
            x.expect(step, kills == 20, "killed %d times only" % kills)
            restore(x, step, "-v", "--to", d.to, "kir", "-a")
            got = {f.replace("INBOX.More", "More"): sorted(l) for f, l in d.folders().items()}
            for f in want:
                x.expect(step, got.get(f) == want[f], "%s differs: %d messages, wanted %d; %s" % (
                    f, len(got.get(f, [])), len(want[f]), [(a, b) for a, b in zip(got.get(f, []), want[f]) if a != b][:2]))
            said = restore(x, step + "-again", "-v", "--to", d.to, "kir", "-a")
            x.expect(step + "-again", " 0 messages added" in said, said[-600:])
        finally:
            d.close()
