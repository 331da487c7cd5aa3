"""All commands that sync_client sends in ordinary operation."""
import shutil
import subprocess
import time

from cyruslab import instance, target
from cyruslab.imap import ADMIN, PASSWORD, q, utf7

from .base import rolling, scenario
from .material import SCRIPT, msg, odd_names, populate_b, shared


def expunge(c, uids):
    c.cmd("SELECT INBOX")
    c.cmd("UID STORE %s +FLAGS (\\Deleted)" % uids)
    c.cmd("UID EXPUNGE %s" % uids)


@scenario("a", usual="dir")
def empty(x):
    "empty user; user that does not exist"
    x.user("empty")
    x.sync("a1-first", "-u", "empty")
    x.sync("a2-no-such-user", "-u", "nobody")


@scenario("b", usual="dir")
def varied(x):
    "INBOX, nested folders, varied messages, the same message in two folders"
    populate_b(x)
    x.sync("b1-initial", "-u", "berta")


@scenario("b2", usual="dir")
def twins(x):
    "the same message twice in one folder (one GUID, two UIDs)"
    x.user("dora")
    c = x.imap("dora")
    c.append("INBOX", [(msg("twin"), [], None), (msg("other"), [], None), (msg("twin"), ["\\Seen"], None)])
    x.sync("b5-initial", "-u", "dora")
    c.append("INBOX", [(msg("other"), [], None)])
    x.sync("b7-third-later", "-u", "dora")
    expunge(c, "1")
    x.sync("b9-one-expunged", "-u", "dora")


@scenario("c", usual="dir")
def incremental(x):
    "appends, flags, \\Deleted, EXPUNGE, MOVE, COPY"
    x.user("carl")
    c = x.imap("carl")
    c.append("INBOX", [(msg("m%d" % i), [], None) for i in range(1, 13)])
    c.cmd("CREATE Other")
    x.sync("c1-initial", "-u", "carl")
    c.append("INBOX", [(msg("new%d" % i), [], None) for i in range(3)])
    x.sync("c2-append", "-u", "carl")
    c.cmd("SELECT INBOX")
    c.cmd("STORE 1:3 +FLAGS (\\Seen)")
    c.cmd("STORE 2 +FLAGS (\\Flagged $Todo)")
    c.cmd("STORE 3 -FLAGS (\\Seen)")
    x.sync("c3-flags", "-u", "carl")
    c.cmd("STORE 4:5 +FLAGS (\\Deleted)")
    x.sync("c4-deleted-flag", "-u", "carl")
    c.cmd("EXPUNGE")
    x.sync("c5-expunge", "-u", "carl")
    c.cmd("MOVE 1:2 Other")
    x.sync("c6-move", "-u", "carl")
    c.cmd("COPY 3:4 Other")
    x.sync("c7-copy", "-u", "carl")
    x.expect("c7-copy", not x.sent("c7-copy", b"APPLY MESSAGE"), "a copy was uploaded again")
    c.append("INBOX", [(msg("last"), [], None)])
    x.sync("c9-one-mailbox", "-m", "user/carl")
    x.sync("c10-internal-name-to-m", "-m", "user.carl")
    x.sync("c11-nochange", "-u", "carl", quiet=True)


@scenario("d", usual="dir")
def folders(x):
    "folder rename, nested rename, delayed delete, recreate with the same name, names swapped"
    x.user("dirk")
    c = x.imap("dirk")
    for f in ("One", "One/Sub", "Two", "Three"):
        c.cmd("CREATE " + f)
        c.append(f, [(msg("in " + f), [], None)])
    x.sync("d1-initial", "-u", "dirk")
    c.cmd("RENAME Two Deux")
    x.sync("d2-rename", "-u", "dirk")
    c.cmd("RENAME One Uno")
    x.sync("d3-rename-tree", "-u", "dirk")
    c.cmd("DELETE Three")
    x.sync("d4-delete-delayed", "-u", "dirk")
    c.cmd("CREATE Three")
    c.append("Three", [(msg("again"), [], None)])
    x.sync("d5-recreate", "-u", "dirk")
    names = [m["ext"] for m in x.source.mailboxes().values() if m["deleted"]]
    x.sync("d6-DELETED-mailbox", "-m", *names)
    c.cmd("RENAME Deux One")
    c.cmd("RENAME Three Deux")
    x.sync("d7-swap-names", "-u", "dirk")


