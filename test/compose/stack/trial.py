"""Helpers of the steps: the services, checks of their state, and progress messages."""
import os
import smtplib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lab"))
from cyruslab import compare, instance          # noqa: E402
from cyruslab.imap import ADMIN, Imap           # noqa: E402
from cyruslab.source import Source              # noqa: E402

from . import composefile                       # noqa: E402


class Difference(Exception):
    """A check failed."""


class Trial:
    def __init__(self, stack, env):
        self.stack, self.env, self.started = stack, env, time.time()
        self.config = instance.read_conf(os.path.join(composefile.project(), "build/mailhost/imapd.conf"))
        self.backup = "backuphost"              # the host that reads the bucket

    # ---- output

    def log(self, text):
        print("[%5.1f s] %s" % (time.time() - self.started, text), flush=True)

    def show(self, what, text, most=12):
        print("          $ " + what)
        lines = text.rstrip().splitlines()
        for l in lines[:most]:
            print("          " + l[:150])
        if len(lines) > most:
            print("          … and %d more lines" % (len(lines) - most))
        sys.stdout.flush()

    # ---- the services; the lab's modules treat them as instances of a lab

    def inst(self, name):
        host, imap = self.stack.address("mailhost", 1143)
        return {"host": host, "ports": {"imap": imap, "sieve": self.stack.address("mailhost", 4190)[1]},
                "password": self.env["MAIL_PASSWORD"], "config": self.config}

    def run_tool(self, program, *args, name=None, input=None, timeout=120):
        return self.stack.exec(name or self.backup, program, *args, input=input, timeout=timeout)

    def tool(self, program, *args, service=None):
        """The output of a tool on the backup host, which must exit with 0."""
        r = self.run_tool(program, *args, name=service)
        if r.returncode:
            raise Difference("%s %s: status %d: %s" % (program, " ".join(args), r.returncode,
                                                       (r.stderr or r.stdout).decode("utf-8", "replace")[-1500:]))
        return r.stdout.decode("utf-8", "replace")

    def imap(self, user=ADMIN):
        host, port = self.stack.address("mailhost", 1143)
        c = Imap(port, host)
        c.auth(user, password=self.env["MAIL_PASSWORD"])
        return c

    def deliver(self, user, messages):
        """Delivers over LMTP, like an MTA. Returns how many messages were accepted."""
        host, port = self.stack.address("mailhost", 2003)
        n = 0
        with smtplib.LMTP(host, port, timeout=60) as lmtp:
            for m in messages:
                try:
                    lmtp.sendmail("sender@example.org", [user], m)
                    n += 1
                except smtplib.SMTPException:
                    pass                        # Cyrus never accepts NULs and bare newlines
        return n

    # ---- state

    def look(self, user):
        """The complete state of a user's mailboxes at the mail host, with the SHA-1 of every message."""
        s = Source(self)
        try:
            return {u: m for u, m in s.look({("user", user)}, whole=True).items() if not m["deleted"]}
        finally:
            s.close()

    def differences(self, user, service=None):
        """The differences between the mail host and the bucket, read by service."""
        name = service or self.backup
        s = Source(self)
        try:
            src = s.look({("user", user)}, whole=True)
            r = self.run_tool("cyr_backup", "-u", user, "json", "state", name=name)
            if r.returncode:
                return ["cyr_backup: " + r.stderr.decode("utf-8", "replace").strip()]
            bucket = compare.Bucket(self, [user], name=name)
            return compare.mailboxes(src, bucket) or compare.account(user, s.account(user), bucket) or compare.bodies(bucket)
        finally:
            s.close()

    def arrives(self, user, service=None, seconds=120):
        """Waits until the bucket equals the mail host, without doing anything."""
        end = time.time() + seconds
        while True:
            diffs = self.differences(user, service)
            if not diffs:
                return
            if time.time() > end:
                raise Difference("the bucket differs from the mail host after %d s:\n%s" % (seconds, "\n".join(diffs[:10])))
            time.sleep(0.5)

    def moment(self):
        """The current time for --at, in whole seconds: earlier changes are before it, later ones after it."""
        time.sleep(2)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        time.sleep(2)
        return now

    def equal(self, want, got, **how):
        diffs = compare.looks(want, got, **how)
        if diffs:
            raise Difference("the state differs:\n" + "\n".join(diffs[:20]))

    def expect(self, ok, text):
        if not ok:
            raise Difference(text)


def messages(look):
    return sum(len(m["messages"]) for m in look.values())
