"""Odd mail, moved away and back, expunged and duplicated: to every destination, three times each."""
import collections
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import time

from cyruslab import host, instance
from cyruslab.imap import PASSWORD

from .base import scenario
from .material import SCRIPT, populate_b
from .restore import LOGIN, begin, csync, equal, fresh, restore

MAIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../testdata/odd")
FOLDERS = {"user.oda": "INBOX", "user.oda.Side": "Side"}


def sha1(b):
    return hashlib.sha1(b).hexdigest()


def live(looked):
    """{folder: {GUID: copies}} of a source or a restored server."""
    return {FOLDERS[m["name"]]: collections.Counter(v["guid"] for v in m["messages"].values())
            for m in looked.values() if m["name"] in FOLDERS and not m["deleted"]}


def push(x, user, without=()):
    """Pushes files unchanged, with bare newlines and NULs, which no IMAP server would accept."""
    mail = x.lab.path("odd-" + user)
    shutil.copytree(MAIL, mail, ignore=shutil.ignore_patterns(*without))
    secret = x.lab.path("push-password")
    host.write(secret, PASSWORD)
    r = subprocess.run([os.path.join(x.opt.bin, "backup_replay"), "--server", "127.0.0.1:%d" % x.backup["ports"]["backupd"], "--auth", instance.REPL,
                        "--password-file", secret, "--user", user, "--verbatim", mail], capture_output=True, timeout=60)
    x.expect("push", r.returncode == 0, "backup_replay: %s" % (r.stdout + r.stderr).decode()[-600:])


def grown(x):
    """oda's mail at the source: restored from the backup, then moved, expunged and copied by a real imapd."""
    src = x.lab.inst("src")
    instance.sasl_user(src["base"] + "/sasldb2", src["realm"], "oda")
    push(x, "oda", without=["empty.eml"])   # Cyrus cannot store an empty message
    restore(x, "odd-source", "-U", "-v", csync(x, "src"), "oda", "-a")
    c = x.imap("oda")
    c.cmd("CREATE Side")
    c.cmd("SELECT INBOX")
    c.cmd("UID MOVE 1:5 Side")
    c.cmd("SELECT Side")
    c.cmd("UID MOVE 1:3 INBOX")             # back: an expunged and a live record of one GUID in both
    c.cmd("SELECT INBOX")
    c.cmd("UID COPY 10:11 INBOX")           # two live copies
    c.cmd("UID STORE 20:22 +FLAGS (\\Deleted)")
    c.cmd("EXPUNGE")
    c.cmd("UID STORE 30 +FLAGS (\\Flagged $Odd)")
    c.cmd("UNSELECT")
    x.sync("odd-backup", "-u", "oda", again=False)
    return live(x.source.look({("user", "oda")}, whole=True))


# ---- content of the destinations

def maildir(top):
    return {name: collections.Counter(sha1(open(f, "rb").read()) for s in ("cur", "new") for f in glob.glob(d + "/" + s + "/*"))
            for name, d in (("INBOX", top), ("Side", top + "/.Side"))}


def emls(top):
    return collections.Counter(sha1(open(f, "rb").read()) for f in glob.glob(glob.escape(top) + "/**/*.eml", recursive=True))


def tar(path):
    with tarfile.open(path) as t:
        return collections.Counter(sha1(t.extractfile(m).read()) for m in t if m.name.endswith(".eml"))


ADDED = re.compile(rb"\A(Status: .*\n)(X-Status: .*\n)?(X-Keywords: .*\n)?(X-IMAPbase: .*\n)?")


def plain(b):
    """A message as stored in an mbox: line ends are LF, also at the end."""
    b = b.replace(b"\r\n", b"\n")
    return sha1(b if b.endswith(b"\n") else b + b"\n")


def mboxes(top):
    out = collections.Counter()
    for f in glob.glob(top + "/**/*.mbox", recursive=True):
        with open(f, "rb") as h:
            for m in re.split(rb"^From MAILER-DAEMON .*\n", h.read(), flags=re.M)[1:]:
                m = re.sub(rb"^>(>*From )", rb"\1", ADDED.sub(b"", m, 1), flags=re.M)
                out[sha1(m[:-1])] += 1     # without the empty line at the end
    return out


# ---- three times into each

