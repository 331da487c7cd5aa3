"""Failures, and concurrent clients."""
import glob
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from cyruslab import compare, host, target

from .base import scenario
from .material import msg


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def cyr_expire(x, *args):
    subprocess.run([host.tool("cyr_expire"), "-C", x.lab.inst("src")["conf"], *args], check=True,
                   capture_output=True, cwd="/", env={"PATH": host.PATH}, **host.as_cyrus())


@scenario("f10", usual="dir")
def away_over_expunge(x):
    "the backup host is off during an expunge and its clean-up"
    x.user("frida")
    c = x.imap("frida")
    c.append("INBOX", [(msg("f%d" % i), [], None) for i in range(1, 31)])
    x.sync("1-initial", "-u", "frida")
    c.cmd("SELECT INBOX")
    c.cmd("STORE 10,20 +FLAGS (\\Deleted)")
    c.cmd("EXPUNGE")
    c.cmd("UNSELECT")
    x.logout()
    cyr_expire(x, "-X", "0", "-E", "0")
    x.sync("2-expunged-and-cleaned", "-u", "frida")
    x.expect("2-expunged-and-cleaned", x.sent("2-expunged-and-cleaned", b"GET FULLMAILBOX"),
             "the client did not ask for the full mailbox: this tests nothing")
    x.imap("frida").append("INBOX", [(msg("later"), [], None)])
    x.sync("3-later", "-u", "frida")


