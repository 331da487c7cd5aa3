"""One backup is unavailable: the users after it must not notice."""
import json
import os
import re
import shutil
import signal
import time

from cyruslab import compare, host, instance, target

from .base import scenario
from .material import msg


def spoil(x, user):
    """Damages a backup so that no program repairs it automatically: with another's backup.json.
    Returns how to undo that."""
    path = x.backup["base"] + "/store/backups/user/%s/backup.json" % user
    target.end_processes(x.backup)
    shutil.rmtree(x.backup["base"] + "/conf/backup-index")
    with open(path) as h:
        good = h.read()

    def put(text):
        with open(path, "w") as h:
            h.write(text)
    put(json.dumps({**json.loads(good), "name": "somebody"}))
    return lambda: put(good)


def messages(x, user):
    """The number of messages in the backup of a user."""
    (m,) = [m for m in compare.Bucket(x.lab, [user]).live().values() if m["name"] == "user." + user]
    return len(m["records"])


def expect_mail(x, step, user, want, wait=10):
    try:
        host.wait_for(lambda: messages(x, user) == want, wait, "%d messages of %s" % (want, user))
    except host.LabError as e:
        x.fail(step, str(e))


# Sync log lines of imapd about a user. Each is refused differently; USER would replace some of them.
EVENTS = ("SUB anne user.anne.Kept\nQUOTA user.anne\nUNMAILBOX user.anne.Gone",
          "MAILBOX user.anne\nMETA anne\nQUOTA user.anne", "USER anne")


def roll(x, step, events, mail):
    """A rolling client reads each event, and then a message for bert, who has mail - 1 of them before. It must not end, or
    connect again."""
    log = x.lab.path("src", "conf", "sync", "backup", "log")
    h = x.start(step, "-R")
    time.sleep(0.6)
    for n, event in enumerate(events):
        host.write(log, event + "\n")
        x.imap("bert").append("INBOX", [(msg("with " + event.split()[0]), [], None)])
        expect_mail(x, step, "bert", mail + n)
    connections = len(x.sent(step, b"AUTHENTICATE"))
    x.expect(step, h.proc.poll() is None and connections == 1, "the client ended, or connected %d times" % connections)
    return h


@scenario("neighbours", stores=("dir",), src={"delete_mode": "immediate"})
def neighbours(x):
    "a user's backup is unavailable: the others are backed up in -u, -A and rolling mode"
    x.user("anne", "bert")
    for u in ("anne", "bert"):
        x.imap(u).append("INBOX", [(msg("first of " + u), [], None)])
    for f in ("Gone", "Kept"):
        x.imap("anne").cmd("CREATE " + f)
    x.imap().cmd("SETQUOTA user/anne (STORAGE 100000)")
    x.sync("0-whole", "-u", "anne", "bert", again=False)
    undo = spoil(x, "anne")
    x.imap("anne").append("INBOX", [(msg("meanwhile"), [], None)])

    x.imap("bert").append("INBOX", [(msg("second"), [], None)])
    r = x.run("1-users", "-u", "anne", "bert")
    x.expect("1-users", r["rc"] == 1, "sync_client ended with %s, wanted 1" % r["rc"])
    expect_mail(x, "1-users", "bert", 2)
    x.imap("bert").append("INBOX", [(msg("third"), [], None)])
    x.run("2-all", "-A")
    expect_mail(x, "2-all", "bert", 3)

    x.imap("anne").cmd("DELETE Gone")
    x.imap("anne").cmd("SUBSCRIBE Kept")
    x.imap().cmd("SETQUOTA user/anne (STORAGE 200000)")
    h = roll(x, "3-rolling", EVENTS, 4)
    said = [l for p, l in x.logged() if "-backup/" in l and "unavailable: clients are deferred" in l]
    x.expect("3-rolling", len(said) == 1 and "set-aside" in said[0], "logged at err: %s" % said)

    undo()
    x.imap("anne").append("INBOX", [(msg("afterwards"), [], None)])
    expect_mail(x, "4-mended", "anne", 3)
    time.sleep(1)
    x.stop_rolling("3-rolling", h)
    # The quota and the removed folder were refused, and sent again when the user was compared.
    x.sync("5-after", "-u", "anne", "bert", quiet=True)


# ANNOTATION is a line about the server's own annotations, which need %SHARED.
OUTSIDE = EVENTS + ("ANNOTATION \"\"\nMAILBOX user.anne",)


@scenario("scopes", stores=("dir",), src={"delete_mode": "immediate"})
def scopes(x):
    "a user is outside the scope of the login: the others are backed up in -u, -A and rolling mode"
    x.user("anne", "bert")
    for u in ("anne", "bert"):
        x.imap(u).append("INBOX", [(msg("first of " + u), [], None)])
    for f in ("Gone", "Kept"):
        x.imap("anne").cmd("CREATE " + f)
    x.imap().cmd("SETQUOTA user/anne (STORAGE 100000)")
    x.imap().cmd("SETMETADATA \"\" (/shared/comment \"of the server\")")
    path = x.backup["base"] + "/scopes"
    host.write(path, "%s bert\n" % instance.REPL)
    instance.stop_master(x.backup)
    x.start_backup(conf={"backup_scopes": path})

    r = x.run("1-users", "-u", "anne", "bert")
    x.expect("1-users", r["rc"] == 1, "sync_client ended with %s, wanted 1" % r["rc"])
    expect_mail(x, "1-users", "bert", 1)
    x.imap("bert").append("INBOX", [(msg("second"), [], None)])
    x.run("2-all", "-A")
    expect_mail(x, "2-all", "bert", 2)

    x.imap("anne").cmd("DELETE Gone")
    x.imap("anne").cmd("SUBSCRIBE Kept")
    h = roll(x, "3-rolling", OUTSIDE, 3)
    annotations = [c for verb in (b"GET ANNOTATION", b"APPLY ANNOTATION") for c in x.sent("3-rolling", verb)]
    x.expect("3-rolling", 2 <= len(annotations) <= 4, "the annotation of the server was sent %s" % annotations)
    left_outside(x, "3-rolling", {"user/anne", "server/annotations"})
    status_outside(x, "3-rolling")

    host.write(path, "%s bert anne\n" % instance.REPL)
    for pid in target.processes(x.backup):
        os.kill(pid, signal.SIGHUP)
    newest = x.backup["base"] + "/store/backups/user/anne/log/"
    host.wait_for(lambda: os.path.isdir(newest) and os.listdir(newest), 20, "a commit of anne")
    expect_mail(x, "4-within", "anne", 1)
    time.sleep(1)
    x.stop_rolling("3-rolling", h)
    x.sync("5-after", "-u", "anne", "bert")


def left_outside(x, step, backups):
    """The backups outside the scope do not exist, and the log has a line about each, once."""
    store = x.backup["base"] + "/store/backups/"
    x.expect(step, not any(os.path.exists(store + b) for b in backups), "a backup outside the scope exists")
    said = [l for p, l in x.logged() if "-backup/" in l and "a backup is outside the scope" in l]
    named = sorted(re.search(r"backup=(\S+)", l).group(1) for l in said)
    x.expect(step, named == sorted(backups), "logged at err, once an hour: %s" % named)


def status_outside(x, step):
    """status shows the mail server, and neither a trouble nor a backup that lacks something."""
    out = target.tool(x.lab, "ctl_backups", "status", "--json").stdout
    servers = [s.get("refused", {}).get("kind") for s in json.loads(out)["servers"]]
    x.expect(step, servers == ["outside"], "the mail servers in status: %s" % out)
