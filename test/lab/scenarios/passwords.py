"""Passwords of Cyrus SASL: its database sasldb2, and its daemon saslauthd."""
import json
import os
import signal
import socket
import subprocess

from cyruslab import client, host, instance, target
from cyruslab.imap import PASSWORD

from .base import scenario
from .logins import ACCOUNTS, MECHANISMS, Logins
from .material import msg


def without_passwords(x):
    """Stops the backup server, and removes its own passwords."""
    instance.stop_master(x.backup)
    os.remove(os.path.join(x.backup["config"]["configdirectory"], "backup-credentials.db"))


def database(path, *accounts):
    """A sasldb2 with these realms and users, by saslpasswd2."""
    for realm, user in accounts:
        instance.sasl_user(path, realm, user)
    return path


@scenario("sasldb", stores=("dir",), conf={"failedloginpause": "0"})
def imported(x):
    "logins of a sasldb2 that ctl_backups passwd --import has read: itself, and its dump"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    without_passwords(x)
    x.start_backup(passwd=False)
    realm = x.backup["realm"]
    db = database(x.lab.path("backup", "old.sasldb2"), (realm, instance.REPL), (realm, "kai"), ("old.lab.test", instance.REPL))

    def imports(step, source, want, **kw):
        r = target.tool(x.lab, "ctl_backups", "passwd", "--import", source, "--ndjson", **kw)
        got = {(a["user"], a["realm"]): a["status"] for a in map(json.loads, r.stdout.splitlines())}
        x.expect(step, r.returncode == 0 and got == {(instance.REPL, realm): want, ("kai", realm): "skipped", (instance.REPL, "old.lab.test"): "skipped"},
                 "%d, %s, %s" % (r.returncode, got, r.stderr.decode()))
        x.expect(step, PASSWORD not in r.stdout.decode() + r.stderr.decode(), "a password is printed")

    imports("database", db, "imported")
    dump = subprocess.run(["db5.3_dump", db], check=True, capture_output=True).stdout
    imports("dump", "-", "unchanged", input=dump)
    logins = Logins(x, "clear", client.server_port(x.lab, "backup"), False)
    for mechanism in MECHANISMS:
        for account in ("right", "wrong"):
            logins.sync_client(mechanism, account)
            logins.synctest(mechanism, account)


class Saslauthd:
    """The real saslauthd(8), with another /etc/sasldb2: it cannot be configured."""

    SCRIPT = """mount -t tmpfs tmpfs "$1"; mkdir "$1/upper" "$1/work"; cp "$2" "$1/upper/sasldb2"
        mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
        exec /usr/sbin/saslauthd -d -n 2 -a sasldb -m "$3" """

    def __init__(self, x, db):
        self.x, self.db, self.path, self.process = x, db, x.dir + "/saslauthd", None
        os.makedirs(self.path, exist_ok=True)
        os.makedirs(x.dir + "/etc", exist_ok=True)

    def start(self):
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-ec", self.SCRIPT, "sh", self.x.dir + "/etc", self.db, self.path],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        host.wait_for(self.listens, 10, "saslauthd to listen")

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.path + "/mux") == 0

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def stop(self):
        if self.process:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None


@scenario("saslauthd", stores=("dir",), conf={"failedloginpause": "0", "sasl_mech_list": "PLAIN LOGIN SCRAM-SHA-256"})
def real_saslauthd(x):
    "passwords from the real saslauthd: right and wrong, an unknown user, a daemon that is stopped, starts again, and answers late"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    # saslauthd adds the host name as realm if there is none
    daemon = Saslauthd(x, database(x.lab.path("backup", "saslauthd.sasldb2"), (socket.gethostname(), instance.REPL)))
    without_passwords(x)
    try:
        daemon.start()
        x.start_backup(passwd=False, conf={"sasl_pwcheck_method": "saslauthd", "sasl_saslauthd_path": daemon.path + "/mux"})
        logins = Logins(x, "clear", client.server_port(x.lab, "backup"), False)
        for mechanism in ("PLAIN", "LOGIN"):
            for account in ACCOUNTS:
                logins.sync_client(mechanism, account)

        def refused():
            return len([line for _, line in x.logged() if "badlogin: " in line and "ask saslauthd" in line])

        plain = {"force_sasl_client_mech": "PLAIN"}
        daemon.stop()
        x.sync("stopped", "-u", "kai", rc="bad", readable=False, timeout=5, sets=plain)
        x.expect("stopped", refused(), "no login was refused because of saslauthd")
        # the same daemon serves a login that saslauthd has no part in
        r = target.tool(x.lab, "ctl_backups", "passwd", instance.REPL, input=PASSWORD.encode())
        x.expect("scram", r.returncode == 0, r.stderr.decode())
        daemon.start()
        x.sync("started-again", "-u", "kai", readable=False, sets=plain)

        daemon.signal(signal.SIGSTOP)
        late = client.Run(x.lab, "backup", ("-u", "kai"), sets=plain)
        x.sync("meanwhile", "-u", "kai", readable=False, sets={"force_sasl_client_mech": "SCRAM-SHA-256"})
        x.expect("late", late.proc.poll() is None, "the client has not waited for saslauthd")
        daemon.signal(signal.SIGCONT)
        r = late.finish(30)
        x.note("late", ("-u", "kai"), r)
        x.expect("late", r["rc"] == 0, "sync_client ended with %s: %s" % (r["rc"], r["out"][-300:]))

        n = refused()
        daemon.signal(signal.SIGSTOP)
        never = client.Run(x.lab, "backup", ("-u", "kai"), sets=plain)
        host.wait_for(lambda: refused() > n, 45, "the end of the wait for saslauthd")
        daemon.signal(signal.SIGCONT)
        r = never.finish(60)
        x.note("never", ("-u", "kai"), r)
        x.expect("never", r["rc"] == 0, "sync_client, which tries again, ended with %s: %s" % (r["rc"], r["out"][-300:]))
    finally:
        daemon.stop()
