"""ctl_backups compact beside a daemon that receives mail: days pass within seconds."""
import datetime
import json
import os
import random
import re
import signal
import subprocess
import time

from cyruslab import host, target, wire
from cyruslab.host import LabError
from cyruslab.mail import gen_message
from cyruslab.target import PATH

from .base import scenario
from .faults import cyr_expire

USERS = ("rolf", "rita")
KEEP = 3                        # days of backup_retention
DAY = 86400
RULES = {"backup_retention": "%dd" % KEEP, "backup_keep_daily": "2", "backup_keep_weekly": "2", "backup_deleted_folders": "2d",
         "backup_tripwire": "no", "backup_inline_limit": "16k"}


class Life:
    """Mail of some users that comes, changes and goes, so that old bodies become garbage."""

    def __init__(self, x, seed):
        self.x, self.rng, self.n, self.folders = x, random.Random(seed), 0, {u: [] for u in USERS}
        self.common = []
        x.user(*USERS)
        for u in USERS:
            x.imap(u).cmd("CREATE Archive")
            x.imap(u).cmd("CREATE Doomed")
            x.imap(u).append("Doomed", [(gen_message(self.rng, -i, 3000), [], None) for i in range(1, 11)])

    def doom(self):
        """Deletes the folders whose messages are alone in a pack."""
        for u in USERS:
            self.x.imap(u).cmd("DELETE Doomed")

    def mail(self):
        """A message; other users received some of them, too."""
        if self.common and self.rng.random() < .2:
            return self.rng.choice(self.common)
        self.n += 1
        m = gen_message(self.rng, self.n, self.rng.choice((300, 2000, 9000)))
        self.common = (self.common + [m])[-5:]
        return m

    def step(self):
        u = self.rng.choice(USERS)
        c = self.x.imap(u)
        self.rng.choice((self.deliver, self.deliver, self.deliver, self.flag, self.move, self.expunge, self.folder))(u, c)

    def deliver(self, _, c):
        c.append("INBOX", [(self.mail(), [], None) for _ in range(self.rng.choice((1, 1, 2, 12)))])

    def some(self, c, folder, most):
        """Opens a folder and draws some of its uids."""
        c.cmd("SELECT " + folder)
        uids = c.cmd("UID SEARCH ALL")[0].split()[2:]
        return b",".join(self.rng.sample(uids, min(len(uids), self.rng.randint(1, most)))).decode()

    def flag(self, _, c):
        uids = self.some(c, "INBOX", 3)
        if uids:
            c.cmd("UID STORE %s +FLAGS (\\Seen $Label%d)" % (uids, self.rng.randint(1, 3)))
        c.cmd("UNSELECT")

    def move(self, _, c):
        uids = self.some(c, "INBOX", 4)
        if uids:
            c.cmd("UID MOVE %s Archive" % uids)
        c.cmd("UNSELECT")

    def expunge(self, _, c):
        for f in ("INBOX", "Archive"):
            uids = self.some(c, f, 12)
            if uids:
                c.cmd("UID STORE %s +FLAGS (\\Deleted)" % uids)
                c.cmd("EXPUNGE")
            c.cmd("UNSELECT")

    def end(self):
        """Expunges everything, so that the last nights have packs to remove."""
        for u in USERS:
            c = self.x.imap(u)
            for f in ("INBOX", "Archive"):
                uids = self.some(c, f, 1000)
                if uids:
                    c.cmd("UID STORE %s +FLAGS (\\Deleted)" % uids)
                    c.cmd("EXPUNGE")
                c.cmd("UNSELECT")

    def folder(self, u, c):
        """A folder is deleted with delay, or created."""
        if self.folders[u]:
            c.cmd("DELETE " + self.folders[u].pop())
            return
        self.n += 1
        name = "Folder%d" % self.n
        c.cmd("CREATE " + name)
        c.append(name, [(self.mail(), [], None) for _ in range(3)])
        self.folders[u].append(name)

    def live(self, seconds):
        end = time.time() + seconds
        while time.time() < end:
            self.step()
            time.sleep(.05)


