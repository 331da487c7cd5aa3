"""move: a user's backup moves to another partition while mail arrives, and back with interruptions."""
import os
import subprocess

from cyruslab.host import PATH, as_cyrus, mkdirs

from .base import rolling, scenario
from .importing import ctl
from .material import msg, populate_b


def home(x, user):
    """The partition of the user's backup, according to ctl_backups; there must be only one."""
    lines = [l for l in ctl(x, "list", "list").splitlines() if l.endswith(":user/" + user)]
    x.expect("list", len(lines) == 1, "ctl_backups list: %s" % lines)
    return lines[0].split("\t")[-1].split(":")[0]


def start_move(x, user, to):
    i = x.backup
    return subprocess.Popen(["%s/bin/ctl_backups" % i["base"], "-C", i["conf"], "-w", "move", user, to], cwd="/",
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={"PATH": PATH, **i.get("env", {})}, **as_cyrus())


def end_lock(x, user):
    """Removes the lock of a killed process, which would expire after two minutes."""
    for store in ("store", "other"):
        lock = "%s/%s/backups/user/%s/lock.json" % (x.backup["base"], store, user)
        if os.path.exists(lock):
            os.unlink(lock)


def cut_off(x, user, to):
    """Kills a move repeatedly, each time later."""
    kills, after = 0, 0.02
    while True:
        p = start_move(x, user, to)
        try:
            said = p.communicate(timeout=after)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            end_lock(x, user)
            kills, after = kills + 1, after * 1.5
            continue
        x.expect("cut off", p.returncode == 0 or "already" in said, "rc %d: %s" % (p.returncode, said[-600:]))
        print("    killed %d times" % kills)
        return kills


@scenario("move", stores=("dir",))
def move(x):
    "ctl_backups move while mail arrives, and back, killed repeatedly: one complete backup, and nothing sent twice"
    other = x.backup["base"] + "/other"
    mkdirs(other)
    x.start_backup(conf={"backuppartition-other": other})
    c = populate_b(x, "berta")
    x.load("berta", "gen:300:5000:move")
    x.sync("1-first", "-u", "berta")
    first = home(x, "berta")
    to = "other" if first == "default" else "default"

    def moved():
        ctl(x, "move", "move", "-v", "berta", to)
    ops = [lambda n=n: c.append("INBOX", [(msg("while it moves %d" % n), [], None)]) for n in range(6)]
    rolling(x, "2-rolling", ops[:3] + [moved] + ops[3:])
    x.expect("move", home(x, "berta") == to, "the backup is not in %s" % to)
    x.sync("3-after", "-u", "berta", quiet=True)
    ctl(x, "verify", "verify", "berta")

    kills = cut_off(x, "berta", first)
    x.expect("cut off", kills > 0, "the move was never killed")
    x.expect("cut off", home(x, "berta") == first, "the backup is not in %s" % first)
    x.sync("4-back", "-u", "berta", quiet=True)
    c.append("INBOX", [(msg("after all"), [], None)])
    x.sync("5-news", "-u", "berta")
    ctl(x, "verify again", "verify", "berta")
