"""restore of all users: into an empty Cyrus, killed in the middle, with a damaged backup."""
import os
import subprocess
import time

from cyruslab import compare, host, instance
from cyruslab.imap import ADMIN
from cyruslab.target import PATH

from .base import scenario
from .restore import LOGIN, csync, fresh, program, restore

USERS = ("eva", "emil", "ella", "egon", "edda", "erik")


@scenario("r11", stores=("dir",), conf=LOGIN)
def everybody(x):
    "restore -A into an empty server: one backup is damaged, the first run is killed with -9, the next one completes it"
    for u in USERS:
        x.user(u)
        x.load(u, "gen:60:8000:" + u)
        x.imap(u).cmd("CREATE Work")
        x.load(u, "gen:20:8000:work" + u, "Work")
    x.sync("r11-backup", "-u", *USERS, again=False, check=False)
    damaged, healthy = "ella", [u for u in USERS if u != "ella"]
    log = x.backup["base"] + "/store/backups/user/%s/log" % damaged
    for name in os.listdir(log):
        os.remove(os.path.join(log, name))
    scope = {("user", u) for u in healthy}
    want = x.source.look(scope, whole=True)
    f = fresh(x, "empty", users=USERS)
    try:
        notes = x.backup["base"] + "/everybody.done"
        args = ["--parallel", "2", "--newest-first", "--resume", notes, csync(x, "empty"), "-A"]
        kill_when_noted(x, notes, ["--rate", "300k"] + args)
        done = len(open(notes).read().splitlines()) - 1
        x.expect("r11-killed", 0 < done < 4 * len(healthy), "%d parts were done when it was killed" % done)
        said = restore(x, "r11-again", *args, rc=75)
        x.expect("r11-again", "1 failed" in said and "user/" + damaged in said, said[-800:])
        x.expect("r11-again", " 0 done before" not in said or done < 20, said[-800:])
        x.no_differences("r11-again", "restored", compare.looks(want, f.look(scope, whole=True), uids=False, ids=False, modseqs=False))
        lists = b"".join(f.conn(ADMIN).cmd('LIST "" "*"'))
        x.expect("r11-again", damaged.encode() not in lists, "the damaged user has mailboxes: %r" % lists)
        said = restore(x, "r11-third", *args, rc=75)
        x.expect("r11-third", " 0 messages added" in said, said[-800:])
        said = restore(x, "r11-no-notes", "-P", "e", csync(x, "empty"), rc=75)
        x.expect("r11-no-notes", " 0 messages added" in said, said[-800:])
    finally:
        f.close()
        instance.down(x.lab, "empty", wipe=True)


def kill_when_noted(x, notes, args):
    "kill -9 of a restore as soon as one user is recorded as done"
    i = x.lab.inst("backup")
    p = subprocess.Popen([program(x), "-C", i["conf"], *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         cwd="/", env={"PATH": PATH, **i.get("env", {})}, **host.as_cyrus())
    end = time.time() + 60
    while time.time() < end and p.poll() is None and not (os.path.exists(notes) and open(notes).read().count("\n") > 1):
        time.sleep(0.02)
    p.kill()
    p.wait()
