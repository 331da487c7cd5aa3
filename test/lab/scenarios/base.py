"""The methods of a scenario: a separate lab, and a sync with all effects checked."""
import os
import re
import shutil
import subprocess
import time

from cyruslab import client, compare, host, instance, target, wire
from cyruslab.host import LabError
from cyruslab.imap import ADMIN, Sieve
from cyruslab.mail import load
from cyruslab.source import Source

SCENARIOS = {}


class Scenario:
    def __init__(self, fn, name, stores, usual, sets, conf, tls, lapse, server):
        self.fn, self.name, self.stores, self.usual, self.about = fn, name, stores, usual, fn.__doc__
        self.sets, self.conf, self.tls, self.lapse, self.server = sets, conf, tls, lapse, server


def scenario(name, stores=("dir", "minio"), usual=None, src=None, conf=None, tls=False, lapse=False, **server):
    """Registers a scenario. src, conf: imapd.conf options of the source and of the backup
    host; server: more arguments of target.backup_server. lapse: pass_days can be used.
    usual: the only store that CI takes, of a scenario that hardly depends on the store; "none" if it
    takes too long."""
    def register(fn):
        SCENARIOS[name] = Scenario(fn, name, stores, (usual,) if usual else stores, src or {}, conf or {}, tls, lapse, server)
        return fn
    return register