def thrice(x, step, want, read, *args, **kw):
    for n in ("1", "2", "3"):
        said = restore(x, "%s-%s" % (step, n), "-v", *args, **kw)
        got = read()
        x.expect("%s-%s" % (step, n), got == want, "copies differ: missing %s, too many %s" % (difference(want, got), difference(got, want)))
        if n != "1":
            x.expect("%s-%s" % (step, n), re.search(r"\b0 messages added", said), "run %s added some: %s" % (n, said[-600:]))


def difference(a, b):
    if isinstance(a, dict) and not isinstance(a, collections.Counter):
        return {k: dict(a[k] - b.get(k, collections.Counter())) for k in a}
    return dict(a - b)


def total(want):
    return sum(want.values(), collections.Counter())


@scenario("odd", stores=("dir",), conf=LOGIN)
def everywhere(x):
    "odd mail, moved and expunged, restored three times into Cyrus, Maildir, mbox, eml and tar: exactly the live copies"
    want = grown(x)
    out = x.lab.path("out")
    host.mkdirs(out)
    what = "oda", "-a"
    # with the empty message: Cyrus cannot store it, and gets all others
    push(x, "emil")
    restore(x, "odd-empty-eml", "-v", "--to", "eml:%s/emil" % out, "emil", "-a")
    x.expect("odd-empty-eml", sum(emls(out + "/emil").values()) == len(os.listdir(MAIL)), "messages are missing")
    said = restore(x, "odd-empty-csync", "-v", csync(x, "src"), "emil", "-a", rc=75)
    x.expect("odd-empty-csync", "1 problem" in said and "%d messages added" % (len(os.listdir(MAIL)) - 1) in said, said)

    thrice(x, "odd-maildir", want, lambda: maildir(out + "/md"), "--to", "maildir:%s/md" % out, *what)
    thrice(x, "odd-eml", total(want), lambda: emls(out + "/eml"), "--to", "eml:%s/eml" % out, *what)
    thrice(x, "odd-tar", total(want), lambda: tar(out + "/a.tar"), "--to", "tar:%s/a.tar" % out, *what)
    texts = {sha1(open(f, "rb").read()): plain(open(f, "rb").read()) for f in glob.glob(MAIL + "/*.eml")}
    as_mbox = collections.Counter()
    for guid, n in total(want).items():
        as_mbox[texts[guid]] += n
    thrice(x, "odd-mbox", as_mbox, lambda: mboxes(out + "/mbox"), "--to", "mbox:%s/mbox" % out, *what)
    for name, how in (("oddnew", ()), ("oddsame", ("-U",))):
        s = fresh(x, name, users=("oda",))
        try:
            thrice(x, "odd-csync" + "".join(how), want, lambda: live(s.look({("user", "oda")}, whole=True)), *how, csync(x, name), *what)
        finally:
            s.close()
            instance.down(x.lab, name, wipe=True)


@scenario("oddback", stores=("dir",), conf=LOGIN)
def by_name(x):
    "a folder with expunged, moved and duplicated messages, by name and by GUID into its source, and backed up again, three times"
    want = grown(x)
    scope = {("user", "oda")}
    guids = sorted(want["INBOX"])
    kept = {f: sorted(want[f]) for f in want}
    before = None
    for n in ("1", "2", "3"):
        restore(x, "oddback-folder-" + n, "-v", csync(x, "src"), "oda", "user/oda", "user/oda/Side")
        got = live(x.source.look(scope, whole=True))
        for f in want:
            few = {g: c for g, c in got[f].items() if c != max(1, want[f][g])}
            x.expect("oddback-folder-" + n, not few, "%s has copies %r" % (f, few))
            x.expect("oddback-folder-" + n, set(got[f]) >= set(kept[f]), "%s lacks messages" % f)
        if n != "1":
            x.expect("oddback-folder-" + n, got == before, "run %s changed something" % n)
        before = got
        x.sync("oddback-sync-" + n, "-u", "oda", again=False, check=False)
    for n in ("1", "2"):
        restore(x, "oddback-guid-" + n, "-v", csync(x, "src"), "oda", *guids)
        got = live(x.source.look(scope, whole=True))
        x.expect("oddback-guid-" + n, got == before, "by GUID added: %s" % difference(got, before))
        x.sync("oddback-guid-sync-" + n, "-u", "oda", again=False, check=False)