@scenario("d2", usual="dir", src={"delete_mode": "immediate", "expunge_mode": "immediate"})
def immediate(x):
    "folder delete and expunge with delete_mode and expunge_mode immediate"
    x.user("dirk")
    c = x.imap("dirk")
    c.append("INBOX", [(msg("i%d" % i), [], None) for i in range(4)])
    for f in ("One", "Two"):
        c.cmd("CREATE " + f)
        c.append(f, [(msg("in " + f), [], None)])
    x.sync("d11-initial", "-u", "dirk")
    c.cmd("DELETE One")
    x.sync("d12-delete-immediate", "-u", "dirk")
    expunge(c, "2")
    x.sync("d13-expunge-immediate", "-u", "dirk")
    c.cmd("DELETE Two")
    x.sync("d14-delete-then-m", "-m", "user/dirk/Two")
    x.sync("d15-and-u", "-u", "dirk")


@scenario("e", usual="dir")
def everything_else(x):
    "subscriptions, seen, ACL, quota, annotations, Sieve"
    x.user("emil", "erna")
    c, a = x.imap("emil"), x.imap(ADMIN)
    c.cmd("CREATE Two")
    c.append("INBOX", [(msg("e%d" % i), [], None) for i in range(5)])
    c.append("Two", [(msg("t%d" % i), [], None) for i in range(5)])
    x.sync("e01-initial", "-u", "emil")
    c.cmd("SUBSCRIBE INBOX")
    c.cmd("SUBSCRIBE Two")
    x.sync("e02-subscribe", "-u", "emil")
    c.cmd("UNSUBSCRIBE Two")
    x.sync("e03-unsubscribe", "-u", "emil")
    a.cmd("SETACL user/emil/Two erna lrswi")
    x.sync("e04-acl", "-u", "emil")
    e = x.imap("erna")
    e.cmd('SELECT "Other Users/emil/Two"')
    e.cmd("FETCH 1:2 BODY[]")
    e.cmd("STORE 3 +FLAGS (\\Seen)")
    e.cmd("UNSELECT")
    x.sync("e05-seen-owner-sync", "-u", "emil")
    x.sync("e06-seen-second-user", "-u", "erna")
    for n, quota in ((7, "STORAGE 100000 MESSAGE 5000"), (8, "STORAGE 200000"), (9, "")):
        a.cmd("SETQUOTA user/emil (%s)" % quota)
        x.sync("e0%d-quota" % n, "-u", "emil")
    c.cmd('SETMETADATA INBOX (/shared/comment "shared note" /private/comment "private note")')
    x.sync("e10-metadata", "-u", "emil")
    c.cmd("SETMETADATA INBOX (/shared/comment NIL)")
    x.sync("e11-metadata-removed", "-u", "emil")
    c.cmd("SELECT INBOX")
    c.cmd('STORE 1 ANNOTATION (/comment (value.shared "per message" value.priv "mine"))')
    x.sync("e12-message-annotation", "-u", "emil")


@scenario("e3", usual="dir")
def sieve(x):
    "Sieve: put, activate, replace, switch, deactivate, delete"
    x.user("sven")
    s = x.sieve("sven")
    for n, step in enumerate((
            lambda: s.put("main", SCRIPT),
            lambda: s.cmd('SETACTIVE "main"'),
            lambda: (s.put("main", SCRIPT + "keep;\r\n"), s.put("second", SCRIPT)),
            lambda: s.cmd('SETACTIVE "second"'),
            lambda: s.cmd('SETACTIVE ""'),
            lambda: s.cmd('DELETESCRIPT "main"'))):
        step()
        x.sync("e3%d-sieve" % n, "-u", "sven")
    x.sync("e36-s", "-s", "sven", quiet=True, check=False)


