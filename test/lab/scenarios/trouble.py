"""Trouble with one user or one partition, and its effect on the others."""
import os
import shutil
import time

from cyruslab import instance, target
from cyruslab.host import mkdirs

from .base import scenario
from .importing import ctl
from .material import msg

WELL = ["anna", "bert", "cora", "dirk", "elsa", "fred", "gina"]
DAMAGED, DENIED, AWAY = "henk", "iris", "jens"
# How long a new message of an unaffected user may take, on a busy machine. After a
# partition that does not answer, the user waits once for five seconds.
SECONDS = 20


class Buckets:
    """The three partitions, and what happens to two of them."""

    def __init__(self, x):
        self.x, base = x, x.backup["base"]
        if x.store == "minio":
            self.top = {p: os.path.join(x.minio.path, x.minio.BUCKET, d)
                        for p, d in (("default", "backups"), ("denied", "denied"), ("away", "away"))}
            self.gates = {p: target.Gate(x.minio.port) for p in ("denied", "away")}
            self.locations = {p: g.location(x.minio.BUCKET, p) for p, g in self.gates.items()}
        else:
            self.top = {p: os.path.join(base, d) for p, d in (("default", "store"), ("denied", "denied"), ("away", "disk/away"))}
            self.locations = {p: self.top[p] for p in ("denied", "away")}
            mkdirs(self.top["denied"], base + "/disk", self.top["away"])

    def trouble(self, on):
        if self.x.store == "minio":
            for p, g in self.gates.items():
                g.trouble = p if on else None
            return
        os.chmod(self.top["denied"] + "/backups", 0o000 if on else 0o700)
        disk = os.path.dirname(self.top["away"])
        if on:
            os.rename(disk, disk + ".unplugged")
        else:
            os.rename(disk + ".unplugged", disk)

    def commits(self, user):
        """The number of objects in the user's log. In MinIO's layout an object is a directory."""
        log = "%s/backups/user/%s/log" % (self.top["default"], user)
        return len(os.listdir(log)) if os.path.isdir(log) else 0

    def copy(self, user, to):
        """Replaces the backup.json of one user by another's; returns the old one."""
        a, b = ("%s/backups/user/%s/backup.json" % (self.top["default"], u) for u in (user, to))
        os.rename(b, b + ".kept")
        if os.path.isdir(a):
            shutil.copytree(a, b)
        else:
            shutil.copy2(a, b)
        st = os.stat(a)
        os.chown(b, st.st_uid, st.st_gid)
        return b

    def put_back(self, path):
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        os.rename(path + ".kept", path)

    def stop(self):
        for g in getattr(self, "gates", {}).values():
            g.stop()


def arrivals(x, b, step, users, rounds=3):
    """Delivers a message to all users, affected ones first; the others must have it soon."""
    for n in range(rounds):
        before = {u: b.commits(u) for u in WELL}
        for u in users:
            x.imap(u).append("INBOX", [(msg("%s %d for %s" % (step, n, u)), [], None)])
        start, left = time.time(), set(WELL)
        while left and time.time() - start < SECONDS:
            time.sleep(0.1)
            left = {u for u in left if b.commits(u) == before[u]}
        x.expect(step, not left, "after %d s there is no backup of the new mail of %s" % (SECONDS, ", ".join(sorted(left))))
        print("    round %d: all seven after %.1f s" % (n + 1, time.time() - start), flush=True)


@scenario("ten", usual="dir")
def ten_users(x):
    "rolling, ten users: one is damaged, one partition answers 403, one is unreachable; the others are backed up within seconds"
    everybody = [DAMAGED, DENIED, AWAY] + WELL
    x.user(*everybody)
    for u in everybody:
        x.imap(u).append("INBOX", [(msg("first of " + u), [], None)])
    x.sync("1-first", "-u", *everybody, check=False)
    b = Buckets(x)
    x.start_backup(conf={"backuppartition-" + p: l for p, l in b.locations.items()}, passwd=False)
    ctl(x, "move", "move", DENIED, "denied")
    ctl(x, "move", "move", AWAY, "away")
    x.sync("2-moved", "-u", *everybody, quiet=True, check=False)

    instance.stop_master(x.backup)
    shutil.rmtree(x.backup["base"] + "/conf/backup-index")      # otherwise backup.json is not read
    instance.start_master(x.backup, env=x.backup["env"])
    spoiled = b.copy(WELL[0], DAMAGED)
    x.sync("3-index", "-u", *WELL, DENIED, AWAY, quiet=True, check=False)
    # Before the partitions fail, because a backup that the index does not know is searched in all of them.
    r = x.run("3-damaged", "-u", DAMAGED)
    x.expect("3-damaged", r["rc"] == 1, "sync_client ended with %s, wanted 1" % r["rc"])
    h = x.start("4-rolling", "-R")
    try:
        b.trouble(True)
        arrivals(x, b, "4-rolling", everybody)
        said = [l for p, l in x.logged() if "-backup/backupd" in l and "is unavailable" in l]
        for what in ("partition=denied ", "partition=away ", "backup=user/%s " % DAMAGED):
            n = sum(what in l for l in said)
            x.expect("4-rolling", n == 1, "%d lines say that %s is unavailable: %s" % (n, what, said))
    finally:
        b.trouble(False)
        b.put_back(spoiled)
    time.sleep(4)
    x.stop_rolling("4-rolling", h)
    x.settle("5-after", "-u", *everybody)
    b.stop()
