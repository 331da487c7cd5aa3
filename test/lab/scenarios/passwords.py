"""Passwords of Cyrus SASL: its database sasldb2."""
import json
import os
import subprocess

from cyruslab import client, instance, target
from cyruslab.imap import PASSWORD

from .base import scenario
from .logins import MECHANISMS, Logins
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
