"""docs/migrating.md, and the keys in a home directory: a second backup host, first with Cyrus's own backup server."""
import re
import time

from cast import EMPTY
from document import Document
from hosts import Failed
from readme import lines, shows

CONFIG, CYRUS = "/etc/imapd.conf", "/etc/cyrus.conf"
OLD = "admins: repl\nbackuppartition-default: /var/spool/cyrus/backup\n"
NEW = ("configdirectory: /var/lib/cyrus\nservername: backup2.example.com\nadmins: repl\nallowplaintext: yes\nbackup_drain_timeout: 1s\n"
       "backuppartition-default: minio://minio.example.com:9000/mailbackup/site2?tls=no\n")
SERVICES = 'SERVICES {\n  backupd  cmd="%s"  listen="2005"  prefork=%d  maxfds=2500\n}\n'


def run(c, tasks):
    d = Document("docs/migrating.md")
    c.start_second()
    channel(c, d)
    cyrus_backups(c)
    c.second.write(CONFIG, NEW)
    c.second.write(CYRUS, SERVICES % ("/usr/local/sbin/backupd -T 1", 1))
    home_keys(c, d, tasks)
    idle(c, tasks)
    # README.md has these two, too, for the only backup host
    lines(c.mail, d, "cyrus sync_client -n backup -v -u anne", "cyrus sync_client -n backup -v -A")
    return d


def channel(c, d):
    """The mail host gets a second channel, and an option only once."""
    with open(c.mail.root(CONFIG)) as h:
        text = h.read()
    c.mail.write(CONFIG, re.sub(r"(?m)^sync_log_channels: .*\n", "", text) + d.file("sync_log_channels: backup newbackup"))


def cyrus_backups(c):
    """Debian's backupd has carol's mail, with a message that she has expunged since."""
    c.deliver("carol", "kept", "expunged before the migration")
    c.second.run("install -d -o cyrus -g mail /var/spool/cyrus/backup; %s; echo 'a long secret' | saslpasswd2 -p -c repl; "
                 "chown cyrus:mail /etc/sasldb2" % EMPTY)
    with open(c.second.root(CONFIG), "a") as h:
        h.write(OLD)
    c.second.write(CYRUS, SERVICES % ("backupd", 0))
    c.second.run("systemctl start cyrus-imapd")
    c.second.listens(2005)
    sync = "cyrus sync_client -n newbackup -v -u carol"
    c.mail.run(sync, None)      # it does not support everything, so the client fails
    c.expunge("carol", subject="expunged before the migration")
    c.mail.run(sync, None)
    c.second.run("systemctl stop cyrus-imapd; " + EMPTY)


def home_keys(c, d, tasks):
    """With the keys in the home directory of cyrus, whatever HOME master has: the import, and mail of a first sync."""
    with open(c.backup.root("/etc/backup.keys")) as h:
        c.second.write("/etc/backup.keys", h.read())
    c.second.run(tasks.line("install -D -o cyrus -g mail -m 600 /etc/backup.keys ~cyrus/.aws/credentials") + " && rm /etc/backup.keys")
    shows(c.second, d, "sudo -u cyrus ctl_backups import /var/spool/cyrus/backup", "carol")
    found = c.second.run("sudo -u cyrus cyr_backup carol find expunged")[1]
    if "expunged before the migration" not in found:
        raise Failed("the import has no history:\n" + found)
    shows(c.second, d, "sudo -u cyrus ctl_backups passwd --import /etc/sasldb2", "repl", "1 imported")
    c.second.run("test ! -e /root/.aws")
    for home, user, seen in (("HOME=/root", "bob", "/root"), ("-u HOME", "carol", None)):
        c.second.run("env %s systemctl restart cyrus-imapd" % home)
        c.second.listens(2005)
        c.second.wait(lambda want=seen: home_of_backupd(c.second) == want, "backupd with " + home)
        c.deliver(user, "keys with " + home)
        c.mail.run("cyrus sync_client -n newbackup -v -u " + user)
        found = c.second.run("sudo -u cyrus cyr_backup %s find 'keys with'" % user)[1]
        if "keys with " + home not in found:
            raise Failed("%s with %s:\n%s" % (user, home, found))


def home_of_backupd(host):
    """HOME of the oldest backupd; None = it is not set, "" = no backupd has an environment yet."""
    pid = host.run("pgrep -xo backupd", None)[1].strip()
    if not pid:
        return ""
    rc, text = host.run("cat /proc/%s/environ" % pid, None)
    if rc or "LANG=" not in text:
        return ""
    return dict(v.split("=", 1) for v in text.split("\0") if "=" in v).get("HOME")


def idle(c, tasks):
    """A backupd with -T 1 ends, and another one that serves metrics stays."""
    c.second.wait(lambda: "idle for longer than -T allows" in c.second.log(), "an idle backupd")
    with open(c.second.root(CONFIG), "a") as h:
        h.write("backup_metrics_listen: 127.0.0.1:9187\n")
    c.second.run("systemctl restart cyrus-imapd")
    c.second.listens(9187)
    c.mail.run("cyrus sync_client -n newbackup -v -u bob")
    synced, line = time.time(), tasks.line("curl -s http://127.0.0.1:9187/metrics | grep process_start_time_seconds")
    first = c.second.run(line)[1]
    while time.time() < synced + 3:
        time.sleep(0.1)
    c.equal("the start of backupd", c.second.run(line)[1], first)