@scenario("heir", stores=("dir",), conf=LOGIN)
def another_user(x):
    "bob:dave -a: dave gets all of bob's data with his own ACL, and --map gives a folder another name"
    c = populate_b(x, "bob")
    c.cmd("SUBSCRIBE Archive")
    x.with_sieve("bob", lambda s: (s.put("main", SCRIPT), s.cmd('SETACTIVE "main"')))
    x.user("dave")
    x.sync("heir-backup", "-u", "bob", again=False, check=False)
    for n in ("1", "2"):
        said = restore(x, "heir-" + n, "-v", "--map", "user/bob/Trash=user/dave/Old", csync(x, "src"), "bob:dave", "-a")
    x.expect("heir-2", re.search(r"\b0 messages added", said), said[-500:])
    bob, dave = x.source.look({("user", "bob")}, whole=True), x.source.look({("user", "dave")}, whole=True)
    wanted = {m["name"].replace("user.bob.Trash", "user.dave.Old").replace("user.bob", "user.dave") for m in bob.values()}
    got = {m["name"]: m for m in dave.values()}
    x.expect("heir", set(got) == wanted, "dave has %s, wanted %s" % (sorted(got), sorted(wanted)))
    x.expect("heir", all("dave" in m["acl"] and "bob" not in m["acl"] for m in got.values()), "ACLs: %r" % {n: m["acl"] for n, m in got.items()})
    for m in bob.values():
        name = m["name"].replace("user.bob.Trash", "user.dave.Old").replace("user.bob", "user.dave")
        have, want = (collections.Counter((v["guid"], tuple(v["flags"])) for v in b["messages"].values()) for b in (got[name], m))
        x.expect("heir", have == want, "%s: other messages than %s" % (name, m["name"]))
    account = x.source.account("dave")
    x.expect("heir", account["active"] == "main" and account["subs"] == {"user.dave.Archive"}, "account: %r" % account)


@scenario("crowd", stores=("dir",), conf=LOGIN)
def everybody(x):
    "restore -A into an empty Cyrus, killed and run again with --resume: complete, no duplicates, the damaged user reported; newest first"
    users = ["u%d" % n for n in range(6)]
    x.user(*users)
    for u in users:
        x.load(u, "gen:60:4000:" + u)
        x.imap(u).cmd("CREATE Sent")
        x.load(u, "gen:5:2000:sent" + u, "Sent")
        x.logout()
    x.sync("crowd-backup", "-u", *users, again=False, check=False)
    scope = {("user", u) for u in users}
    want = x.source.look(scope, whole=True)
    log = x.backup["base"] + "/store/backups/user/u3/log"
    for f in os.listdir(log):
        os.rename(os.path.join(log, f), os.path.join(log, f + ".away"))
    s = fresh(x, "crowd", users=users)
    try:
        resume = x.lab.path("resume")
        host.mkdirs(resume)
        args = ["--parallel", "2", "--resume", resume + "/done", csync(x, "crowd"), "-A"]
        p = begin(x, "--rate", "300kB", *args)
        time.sleep(1.2)
        p.kill()
        p.communicate()
        said = restore(x, "crowd-again", *args, rc=75)
        x.expect("crowd-again", re.search(r"5 backups done|[1-4] backups? done, [1-4] done before", said) and "1 failed" in said and "user/u3" in said, said)
        got = s.look(scope, whole=True)
        equal(x, "crowd-again", {k: m for k, m in want.items() if m["owner"] != "u3"}, got, uids=False, ids=False, modseqs=False)
        for f in os.listdir(log):
            os.rename(os.path.join(log, f), os.path.join(log, f[:-len(".away")]))
        said = restore(x, "crowd-mended", *args)
        x.expect("crowd-mended", "1 backup done, 5 done before, 0 failed" in said, said)
        equal(x, "crowd-mended", want, s.look(scope, whole=True), uids=False, ids=False, modseqs=False)
    finally:
        s.close()
        instance.down(x.lab, "crowd", wipe=True)
    s = fresh(x, "crowdnew", users=users)
    try:
        restore(x, "crowd-newest", "--newest-first", "--parallel", "3", csync(x, "crowdnew"), "--all-users")
        equal(x, "crowd-newest", want, s.look(scope, whole=True), uids=False, ids=False, modseqs=False)
    finally:
        s.close()