@scenario("dual", usual="minio", listen="%P", service_opts="prefork=3")
def dual_stack(x):
    "listen on every address family, prefork=3; 8 clients at once, then 2 for one user; rolling"
    users = ["user%d" % i for i in range(8)]
    x.user(*users)
    for u in users:
        x.load(u, "gen:60:6000:" + u)
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    runs = [("1-" + u, u, x.start("1-" + u, "-u", u, host=hosts[i % len(hosts)]))
            for i, u in enumerate(users)]
    for step, u, h in runs:
        r = x.finish(step, ["-u", u], h)
        x.expect(step, r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.sync("2-all", "-u", *users, quiet=True)
    x.load(users[0], "gen:200:6000:more")
    runs = [(s, x.start(s, "-u", users[0], host=hosts[i % len(hosts)])) for i, s in enumerate(("3-one", "3-two"))]
    for step, h in runs:
        x.finish(step, ["-u", users[0]], h)
    x.sync("4-after-two", "-u", users[0])
    x.expect("5-index", len(glob.glob(x.backup["base"] + "/conf/**/MANIFEST", recursive=True)) == 1,
             "not exactly one index below %s" % x.backup["base"])

    h = x.start("6-rolling", "-R")
    time.sleep(0.5)

    def arrive(u):
        c = x.imap(u)
        for n in range(6):
            c.append("INBOX", [(msg("%s arrives %d" % (u, n)), [], None)])
            time.sleep(0.3)
    x.imap(users[1]), x.imap(users[2])
    threads = [threading.Thread(target=arrive, args=(u,)) for u in users[1:3]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    time.sleep(2.5)
    x.stop_rolling("6-rolling", h)
    x.sync("7-after-rolling", "-u", *users[1:3], quiet=True)


def spool_file(x, uid):
    (f,) = glob.glob("%s/spool/**/%d." % (x.lab.inst("src")["base"], uid), recursive=True)
    return f


@scenario("spool", usual="dir", conf={"backup_missing_retry": "1s"})
def unreadable_file(x):
    "a spool file is damaged while other mail arrives, and repaired later"
    x.user("ursula")
    c = x.imap("ursula")
    c.append("INBOX", [(msg("u%d" % i, b"body of message number %d\r\n" % i), [], None) for i in range(1, 4)])
    f = spool_file(x, 2)
    with open(f, "rb") as h:
        good = h.read()
    with open(f, "r+b") as h:
        h.write(b"X" * 40)
    before = x.source.look({("user", "ursula")}, whole=False)
    r = x.run("1-damaged", "-u", "ursula")
    x.expect("1-damaged", r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    c.append("INBOX", [(msg("u4"), [], None)])
    r = x.run("2-more-mail", "-u", "ursula")
    x.expect("2-more-mail", r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.no_differences("2-more-mail", "source changed", [
        d for d in compare.unchanged(before, x.source.look({("user", "ursula")}, whole=False))
        if not any(w in d for w in ("uid 4 ", "uidnext", "highestmodseq", "crcs"))])
    (m,) = compare.Bucket(x.lab, ["ursula"]).live().values()
    missing = {u: r.get("missing", False) for u, r in m["records"].items()}
    x.expect("2-more-mail", missing == {1: False, 2: True, 3: False, 4: False},
             "missing bodies: %s" % missing)
    x.expect("2-more-mail", any("SYNCERROR" in l for _, l in x.logged() if "-backup/" in l),
             "no SYNCERROR in backupd's log")
    with open(f, "wb") as h:
        h.write(good)
    time.sleep(1.5)
    x.settle("3-repaired", "-u", "ursula")


def objects(x):
    """Every object of the directory store: {key: size}."""
    top = x.backup["base"] + "/store"
    return {os.path.relpath(os.path.join(d, f), top): os.path.getsize(os.path.join(d, f))
            for d, _, files in os.walk(top) for f in files}


@scenario("objects", stores=("dir",))
def few_objects(x):
    "number of objects of a sync: large ones for much mail, exactly one for a new message"
    x.user("oskar", "olga")
    x.load("oskar", "gen:2000:5000:oskar")
    x.sync("0-other", "-u", "olga")
    before = objects(x)
    x.sync("1-initial", "-u", "oskar")
    new = {k: n for k, n in objects(x).items() if k not in before}
    packs = [k for k in new if k.startswith("packs/")]
    x.expect("1-initial", 1 <= len(packs) <= 1 + 2000 * 5000 // (8 << 20),
             "%d packs for 10 MB: %s" % (len(packs), packs))
    applies = len(x.sent("1-initial", b"APPLY MAILBOX"))
    rest = [k for k in new if k not in packs and not k.endswith("/backup.json")]
    x.expect("1-initial", len(rest) <= 2 * applies, "%d other objects for %d APPLY MAILBOX: %s" % (
        len(rest), applies, rest))
    h = x.start("2-rolling", "-R")
    time.sleep(1)
    before = objects(x)
    x.imap("oskar").append("INBOX", [(msg("one new message"), [], None)])
    time.sleep(3)
    after = objects(x)
    new = [k for k in after if k not in before]
    x.expect("2-rolling", len(new) == 1 and "/log/" in new[0], "new objects for one message: %s" % new)
    x.expect("2-rolling", all(after.get(k) == n for k, n in before.items()), "objects were replaced or removed")
    x.stop_rolling("2-rolling", h)
    x.sync("3-after", "-u", "oskar", quiet=True)


@scenario("index", usual="dir")
def index_lost(x):
    "the index is removed between two syncs: the next sends nothing new"
    x.user("ina", "inge")
    for u in ("ina", "inge"):
        x.load(u, "gen:50:3000:" + u)
    x.imap("ina").cmd("CREATE Folder")
    x.sync("1-initial", "-u", "ina", "inge")
    target.end_processes(x.backup)
    shutil.rmtree(x.backup["base"] + "/conf/backup-index")
    x.sync("2-index-gone", "-u", "ina", "inge", quiet=True)
    x.imap("ina").append("INBOX", [(msg("new"), [], None)])
    x.sync("3-new-mail", "-u", "ina")
    x.expect("3-new-mail", len(x.sent("3-new-mail", b"APPLY MESSAGE")) == 1 and
             x.sent("3-new-mail", b"APPLY MESSAGE")[0].count(b"%{") == 1,
             "more than the new message was uploaded")


@scenario("kill9")
def killed(x):
    "backupd is killed in the middle of an upload"
    x.user("kurt")
    x.load("kurt", "gen:50:3000:first")
    x.sync("1-initial", "-u", "kurt")
    x.load("kurt", "gen:250:20000:kurt")
    h = x.start("2-killed", "-u", "kurt")
    x.wait_for_upload("2-killed", 2 << 20)
    x.killed += target.end_processes(x.backup, signal.SIGKILL)
    r = x.finish("2-killed", ["-u", "kurt"], h)
    x.expect("2-killed", r["rc"] != 0, "sync_client ended with 0 although backupd was killed")
    x.sync("3-resumed", "-u", "kurt")


@scenario("term", usual="minio", conf={"backup_drain_timeout": "20s"})
def terminated(x):
    "SIGTERM during a sync: a running command is answered, nothing is lost"
    x.user("theo")
    x.load("theo", "gen:250:20000:theo")
    h = x.start("1-terminated", "-u", "theo")
    x.wait_for_upload("1-terminated", 2 << 20)
    pids = target.processes(x.backup)
    target.end_processes(x.backup, signal.SIGTERM, wait=40)
    x.finish("1-terminated", ["-u", "theo"], h)
    x.expect("1-terminated", len(pids) == 1, "%d processes served" % len(pids))
    x.sync("2-resumed", "-u", "theo")


@scenario("hup", usual="dir")
def reloaded(x):
    "SIGHUP between and during syncs changes nothing"
    x.user("hugo")
    x.load("hugo", "gen:200:20000:hugo")
    h = x.start("1-hup", "-u", "hugo")
    x.wait_for_upload("1-hup", 1 << 20)
    for p in target.processes(x.backup):
        os.kill(p, signal.SIGHUP)
    r = x.finish("1-hup", ["-u", "hugo"], h)
    x.expect("1-hup", r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.sync("2-after", "-u", "hugo", quiet=True)


@scenario("outage", stores=("minio",), conf={"backup_outage_wait": "60s"})
def short_outage(x):
    "MinIO hangs for a while: the client waits and succeeds"
    x.user("otto")
    x.load("otto", "gen:50:3000:first")
    x.sync("1-initial", "-u", "otto")
    x.load("otto", "gen:250:20000:otto")
    h = x.start("2-frozen", "-u", "otto")
    x.wait_for_upload("2-frozen", 1 << 20)
    x.minio.freeze()
    time.sleep(4)
    x.minio.thaw()
    r = x.finish("2-frozen", ["-u", "otto"], h)
    x.expect("2-frozen", r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.sync("3-after", "-u", "otto", quiet=True)
    x.load("otto", "gen:150:20000:more")
    h = x.start("4-restarted", "-u", "otto")
    x.wait_for_upload("4-restarted", 1 << 20)
    x.minio.stop()
    time.sleep(3)
    x.minio.start()
    r = x.finish("4-restarted", ["-u", "otto"], h)
    x.expect("4-restarted", r["rc"] == 0, "sync_client ended with %s" % r["rc"])
    x.sync("5-after", "-u", "otto", quiet=True)


@scenario("outage2", stores=("minio",), conf={"backup_outage_wait": "2s"})
def long_outage(x):
    "MinIO is down longer than backup_outage_wait: deferred, no busy loop in the client, nothing lost"
    x.user("olaf")
    x.load("olaf", "gen:20:3000:first")
    x.sync("1-initial", "-u", "olaf")
    x.imap("olaf").append("INBOX", [(msg("during the outage"), [], None)])
    x.minio.stop()
    r = x.run("2-away", "-u", "olaf", timeout=60)
    x.expect("2-away", r["rc"] == 1, "sync_client ended with %s, wanted 1" % r["rc"])
    h = x.start("3-rolling-away", "-R")
    x.imap("olaf").append("INBOX", [(msg("and another"), [], None)])
    time.sleep(6)
    tries = len(glob.glob(x.capture("3-rolling-away") + "*.c2s")) + len(x.sent("3-rolling-away", b"GET MAILBOXES"))
    x.expect("3-rolling-away", tries < 20, "busy loop in the client: %d connections and tries in 6 s" % tries)
    x.minio.start()
    time.sleep(5)
    x.stop_rolling("3-rolling-away", h)
    x.sync("4-back", "-u", "olaf", quiet=True)


@scenario("master", usual="dir")
def silent_master(x):
    "many connections, sequential and concurrent; master logs nothing (checked for every scenario)"
    x.user("mona")
    x.imap("mona").append("INBOX", [(msg("m"), [], None)])
    for n in range(5):
        x.sync("1-%d" % n, "-u", "mona", again=False, check=False)
    runs = [(n, x.start("2-%d" % n, "-u", "mona")) for n in range(6)]
    for n, h in runs:
        x.finish("2-%d" % n, ["-u", "mona"], h)
    x.sync("3-after", "-u", "mona", quiet=True)
    x.expect("processes", len(target.processes(x.backup)) == 1,
             "%d processes" % len(target.processes(x.backup)))
