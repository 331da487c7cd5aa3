"""What the steps work with: the services, looks into them, and a way to say what is done."""
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
    """Something is not as it should be."""


class Trial:
    def __init__(self, stack, env):
        self.stack, self.env, self.started = stack, env, time.time()
        self.config = instance.read_conf(os.path.join(composefile.project(), "build/mailhost/imapd.conf"))
        self.backup = "backuphost"              # who is asked for what is in the bucket

    # ---- words

    def say(self, text):
        print("[%5.1f s] %s" % (time.time() - self.started, text), flush=True)

    def show(self, what, text, most=12):
        print("          $ " + what)
        lines = text.rstrip().splitlines()
        for l in lines[:most]:
            print("          " + l[:150])
        if len(lines) > most:
            print("          … and %d more lines" % (len(lines) - most))
        sys.stdout.flush()

    # ---- the services; the lab's modules know them as instances of a lab

    def inst(self, name):
        host, imap = self.stack.address("mailhost", 1143)
        return {"host": host, "ports": {"imap": imap, "sieve": self.stack.address("mailhost", 4190)[1]},
                "password": self.env["MAIL_PASSWORD"], "config": self.config}

    def run_tool(self, program, *args, name=None, input=None, timeout=120):
        return self.stack.exec(name or self.backup, program, *args, input=input, timeout=timeout)

    def tool(self, program, *args, service=None):
        """What a tool on the backup host prints; it must end with 0."""
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
        """Over LMTP, as an MTA does. Returns how many were taken."""
        host, port = self.stack.address("mailhost", 2003)
        n = 0
        with smtplib.LMTP(host, port, timeout=60) as lmtp:
            for m in messages:
                try:
                    lmtp.sendmail("sender@example.org", [user], m)
                    n += 1
                except smtplib.SMTPException:
                    pass                        # what Cyrus takes from nobody: NULs, bare newlines
        return n

    # ---- looks

    def look(self, user):
        """Everything that the mail host says of a user's mailboxes, with the SHA-1 of every message."""
        s = Source(self)
        try:
            return {u: m for u, m in s.look({("user", user)}, whole=True).items() if not m["deleted"]}
        finally:
            s.close()

    def differences(self, user, service=None):
        """Between the mail host and the bucket, as service reads it."""
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
        """Waits until the bucket equals the mail host: nobody does anything but wait."""
        end = time.time() + seconds
        while True:
            diffs = self.differences(user, service)
            if not diffs:
                return
            if time.time() > end:
                raise Difference("after %d s the bucket is not as the mail host:\n%s" % (seconds, "\n".join(diffs[:10])))
            time.sleep(0.5)

    def moment(self):
        """Now, for --at, which counts in seconds: what was before is before it, what comes is after it."""
        time.sleep(2)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        time.sleep(2)
        return now

    def equal(self, want, got, **how):
        diffs = compare.looks(want, got, **how)
        if diffs:
            raise Difference("not as it was:\n" + "\n".join(diffs[:20]))

    def expect(self, ok, text):
        if not ok:
            raise Difference(text)


def messages(look):
    return sum(len(m["messages"]) for m in look.values())