class Moments:
    """States of backups as they were read once; later reads must return the same."""

    def __init__(self, x):
        self.x, self.all, self.kept, self.dropped = x, {}, 0, 0

    def read(self, user, n):
        out = []
        for what in ("state", "bodies"):
            r = target.tool(self.x.lab, "cyr_backup", "-u", user, "--commit", str(n), "json", what)
            if r.returncode:
                return r.stderr.decode("utf-8", "replace")
            out.append(r.stdout)
        return out

    def remember(self, step):
        for u in USERS:
            newest = target.ndjson(self.x.lab, "-u", u, "--json", "log")[-1]
            state = self.read(u, newest["number"])
            self.x.expect(step, not isinstance(state, str), "commit %d of %s: %s" % (newest["number"], u, state))
            made = datetime.datetime.fromisoformat(newest["time"].replace("Z", "+00:00")).timestamp()
            self.all[u, newest["number"]] = made, state

    def check(self, step, some=None):
        """Compares moments: those of the retention, and others that exist still."""
        keys = sorted(self.all) if some is None else random.sample(sorted(self.all), min(some, len(self.all)))
        for u, n in keys:
            made, state = self.all[u, n]
            now = self.read(u, n)
            if isinstance(now, str):
                self.dropped += 1
                self.x.expect(step, "not kept any more" in now, "commit %d of %s: %s" % (n, u, now))
                self.x.expect(step, made < self.x.now() - KEEP * DAY, "commit %d of %s, of %s, was removed" % (n, u, made))
                del self.all[u, n]
                continue
            self.kept += 1
            self.x.expect(step, now == state, "the state of %s at commit %d has changed" % (u, n))