class Context:
    """One run of one scenario."""

    def __init__(self, sc, opt, store):
        self.sc, self.opt, self.store = sc, opt, store
        self.dir = os.path.join(opt.work, "%s-%s" % (sc.name, store))
        self.out = os.path.join(opt.out, "%s-%s" % (sc.name, store))
        self.steps, self.failures, self.conns, self.sieves = [], [], {}, []
        self.days = []              # when clocks were set forward, and by how much
        self.killed = []            # processes that master may report as dead
        self.mark = os.path.getsize(opt.syslog) if os.path.exists(opt.syslog) else 0
        self.wipe()
        os.makedirs(self.out)
        self.lab = instance.up(self.dir, sc.sets)
        self.minio = target.Minio(opt.minio, os.path.join(self.dir, "minio")) if store == "minio" else None
        self.start_backup()
        self.source = Source(self.lab)

    def start_backup(self, **kw):
        conf = {**self.opt.conf, **self.sc.conf, **kw.pop("conf", {})}
        # do not wait longer for a failing store than the test lasts
        conf.setdefault("backup_outage_wait", "60s")
        gorace = "halt_on_error=0 exitcode=66 atexit_sleep_ms=0 clear_shadow_mmap_threshold=1073741824"
        env, bindir = {"GORACE": gorace}, self.opt.bin
        if self.sc.lapse:       # programs for tests: cmd/internal/clock
            bindir, env["LAPSE_FILE"] = os.path.join(bindir, "lapse"), self.lab.path("days")
            self.set_forward()
        return target.backup_server(self.lab, bindir, self.store, self.minio, sets=conf, env=env,
                                    tls=self.sc.tls, **{**self.sc.server, **kw})

    def set_forward(self):
        host.write(self.lab.path("days"), "".join("%d %d\n" % d for d in self.days))

    def pass_days(self, days):
        """Sets the clocks of the backup host and of its store forward, at the next whole second:
        a store states its time in seconds."""
        at = int(time.time()) + 1
        self.days.append((at, int(days * 86400)))
        self.set_forward()
        time.sleep(max(0, at + .02 - time.time()))

    def now(self):
        """The time of the backup host."""
        return time.time() + sum(by for _, by in self.days)

    def wipe(self):
        if os.path.exists(os.path.join(self.dir, "lab.json")):
            instance.down(instance.Lab(self.dir))
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)

    # ---- material

    def user(self, *names):
        for n in names:
            instance.add_user(self.lab, n)

    def imap(self, user=ADMIN):
        if user not in self.conns:
            self.conns[user] = instance.connect(self.lab, user)
        return self.conns[user]

    def load(self, user, source, folder="INBOX"):
        return load(lambda: instance.connect(self.lab, user), source, folder)

    def sieve(self, user):
        self.sieves.append(Sieve(self.lab.inst("src")["ports"]["sieve"], user))
        return self.sieves[-1]

    def with_sieve(self, user, fn):
        # an open timsieved session blocks SETQUOTA for its user
        s = Sieve(self.lab.inst("src")["ports"]["sieve"], user)
        try:
            fn(s)
        finally:
            s.close()

    def logout(self):
        for c in list(self.conns.values()) + self.sieves:
            c.close()
        self.conns, self.sieves = {}, []
        self.source.close()

    @property
    def backup(self):
        return self.lab.inst("backup")

    # ---- failures

    def fail(self, step, text):
        self.failures.append("%s: %s" % (step, text))
        print("    FAIL %s: %s" % (step, text[:600]), flush=True)

    def expect(self, step, ok, text):
        if not ok:
            self.fail(step, text)

    def no_differences(self, step, what, diffs):
        for d in diffs[:12]:
            self.fail(step, "%s: %s" % (what, d))
        if len(diffs) > 12:
            self.fail(step, "%s: and %d more" % (what, len(diffs) - 12))

    # ---- syncs

    def capture(self, step):
        return os.path.join(self.out, step)

    def run(self, step, *args, readable=True, timeout=60, **kw):
        """One sync_client run; its capture is in OUT/STEP.*"""
        r = client.run(self.lab, "backup", args, capture=self.capture(step),
                       hide_compress=readable, timeout=timeout, **kw)
        self.note(step, args, r)
        return r

    def note(self, step, args, r):
        said = r["out"].strip().splitlines()
        self.steps.append({"step": step, "args": " ".join(args), "rc": r["rc"],
                           "wall": round(r["wall"], 3), "said": said[-6:]})
        bad = [l for l in said if re.search(r"rror|NO |BAD|fail|bailing|Can not", l)]
        print("  %-30s rc=%-3s %6.2fs %s" % (step, r["rc"], r["wall"], bad[-1][:120] if bad else ""), flush=True)

    def sent(self, step, verb=b"APPLY "):
        return [c for c in wire.commands(self.capture(step)) if c.startswith(verb)]

    def sync(self, step, *args, rc=0, quiet=False, again=True, check=True, exactly=True, **kw):
        """A sync_client run with all checks: its status; the source is unchanged;
        the bucket equals the source; and a second run of the unchanged user sends nothing.
        quiet: this run itself is the second one. rc None: any status; "bad": any but 0."""
        scope = self.scope(args)
        before = self.source.look(scope, whole=False)
        r = self.run(step, *args, **kw)
        ok = {"bad": r["rc"] != 0, None: True}.get(rc, r["rc"] == rc)
        self.expect(step, ok, "sync_client ended with %s, wanted %s: %s" % (
            r["rc"], rc, " | ".join(r["out"].strip().splitlines()[-3:])))
        after = self.source.look(scope, whole=check)
        self.no_differences(step, "source changed", compare.unchanged(before, after))
        if rc != 0 or r["rc"] != 0:
            return r
        if quiet:
            self.expect_quiet(step)
        if check:
            self.check(step, scope, after, exactly)
        if again and not quiet:
            name = step + ".again"
            r2 = self.run(name, *args, **{k: v for k, v in kw.items() if k == "sets"})
            self.expect(name, r2["rc"] == 0, "sync_client ended with %s" % r2["rc"])
            self.expect_quiet(name)
        return r

    def expect_quiet(self, step):
        sent = self.sent(step)
        self.expect(step, not sent, "an unchanged sync sent %d APPLY: %s" % (
            len(sent), "; ".join(s[:300].decode("utf-8", "replace") for s in sent[:3])))

    def settle(self, step, *args, most=3):
        """Repeats until a run sends nothing (a mailbox in resync needs two); then like sync."""
        for n in range(most):
            self.sync("%s.%d" % (step, n + 1), *args, again=False, check=False)
            if not self.sent("%s.%d" % (step, n + 1)):
                break
        self.sync(step, *args, quiet=True)

    @staticmethod
    def scope(args):
        """The mailboxes of a run."""
        args = list(args)
        if "-A" in args or "-R" in args or "-r" in args:
            return "all"
        kind = {"-u": "user", "-s": "user", "-m": "mailbox"}
        out, now = set(), None
        for a in args:
            if a in kind:
                now = kind[a]
            elif now and not a.startswith("-"):
                out.add((now, a))
        return out

    def check(self, step, scope, src=None, exactly=True):
        """The bucket equals the source, and every body can be read back."""
        src = src if src is not None else self.source.look(scope, whole=True)
        owners = {m["owner"] for m in src.values() if m["owner"]}
        shared = sorted({self.source.names.owner(m["name"])[1][0] for m in src.values() if not m["owner"]})
        users = sorted(owners)
        if not src:
            return
        try:
            bucket = compare.Bucket(self.lab, users, shared)
            whole = scope == "all" or all(k == "user" for k, _ in scope)
            self.no_differences(step, "bucket", compare.mailboxes(src, bucket, exactly and whole))
            for u in users if whole else ():
                if any(m["owner"] == u and not m["deleted"] for m in src.values()):
                    self.no_differences(step, "bucket", compare.account(u, self.source.account(u), bucket))
            self.no_differences(step, "bodies", compare.bodies(bucket))
            guids = sorted({g["guid"] for m in src.values() for g in m.get("messages", {}).values()})
            for who in bucket.who[:1]:
                held = {r["guid"] for m in bucket.live().values() for r in m["records"].values()}
                for g in [g for g in guids if g in held and len(bucket.who) == 1][:1]:
                    self.no_differences(step, "bodies", compare.one_body(bucket, who, g))
        except (LabError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as e:
            self.fail(step, "reading the bucket back: %s: %s" % (type(e).__name__, e))

    def start(self, step, *args, **kw):
        """A sync_client that runs while the scenario does other things."""
        kw.setdefault("hide_compress", True)
        return client.Run(self.lab, "backup", args, capture=self.capture(step), **kw)

    def finish(self, step, args, run, wait=120):
        r = run.finish(wait)
        self.note(step, args, r)
        return r

    def stop_rolling(self, step, run, wait=60):
        host.write(client.shutdown_file(self.lab), "")
        r = self.finish(step, ["-R"], run, wait)
        if os.path.exists(client.shutdown_file(self.lab)):
            os.unlink(client.shutdown_file(self.lab))
        self.expect(step, r["rc"] == 0, "sync_client ended with %s" % r["rc"])
        d = self.lab.path("src", "conf", "sync", "backup")
        left = sorted(os.listdir(d)) if os.path.isdir(d) else []
        self.expect(step, not left, "left in the sync log: %s" % left)
        return r

    def wait_for_upload(self, step, size, wait=30):
        """Waits until the client has sent size bytes in the current step."""
        f = self.capture(step) + ".c2s"
        host.wait_for(lambda: os.path.exists(f) and os.path.getsize(f) >= size, wait,
                      "%d bytes of %s" % (size, step))

    # ---- the end

    def logged(self):
        """(priority, line) of this lab's messages."""
        with open(self.opt.syslog, "rb") as h:
            h.seek(self.mark)
            for l in h.read().decode("utf-8", "replace").splitlines():
                m = re.match(r"[\d.]+ p(\d) (.*)", l)
                if m and self.lab.tag in l:
                    yield int(m.group(1)), m.group(2)

    def check_logs(self):
        """Master has not complained about its service, and nothing crashed or raced."""
        for prio, l in self.logged():
            if re.search(self.lab.tag + r"-backup/master\[", l) and prio <= 4 and \
                    not any("pid:%d " % p in l or "pid %d " % p in l for p in self.killed):
                self.fail("master", l)
        with open(self.backup["base"] + "/master.out", errors="replace") as h:
            out = h.read()
        m = re.search(r"(WARNING: DATA RACE|^panic:|^fatal error:)", out, re.M)
        if m:
            self.fail("backupd", "stderr: " + out[m.start():m.start() + 3000])

    def close(self):
        try:
            self.logout()
        except Exception as e:
            print("    logout: %r" % e)
        time.sleep(0.1)
        try:
            self.check_logs()
        finally:
            instance.down(self.lab)
            if self.minio:
                self.minio.thaw()
                self.minio.stop()
        if self.failures:
            with open(os.path.join(self.out, "syslog"), "w") as h:
                h.writelines("p%d %s\n" % e for e in self.logged())
            shutil.copy(self.backup["base"] + "/master.out", self.out)
            for f in os.listdir(self.out):
                if f.endswith(".idx"):
                    wire.render(os.path.join(self.out, f[:-4]))
        if not self.opt.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
            if not self.failures:
                shutil.rmtree(self.out, ignore_errors=True)


def rolling(x, step, ops, secs=0.5):
    """Rolling replication while ops run one after another."""
    h = x.start(step, "-R")
    time.sleep(0.6)
    for n, op in enumerate(ops):
        try:
            op()
        except LabError as e:
            x.fail(step, "operation %d: %s" % (n, e))
            x.conns = {}
        time.sleep(secs)
    time.sleep(2.0)             # two repeat intervals, so that the log is read completely
    return x.stop_rolling(step, h)