@scenario("e2", usual="dir")
def annotations(x):
    "annotations that need a literal or more than one value; quota alone"
    x.user("ea", "eb")
    for u in ("ea", "eb"):
        x.imap(u).append("INBOX", [(msg("x"), [], None), (msg("y"), [], None)])
    c = x.imap("ea")
    c.cmd("CREATE Two")
    c.cmd('SETMETADATA Two (/private/specialuse "\\\\Archive")')
    c.cmd(["SETMETADATA INBOX (/shared/vendor/x ", (b'a%b "q" (p)',), ")"])
    c.cmd("SELECT INBOX")
    c.cmd('STORE 1 ANNOTATION (/comment (value.shared "per message"))')
    c.cmd('STORE 2 ANNOTATION (/comment (value.priv "mine"))')
    x.imap(ADMIN).cmd("SETQUOTA user/eb (STORAGE 1000)")
    x.sync("e20-both", "-u", "ea", "eb")


@scenario("f", usual="dir", src={"allowusermoves": "yes"})
def user_rename(x):
    "user rename, user delete, user of the same name again"
    x.user("fritz")
    c = x.imap("fritz")
    c.cmd("CREATE Sub")
    c.append("INBOX", [(msg("f%d" % i), [], None) for i in range(3)])
    c.append("Sub", [(msg("s%d" % i), [], None) for i in range(2)])
    c.cmd("SUBSCRIBE Sub")
    x.sieve("fritz").put("main", SCRIPT)
    x.sync("f1-initial", "-u", "fritz")
    x.logout()
    x.imap(ADMIN).cmd("RENAME user/fritz user/franz")
    x.sync("f2-renamed", "-u", "franz")
    x.sync("f3-old-name", "-u", "fritz", again=False)
    x.sync("f4-nochange", "-u", "franz", quiet=True)
    x.user("gone")
    x.imap("gone").append("INBOX", [(msg("gone"), [], None)])
    x.sync("f6-gone-initial", "-u", "gone")
    x.logout()
    x.imap(ADMIN).cmd("SETACL user/gone %s lrswipkxtecda" % ADMIN)
    x.imap(ADMIN).cmd("DELETE user/gone")
    # the client sends nothing about a deleted user, so the backup still has the user
    x.sync("f7-deleted", "-u", "gone", check=False)
    x.user("gone")
    x.imap("gone").append("INBOX", [(msg("reborn"), [], None)])
    x.sync("f9-recreated", "-u", "gone", again=False, check=False)
    x.settle("f10-recreated", "-u", "gone")


@scenario("g", usual="dir")
def shared_mailboxes(x):
    "shared mailboxes: alone, with a user's, by -A, deleted"
    shared(x)
    x.user("gerd")
    x.imap("gerd").append("INBOX", [(msg("g"), [], None)])
    x.sync("g1-m-shared", "-m", "projects", "projects/apollo")
    x.sync("g2-m-shared-and-user", "-m", "projects", "user/gerd")
    x.sync("g3-A", "-A")
    x.imap(ADMIN).append("projects", [(msg("more"), [], None)])
    x.sync("g4-m-incremental", "-m", "projects")
    x.imap(ADMIN).cmd("DELETE projects/apollo")
    x.sync("g5-m-deleted", "-m", "projects/apollo")


@scenario("h", usual="dir")
def all_of_them(x):
    "sync_client -A"
    x.user("ha", "hb", "hc")
    for u in ("ha", "hb", "hc"):
        x.imap(u).append("INBOX", [(msg("%s %d" % (u, i)), [], None) for i in range(3)])
    shared(x)
    x.sync("h1-A-initial", "-A")
    x.imap("hb").append("INBOX", [(msg("later"), [], None)])
    x.sync("h2-A-incremental", "-A")