class Compact:
    """Runs of ctl_backups compact, and what they report."""

    COUNTS = {"commits merged": r"^merge: (\d+) commits?", "objects of logs removed": r"^retention: .*?(\d+) objects? of the log",
              "checkpoints removed": r"^retention: .*?(\d+) checkpoints?", "packs removed": r"used, (\d+) packs? \([^)]*\) removed"}

    def __init__(self, x):
        self.x, self.sums, self.runs, self.killed, self.longest = x, dict.fromkeys(self.COUNTS, 0), 0, 0, .5

    def begin(self):
        i = self.x.lab.inst("backup")
        return subprocess.Popen([i["base"] + "/bin/ctl_backups", "-C", i["conf"], "compact", "-A"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", env={"PATH": PATH, **i.get("env", {})},
                                **host.as_cyrus())

    def kill(self, rng):
        """Kills a run at a random point, unless it ends before."""
        p = self.begin()
        try:
            self.end(p, "killed", rng.uniform(0, self.longest))
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.communicate()
            self.killed += 1

    def run(self, step):
        self.end(self.begin(), step, 120)

    def end(self, p, step, wait):
        began = time.time()
        said = p.communicate(timeout=wait)[0].decode("utf-8", "replace")
        self.longest = max(self.longest * .9, time.time() - began)
        self.runs += 1
        self.x.expect(step, p.returncode == 0, "compact ended with %s: %s" % (p.returncode, said[-1500:]))
        for name, pattern in self.COUNTS.items():
            m = re.search(pattern, said, re.M)
            self.sums[name] += int(m.group(1)) if m else 0

    def verify(self, step):
        r = target.tool(self.x.lab, "ctl_backups", "verify", "-A")
        self.x.expect(step, r.returncode == 0, "verify: rc %s: %s" % (r.returncode, (r.stdout + r.stderr).decode("utf-8", "replace")[-1500:]))

    def worked(self, step):
        print("  %d complete runs, %d killed: %s" % (self.runs, self.killed, json.dumps(self.sums)), flush=True)
        for name, n in self.sums.items():
            self.x.expect(step, n > 0, "%s: 0, so this tests little" % name)


def refusals(x, step):
    """The NO and BAD answers to a client, but not those that mean: later."""
    out, n = [], 1
    while os.path.exists("%s%s.s2c" % (x.capture(step), "" if n == 1 else "-%d" % n)):
        with open("%s%s.s2c" % (x.capture(step), "" if n == 1 else "-%d" % n), "rb") as h:
            out += [l for l in h if re.match(rb"(NO|BAD|BYE) ", l)]
        n += 1
    x.later = len([l for l in out if l.startswith(b"NO IMAP_MAILBOX_LOCKED")])
    return [l for l in out if not l.startswith((b"NO IMAP_MAILBOX_LOCKED", b"BYE LOGOUT"))]


def rolled(x, step, run):
    """Ends the rolling client. It was refused nothing, but may have been sent away for some time."""
    time.sleep(2)               # two repeat intervals, so that the log is read completely
    x.stop_rolling(step, run, wait=time.time() - run.started + 60)
    x.no_differences(step, "refused", [str(l[:300]) for l in refusals(x, step)])


def doomed_pack(x, compact):
    """Makes a pack of the messages in Doomed alone: they are the first to arrive, and to be merged."""
    time.sleep(2)               # until the client has sent them
    x.pass_days(3.5)
    compact.run("2-doomed")


def at_last(x, step, compact, moments):
    """Everything is as it should be, also after the days in which folders that the source has deleted end."""
    compact.verify(step)
    moments.check(step)
    cyr_expire(x, "-X", "0", "-E", "0", "-D", "0")
    for _ in range(8):          # until the last weekly moment ends; then records go, and packs two nights later
        x.pass_days(KEEP + 1)
        compact.run(step)
    compact.verify(step)
    moments.check(step)
    print("  %d moments equal, %d not kept; LOCKED %d times; %d commands" % (
        moments.kept, moments.dropped, x.later, len(wire.commands(x.capture("1-rolling")))), flush=True)
    compact.worked(step)
    x.settle(step, "-u", *USERS)


@scenario("compactkill", usual="minio", lapse=True, conf=RULES)
def killed_compact(x):
    "compact is killed with -9 at random points, beside a daemon: the next run completes, kept moments stay equal"
    rng, life, compact, moments = random.Random(), Life(x, 1), Compact(x), Moments(x)
    h = x.start("1-rolling", "-R")
    kills = int(os.environ.get("E2E_COMPACT_KILLS", "4"))
    doomed_pack(x, compact)
    for n in range(2 * kills):
        if compact.killed >= kills and n > 4:
            break               # some runs end before they are killed
        step = "2-round%d" % n
        life.live(.8)
        moments.remember(step)
        if n == 1:
            life.doom()
        x.pass_days(2.5)
        compact.kill(rng)
        life.live(.2)
        x.pass_days(1.1)
        compact.run(step)
        if n % 3 == 2:
            cyr_expire(x, "-X", "0", "-E", "0", "-D", "0")
            compact.verify(step)
        moments.check(step, 3)
    life.end()
    x.expect("2-killed", compact.killed >= kills // 2, "only %d runs were killed" % compact.killed)
    rolled(x, "1-rolling", h)
    at_last(x, "3-last", compact, moments)


@scenario("compactroll", usual="minio", lapse=True, conf=RULES)
def rolling_compact(x):
    "a rolling client with mail, flags, moves, delayed deletes and cyr_expire while compact runs again and again"
    life, compact, moments = Life(x, 2), Compact(x), Moments(x)
    h, seconds = x.start("1-rolling", "-R"), float(os.environ.get("E2E_COMPACT_SECONDS", "20"))
    doomed_pack(x, compact)
    began, n = time.time(), 0
    while n < 8 or time.time() < began + seconds:   # on a slow host, too few days would pass
        step, n = "2-round%d" % n, n + 1
        life.live(1 if seconds < 100 else 50)
        moments.remember(step)
        if n == 2:
            life.doom()
        if n % 3 == 0:
            cyr_expire(x, "-X", "0", "-E", "0", "-D", "0")
        x.pass_days(2.5)
        p = compact.begin()
        try:
            life.live(.7)
        except LabError as e:
            x.fail(step, str(e))
        compact.end(p, step, 120)
        moments.check(step, 3)
    life.end()
    rolled(x, "1-rolling", h)
    at_last(x, "3-last", compact, moments)
