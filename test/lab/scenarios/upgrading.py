"""A new program file while clients are connected."""
import os
import shutil
import time

from cyruslab import host, target

from .base import scenario
from .material import msg


class Rolling:
    """sync_client -r, started again whenever it has ended, as master does with a DAEMON entry."""

    def __init__(self, x):
        self.x, self.runs = x, 0
        self.start()

    def start(self):
        self.step = "2-rolling-%d" % self.runs
        self.run = self.x.start(self.step, "-R")

    def look(self):
        if not host.alive(self.run.pid):
            self.x.finish(self.step, ["-R"], self.run)
            self.runs += 1
            self.start()

    def stop(self):
        self.look()
        self.x.stop_rolling(self.step, self.run)


@scenario("upgrade", stores=("dir",))
def upgraded(x):
    "a new program file: connected rolling clients lose nothing, and it serves them within a minute"
    x.user("ulla")
    x.load("ulla", "gen:20:3000:first")
    x.sync("1-initial", "-u", "ulla")
    c, program = x.imap("ulla"), x.backup["base"] + "/bin/backupd"
    client = Rolling(x)
    c.append("INBOX", [(msg("before"), [], None)])
    time.sleep(2)
    old = set(target.processes(x.backup))
    shutil.copy(program, program + ".dpkg-new")
    os.rename(program + ".dpkg-new", program)
    began = time.time()

    def took_over():
        now = target.processes(x.backup)
        try:
            return now and not old & set(now) and os.path.samefile("/proc/%d/exe" % now[0], program)
        except FileNotFoundError:
            return False  # it has ended since it was listed
    while not took_over() and time.time() < began + 60:
        c.append("INBOX", [(msg("at %.1f s" % (time.time() - began)), [], None)])
        time.sleep(1)
        client.look()
    x.expect("3-new", took_over(), "after a minute: former processes %s, now %s" % (old, target.processes(x.backup)))
    print("  the new program file took over after %.0f s" % (time.time() - began), flush=True)
    c.append("INBOX", [(msg("after"), [], None)])
    time.sleep(3)
    client.stop()
    x.sync("4-after", "-u", "ulla", quiet=True)