@scenario("i", usual="dir")
def rolling_changes(x):
    "rolling replication while everything changes"
    x.user("ida", "otto")
    c, a = x.imap("ida"), x.imap(ADMIN)
    shared(x)
    rolling(x, "i1-rolling", [
        lambda: a.cmd("SETQUOTA user/ida (STORAGE 50000)"),
        lambda: c.append("INBOX", [(msg("i%d" % i), [], None) for i in range(4)]),
        lambda: (c.cmd("SELECT INBOX"), c.cmd("STORE 1 +FLAGS (\\Seen)")),
        lambda: c.cmd("CREATE Folder"),
        lambda: c.cmd("SUBSCRIBE Folder"),
        lambda: c.cmd("COPY 1:2 Folder"),
        lambda: (c.cmd("STORE 1 +FLAGS (\\Deleted)"), c.cmd("EXPUNGE"), c.cmd("UNSELECT")),
        lambda: c.cmd("RENAME Folder Renamed"),
        lambda: a.cmd("SETACL user/ida otto lrs"),
        lambda: (x.imap("otto").cmd('SELECT "Other Users/ida"'), x.imap("otto").cmd("FETCH 1 BODY[]"),
                 x.imap("otto").cmd("UNSELECT")),
        lambda: c.cmd('SETMETADATA INBOX (/shared/comment "note")'),
        lambda: x.with_sieve("ida", lambda s: s.put("main", SCRIPT)),
        lambda: x.with_sieve("ida", lambda s: s.cmd('SETACTIVE "main"')),
        lambda: c.cmd("UNSUBSCRIBE Folder"),
        lambda: c.cmd("DELETE Renamed"),
        lambda: a.append("projects", [(msg("shared rolling"), [], None)]),
        lambda: x.with_sieve("ida", lambda s: (s.cmd('SETACTIVE ""'), s.cmd('DELETESCRIPT "main"'))),
        lambda: a.cmd("SETQUOTA user/ida ()"),
        lambda: (a.cmd("SETACL user/otto %s lrswipkxtecda" % ADMIN), a.cmd("DELETE user/otto")),
    ])
    x.logout()
    x.settle("i2-after", "-u", "ida")
    x.sync("i3-shared", "-m", "projects", "projects/apollo")


@scenario("j", usual="dir")
def odd_arguments(x):
    "-s, -m, -O and other odd arguments"
    x.user("jan", "jule")
    x.imap("jan").append("INBOX", [(msg("j"), [], None)])
    s = x.sieve("jan")
    s.put("main", SCRIPT)
    s.cmd('SETACTIVE "main"')
    x.sync("j1-s-before-user", "-s", "jan", check=False)
    x.sync("j2-m-before-user", "-m", "user/jan")
    x.sync("j3-u", "-u", "jan")
    x.sync("j4-s", "-s", "jan", quiet=True)
    x.sync("j5-m-two-users", "-m", "user/jan", "user/jule")
    x.sync("j6-m-missing", "-m", "user/jan/none")
    x.sync("j7-u-two", "-u", "jan", "jule")
    x.sync("j8-no-copyback", "-O", "-u", "jan", again=False)


@scenario("k", stores=("dir",))
def logging_in(x):
    "COMPRESS, mechanisms, wrong password, not an admin, the client's IMAP probe"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k%d" % i), [], None) for i in range(3)])
    for m in ("PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256"):
        x.sync("k3-" + m.lower(), "-u", "kai", again=False, check=m == "PLAIN",
               sets={"force_sasl_client_mech": m})
    for m in ("PLAIN", "SCRAM-SHA-256"):
        x.sync("k4-wrong-password-" + m.lower(), "-u", "kai", rc="bad", timeout=5,
               sets={"backup_sync_password": "wrong", "force_sasl_client_mech": m})
    r = target.tool(x.lab, "ctl_backups", "passwd", "mallory", input=PASSWORD.encode())
    x.expect("k5-not-an-admin", r.returncode == 0, "ctl_backups passwd: %s" % r.stderr)
    x.sync("k5-not-an-admin", "-u", "kai", rc=1, sets={"backup_sync_authname": "mallory"})
    r = x.sync("k6-try-imap", "-u", "kai", again=False, sets={"backup_sync_try_imap": ""})
    x.expect("k6-try-imap", r["wall"] < 5, "the client's IMAP probe cost %.1f s" % r["wall"])


