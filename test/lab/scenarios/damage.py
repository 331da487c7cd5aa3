"""The real client repairs a backup that has lost data."""
import os
import re
import shutil

from cyruslab import instance

from .base import scenario
from .faults import cyr_expire
from .material import msg


def log_of(x, user):
    """The commits of a user in the directory store, oldest first."""
    top = x.backup["base"] + "/store/backups/user/%s/log" % user
    return [os.path.join(top, f) for f in sorted(os.listdir(top))]


def without_index(x):
    instance.stop_master(x.backup)
    shutil.rmtree(x.backup["base"] + "/conf/backup-index")
    x.start_backup(passwd=False)


def guids(sent):
    return sum(len(re.findall(rb"%\{", s)) for s in sent)


@scenario("bridge", stores=("dir",))
def lost_commit(x):
    "a commit is lost: the source sends exactly the lost messages and is unchanged"
    x.user("bridget", "solo")
    for u in ("bridget", "solo"):
        x.imap(u).append("INBOX", [(msg("%s %d" % (u, i)), [], None) for i in range(1, 31)])
    x.imap("bridget").cmd("CREATE INBOX.Sent")
    x.imap("bridget").append("INBOX.Sent", [(msg("s%d" % i), [], None) for i in range(1, 11)])
    x.sync("1-initial", "-u", "bridget", "solo")
    for u in ("bridget", "solo"):
        c = x.imap(u)
        c.cmd("SELECT INBOX")
        c.cmd("STORE 10,20 +FLAGS (\\Deleted)")
        c.cmd("EXPUNGE")
        c.cmd("UNSELECT")
        c.append("INBOX", [(msg("%s lost %d" % (u, i)), [], None) for i in range(3)])
    x.logout()
    cyr_expire(x, "-X", "0", "-E", "0")
    before = {u: log_of(x, u) for u in ("bridget", "solo")}
    x.sync("2-lost", "-u", "bridget", "solo")
    after = {u: log_of(x, u) for u in ("bridget", "solo")}
    for u in ("bridget", "solo"):
        x.imap(u).append("INBOX", [(msg("%s later" % u), [], None)])
    x.sync("3-later", "-u", "bridget", "solo")
    for u in ("bridget", "solo"):
        lost = [f for f in after[u] if f not in before[u]]
        x.expect("2-lost", lost, "no commit for %s" % u)
        for f in lost:
            os.unlink(f)
    without_index(x)
    x.sync("4-healed", "-u", "bridget", "solo", exactly=False)
    n = guids(x.sent("4-healed", b"APPLY MESSAGE"))
    x.expect("4-healed", n == 6, "%d messages were sent, want the 6 lost ones" % n)
    x.expect("4-healed", x.sent("4-healed", b"GET FULLMAILBOX"),
             "the client did not ask for a full mailbox: this tests less than it should")
    x.sync("5-quiet", "-u", "bridget", "solo", quiet=True, exactly=False)
