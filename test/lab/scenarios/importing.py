"""import: importing a backup of Debian's Cyrus Backups."""
import hashlib
import json
import time

from cyruslab import client, instance, target

from .base import scenario
from .material import msg, populate_b


def reference_sync(x, step, user):
    """Syncs to Debian's backupd. It does not support everything, so a failed client is only printed."""
    r = client.run(x.lab, "reference", ["-u", user], channel="backup")
    x.note(step, ["-u", user], r)
    return r


def ctl(x, step, *args, rc=0):
    r = target.tool(x.lab, "ctl_backups", *args)
    said = (r.stdout + r.stderr).decode("utf-8", "replace")
    x.steps.append({"step": step, "args": " ".join(args), "rc": r.returncode, "said": said.splitlines()[-6:]})
    x.expect(step, r.returncode == rc, "ctl_backups %s: rc %d: %s" % (args[0], r.returncode, said[-800:]))
    return said


@scenario("import-cyrus", stores=("dir",))
def import_cyrus(x):
    """A user with a history at Debian's backupd is imported: times, expunged and deleted mail"""
    target.reference_server(x.lab)
    c = populate_b(x, "berta")
    doomed, gone = msg("to be expunged"), msg("in a deleted folder")
    c.cmd("CREATE Doomed")
    c.append("Doomed", [(gone, [], None)])
    c.append("INBOX", [(doomed, [], None)])
    reference_sync(x, "first", "berta")
    before = time.time()
    time.sleep(2.5)             # its data files have whole seconds
    c.cmd("SELECT INBOX")
    uid = c.cmd('UID SEARCH HEADER SUBJECT "to be expunged"')
    number = [w for l in uid for w in (l if isinstance(l, bytes) else l.encode()).split() if w.isdigit()][-1].decode()
    c.cmd("UID STORE %s +FLAGS (\\Deleted)" % number)
    c.cmd("UID EXPUNGE %s" % number)
    c.cmd("UNSELECT")
    c.cmd("DELETE Doomed")
    reference_sync(x, "second", "berta")
    ref = x.lab.inst("reference")
    instance.stop_master(ref)
    store = ref["base"] + "/store"

    said = ctl(x, "import", "import", store)
    x.expect("import", said.count(": ok") >= 1, said[-800:])
    ctl(x, "again", "import", store)
    ctl(x, "verify", "verify", "-v", "berta")

    newest = target.ndjson(x.lab, "berta", "find", "--json", "subject:to be expunged")
    x.expect("expunged", len(newest) == 1 and "expunged" in newest[0], "found %s" % json.dumps(newest))
    folder = target.ndjson(x.lab, "berta", "find", "--json", "subject:in a deleted folder")
    x.expect("deleted folder", len(folder) == 1, "found %s" % json.dumps(folder))
    then = target.ndjson(x.lab, "berta", "--at", "@%d" % (before + 1), "find", "--json", "subject:to be expunged")
    x.expect("as of then", len(then) == 1 and "expunged" not in then[0], "found %s" % json.dumps(then))
    for guid, body in ((hashlib.sha1(b).hexdigest(), b) for b in (doomed, gone)):
        r = target.tool(x.lab, "cyr_backup", "berta", "dump", "message", guid)
        x.expect("body", r.stdout == body, "%s: rc %d, %d bytes: %s" % (guid, r.returncode, len(r.stdout), r.stderr[-300:]))

    # from now on it is an ordinary backup
    x.sync("first sync to our backupd", "-u", "berta", exactly=False)