@scenario("k1", stores=("dir",), conf={"backup_offer_compress": "yes"})
def compress(x):
    "COMPRESS DEFLATE"
    x.user("kai")
    x.load("kai", "gen:50:5000:kai")
    x.sync("k1-compress", "-u", "kai", readable=False, again=False)
    x.imap("kai").append("INBOX", [(msg("more"), [], None)])
    x.sync("k2-compress-required", "-z", "-u", "kai", readable=False, again=False)
    x.sync("k2-nochange", "-u", "kai", quiet=True)


@scenario("k2", tls=True, stores=("dir",), conf={"allowplaintext": "no", "sasl_mech_list": "PLAIN LOGIN"})
def starttls(x):
    "STARTTLS required: no plaintext mechanism before it"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k%d" % i), [], None) for i in range(3)])
    crt = x.backup["base"] + "/tls.crt"
    x.sync("k9-required", "-u", "kai", readable=False, again=False,
           sets={"tls_client_ca_file": crt, "tls_server_ca_file": crt})
    x.sync("k10-plain-forced", "-u", "kai", readable=False, again=False,
           sets={"force_sasl_client_mech": "PLAIN"})


@scenario("k3", stores=("dir",), conf={"allowplaintext": "no", "sasl_mech_list": "PLAIN LOGIN"})
def no_plaintext(x):
    "no plaintext without TLS, and no TLS: nobody can log in"
    x.user("kai")
    x.sync("k8-no-plaintext", "-u", "kai", rc="bad", timeout=5)


@scenario("k4", stores=("dir",))
def saslauthd(x):
    "passwords from saslauthd's socket"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    instance.stop_master(x.backup)
    daemon = target.Saslauthd(x.dir + "/saslauthd")
    try:
        x.start_backup(passwd=False, conf={
            "sasl_pwcheck_method": "saslauthd", "sasl_saslauthd_path": daemon.path + "/mux",
            "sasl_mech_list": "PLAIN LOGIN"})
        x.sync("k11-saslauthd", "-u", "kai")
        x.expect("k11-saslauthd", (instance.REPL, "csync") in [(u, s) for u, s, _ in daemon.asked],
                 "requests to saslauthd: %s" % daemon.asked)
        x.sync("k12-wrong", "-u", "kai", rc="bad", timeout=5, sets={"backup_sync_password": "wrong"})
    finally:
        daemon.stop()


@scenario("k5", tls=True, stores=("dir",))
def tls_required(x):
    "a certificate alone gives no TLS; tls_required does; the client reports a bad certificate and continues"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])

    def said(text, by):
        return [l for _, l in x.logged() if by in l and text in l]

    x.sync("k5-clear", "-u", "kai", readable=False)
    x.expect("k5-clear", said("SCRAM-SHA-256 User logged in", "-backup/"), "the login was not in clear")
    n = len(said("does not use TLS", "-backup/"))
    x.expect("k5-clear", n == 1, "%d warnings after two logins in clear, wanted 1" % n)
    instance.stop_master(x.backup)
    x.start_backup(conf={"tls_required": "yes"})
    x.sync("k5-required", "-u", "kai", readable=False, again=False)
    x.expect("k5-required", said("SCRAM-SHA-256+TLS User logged in", "-backup/"), "the login was not under TLS")
    x.expect("k5-required", said("verify error", "-src/"), "the client did not report the certificate")
    seen = len(said("verify error", "-src/"))
    x.sync("k5-trusted", "-u", "kai", readable=False, again=False,
           sets={"tls_server_ca_file": x.backup["base"] + "/tls.crt"})
    x.expect("k5-trusted", len(said("verify error", "-src/")) == seen, "the client does not trust the certificate")


@scenario("l", usual="dir")
def names(x):
    "odd folder names, dotted user; altnamespace and unixhierarchysep on"
    x.user("lena", "a.b")
    odd_names(x, "lena")
    x.sync("l1-names", "-u", "lena")
    x.imap("a.b").append("INBOX", [(msg("dotted user"), [], None)])
    x.imap("a.b").cmd("CREATE Sub.with.dots")
    x.sync("l2-dotted-user", "-u", "a.b")
    x.imap("lena").cmd("RENAME %s %s" % (q(utf7("Entw\u00fcrfe")), q("Drafts two")))
    x.sync("l3-rename-odd", "-u", "lena")


