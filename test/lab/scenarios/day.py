"""A day of eight mail servers beside attackers."""
import os
import random
import statistics
import threading
import time

from cyruslab import client, host, instance, target
from cyruslab.attackers import Attackers
from cyruslab.source import Source

from .base import scenario
from .material import msg

SERVERS = 8
# seconds: DAY=3600 for the whole hour
QUIET, BESIDE = 60, int(os.environ.get("DAY", "300"))


class MailServer(threading.Thread):
    """A Cyrus with one user and a rolling sync_client. Mail arrives all the time, and each message waits until it is in the bucket."""

    def __init__(self, x, n):
        super().__init__(daemon=True)
        self.x, self.user = x, "user%d" % n
        self.lab = instance.up(os.path.join(x.dir, "m%d" % n))
        instance.add_user(self.lab, self.user)
        self.mail = instance.connect(self.lab, self.user)
        self.log = os.path.join(x.backup["base"], "store", "backups", "user", self.user, "log")
        self.waits, self.uid, self.ended, self.failure = [], 0, threading.Event(), None
        self.rolling = None

    def sync(self, *args):
        return client.Run(self.lab, "src", args, sets={"backup_sync_port": str(client.server_port(self.x.lab, "backup"))})

    def commits(self):
        return len(os.listdir(self.log)) if os.path.isdir(self.log) else 0

    def run(self):
        dice = random.Random(self.user)
        try:
            self.rolling = self.sync("-R")
            while not self.ended.is_set():
                self.change(dice)
                self.ended.wait(dice.uniform(0.5, 3))
        except Exception as e:
            self.failure = e

    def change(self, dice):
        """A new message, sometimes with others of flags and deletions, and the time until a commit follows."""
        before, start = self.commits(), time.time()
        self.mail.append("INBOX", [(msg("m%d" % self.uid, b"x" * dice.randrange(20000) + b"\r\n"), [], None)])
        self.uid += 1
        if dice.random() < 0.2:
            self.mail.cmd("SELECT INBOX")
            self.mail.cmd("UID STORE %d +FLAGS (\\Seen)" % dice.randint(1, self.uid))
            self.mail.cmd("UNSELECT")
        while self.commits() == before:
            if not host.alive(self.rolling.pid):
                self.rolling.finish(1)
                self.rolling = self.sync("-R")   # as master does
            if time.time() - start > 300:
                raise host.LabError("a message of %s has waited for 300 s" % self.user)
            time.sleep(0.02)
        self.waits.append((start, time.time() - start))

    def stop(self):
        self.ended.set()
        self.join(400)
        host.write(client.shutdown_file(self.lab), "")
        if self.rolling:
            self.rolling.finish(60)
            self.rolling = None

    def compare(self):
        """The bucket has what the server has."""
        r = self.sync("-u", self.user).finish(60)
        self.x.expect(self.user, r["rc"] == 0, "the last sync ended with %s: %s" % (r["rc"], r["out"][-300:]))
        own, self.x.source = self.x.source, Source(self.lab)
        try:
            self.x.check(self.user, {("user", self.user)})
        finally:
            self.x.source.close()
            self.x.source = own


class Gauge(threading.Thread):
    """The memory and the descriptors of backupd, once a second."""

    def __init__(self, x):
        super().__init__(daemon=True)
        self.x, self.ended, self.seen = x, threading.Event(), []

    def run(self):
        while not self.ended.wait(1):
            for pid in target.processes(self.x.backup)[:1]:
                try:
                    with open("/proc/%d/statm" % pid) as h:
                        memory = int(h.read().split()[1]) * os.sysconf("SC_PAGESIZE")
                    self.seen.append((memory, len(os.listdir("/proc/%d/fd" % pid))))
                except OSError:
                    pass    # it has ended

    def stop(self):
        self.ended.set()
        self.join()


@scenario("day", stores=("dir",), usual="none", conf={"backup_memory_limit": "192M", "backup_offer_compress": "yes"}, service_opts="prefork=1 maxfds=3000")
def day(x):
    "eight rolling mail servers beside attackers of all kinds: make attack"
    servers = []
    try:
        for n in range(SERVERS):
            servers.append(MailServer(x, n))
        beside(x, servers)
    finally:
        for s in servers:
            s.stop()
            instance.down(s.lab)


def beside(x, servers):
    for s in servers:
        s.start()
    time.sleep(QUIET)
    gauge, attackers, began = Gauge(x), Attackers(client.server_port(x.lab, "backup")), time.time()
    gauge.start()
    time.sleep(BESIDE)
    for s in servers:
        s.ended.set()
    for s in servers:
        s.join(400)
    attackers.stop()
    gauge.stop()
    print("  connections: %s" % attackers.tries)
    for s in servers:
        s.stop()
        quiet = [w for at, w in s.waits if at + w < began]
        loud = [w for at, w in s.waits if at >= began]
        print("  %s: %d messages; waited %.2f s (%.2f s at most) quiet, %.2f s (%.2f s at most) beside attackers" % (
            s.user, s.uid, statistics.median(quiet), max(quiet), statistics.median(loud), max(loud)))
        x.expect(s.user, not s.failure, s.failure)
        x.expect(s.user, max(loud) <= 10 * max(quiet), "a message waited more than ten times as long as without attackers")
        s.compare()
    third = len(gauge.seen) // 3
    for name, n, bound in (("memory", 0, 256 << 20), ("descriptors", 1, 1000)):
        first, last = (max(v[n] for v in part) for part in (gauge.seen[:third], gauge.seen[-third:]))
        print("  %s: %d at most in the first third, %d in the last" % (name, first, last))
        x.expect(name, last <= 1.2 * first and last <= bound, "%s grew from %d to %d, or is above %d" % (name, first, last, bound))
