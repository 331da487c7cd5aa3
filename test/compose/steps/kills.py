"""A rolling sync of 2,000 messages is interrupted: only the services are started again."""
import json
import threading
import time

from cyruslab.host import wait_for
from cyruslab.imap import ADMIN, q
from cyruslab.mail import source_messages

from stack.trial import messages

MESSAGES, FOLDERS = 2000, ("INBOX", "Sent", "Lists", "Archive")


def run(t):
    for n, victims in enumerate((["backuphost"], ["minio"], ["backuphost", "minio"])):
        cut(t, "bert%d" % (n + 1), victims)


def cut(t, user, victims):
    names = " and ".join(victims)
    t.log("%s gets %d messages; during the sync, %s will be killed" % (user, MESSAGES, names))
    c = t.imap(user)
    for f in FOLDERS[1:]:
        c.cmd("CREATE " + f)
    mail = list(source_messages("gen:%d:3000:%s" % (MESSAGES, user)))
    arriving = threading.Thread(target=append, args=(c, mail))
    arriving.start()
    wait_for(lambda: held(t, user), 60, "the first message in the bucket")
    n = held(t, user)
    t.stack.kill(*victims)
    t.expect(n < MESSAGES, "all were sent before %s was killed" % names)
    arriving.join()
    c.close()
    want = t.look(user)
    t.expect(messages(want) == MESSAGES, "%d messages on the mail host, wanted %d" % (messages(want), MESSAGES))
    t.log("killed %s when the bucket had %d messages; the mail host has %d. Three seconds later …" % (names, n, MESSAGES))
    time.sleep(3)
    t.stack.up(*victims)
    t.arrives(user)
    t.equal(want, t.look(user))
    t.log("… the services are up again, and everything arrived without intervention; the mail host is unchanged")
    restored(t, user, want)


def append(c, mail):
    share = len(mail) // len(FOLDERS)
    for i, f in enumerate(FOLDERS):
        for k in range(i * share, (i + 1) * share, 50):
            c.append(f, mail[k:k + 50])


def held(t, user):
    """How many messages of a user are in the bucket."""
    r = t.run_tool("cyr_backup", "-u", user, "json", "state")
    lines = r.stdout.splitlines() if r.returncode == 0 else []      # there is no backup before the first commit
    return sum(o["live"] for o in map(json.loads, lines) if o["type"] == "mailbox")


def restored(t, user, want):
    """Deletes the user on the mail host, including deleted mailboxes that Cyrus keeps, and restores."""
    moment = t.moment()
    a = t.imap(ADMIN)
    a.cmd("SETACL user/%s %s lrswipkxtecda" % (user, ADMIN))
    a.cmd("DELETE " + q("user/" + user))
    a.close()
    r = t.stack.exec("mailhost", "/usr/lib/cyrus/bin/cyr_expire", "-D", "0", "-E", "1", "-X", "0")
    t.expect(r.returncode == 0, "cyr_expire: " + r.stderr.decode())
    t.expect(not t.look(user), "the user was not deleted")
    t.tool("restore", "-U", "--at", moment, "mailhost:2005", "-u", user, "-a")
    t.equal(want, t.look(user))
    t.log("%s was deleted on the mail host and restored: every message, uid, flag and modseq is the same" % user)