@scenario("l2", usual="dir", src={"altnamespace": "no", "unixhierarchysep": "no"})
def netnews_names(x):
    "altnamespace off, unixhierarchysep off"
    x.user("lutz")
    c = x.imap("lutz")
    c.cmd("CREATE INBOX.Sub.Deep")
    c.cmd("CREATE %s" % q("INBOX." + utf7("Entw\u00fcrfe")))
    c.append("INBOX.Sub.Deep", [(msg("deep"), [], None)])
    c.cmd("SUBSCRIBE INBOX.Sub.Deep")
    x.sync("l5-netnews", "-u", "lutz")


@scenario("l3", usual="minio", src={"virtdomains": "userid", "defaultdomain": "lab.test"})
def virtual_domains(x):
    "virtual domains"
    users = ("joe@example.com", "joe@example.net", "joe")
    x.user(*users)
    for u in users:
        x.imap(u).append("INBOX", [(msg("for " + u), [], None)])
        x.imap(u).cmd("CREATE Sub")
    x.sync("l7-u", "-u", *users)
    x.imap("joe@example.net").append("Sub", [(msg("more"), [], None)])
    x.sync("l8-A", "-A")
    x.sync("l9-m", "-m", "user/joe@example.com")


@scenario("l4", usual="minio", src={"conversations": "yes"})
def conversations(x):
    "conversations on: XCONVMODSEQ, thrid annotations"
    x.user("conv")
    x.imap("conv").append("INBOX", [(msg("conv"), [], None), (msg("Re: conv"), [], None)])
    x.sync("l11-conversations", "-u", "conv")


@scenario("m", usual="dir")
def at_once(x):
    "two clients at once for one user, and one for another"
    x.user("max", "mia")
    for u in ("max", "mia"):
        x.load(u, "gen:300:4000:" + u)
    runs = []
    for step, u in (("m1-first", "max"), ("m1-second", "max"), ("m1-other", "mia")):
        runs.append((step, u, x.start(step, "-u", u)))
        time.sleep(0.05)
    for step, u, h in runs:
        r = x.finish(step, ["-u", u], h)
        if step != "m1-second":         # the answer may be that the user is locked
            x.expect(step, r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.sync("m2-after", "-u", "max", "mia")


@scenario("o", usual="minio")
def interrupted(x):
    "the connection broken inside a message, the client killed; both resumed"
    x.user("olga")
    x.load("olga", "gen:60:20000:olga")
    x.sync("o1-cut-in-upload", "-u", "olga", kill_after=400000, timeout=60, rc=1)
    x.sync("o2-resume", "-u", "olga")
    x.load("olga", "gen:300:20000:more")
    h = x.start("o4-client-killed", "-u", "olga")
    x.wait_for_upload("o4-client-killed", 2 << 20)
    h.kill()
    x.finish("o4-client-killed", ["-u", "olga"], h)
    x.sync("o5-resume", "-u", "olga")


@scenario("p", usual="minio")
def rolled_back(x):
    "the source is reset to an older state and continues differently (same UIDs, other messages)"
    x.user("petra")
    x.imap("petra").append("INBOX", [(msg("p%d" % i), [], None) for i in range(3)])
    x.sync("p1-initial", "-u", "petra")
    src = x.lab.inst("src")
    x.logout()
    instance.stop_master(src)
    subprocess.run(["cp", "-a", src["base"], src["base"] + ".old"], check=True)
    instance.start_master(src)
    c = x.imap("petra")
    c.append("INBOX", [(msg("future A"), [], None), (msg("future B"), [], None)])
    c.cmd("SELECT INBOX")
    c.cmd("STORE 1 +FLAGS (\\Flagged)")
    x.sync("p2-ahead", "-u", "petra")
    x.logout()
    instance.stop_master(src)
    shutil.rmtree(src["base"])
    shutil.move(src["base"] + ".old", src["base"])
    instance.start_master(src)
    x.settle("p3-went-back", "-u", "petra")
    x.imap("petra").append("INBOX", [(msg("other present"), ["\\Seen"], None)])
    x.settle("p4-grew-differently", "-u", "petra")
