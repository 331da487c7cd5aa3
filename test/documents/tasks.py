"""docs/tasks.md: the commands that no other document has, after README.md and docs/monitoring.md. second.py types two of them."""
import re

from document import Document
from hosts import Failed
from readme import shows

CONFIG = "/etc/imapd.conf"
# the documents whose lines other files here type
TYPED = ("README.md", "docs/monitoring.md", "docs/administration.md", "docs/restore.md", "docs/migrating.md", "docs/man/backup-runbook.7.md")


class Tasks(Document):
    """The commands in the second column of the tables."""

    def __init__(self, path):
        super().__init__(path)
        self.blocks = []
        with open(self.source(path), encoding="utf-8") as h:
            for row in h:
                cells = [x.strip() for x in re.split(r"(?<!\\)\|", row)[1:-1]]
                if len(cells) == 5 and cells[1].startswith("`"):
                    self.blocks.append([x.replace("\\|", "|") for x in re.findall(r"`([^`]+)`", cells[1])])
        self.left = {t for b in self.blocks for t in b} - {self.command(t) for p in TYPED for b in Document(p).blocks for t in b}


def run(c):
    d = Tasks("docs/tasks.md")
    d.skip("make demo", "a step of .ci/run")
    d.skip("make -C /root/backupd install DESTDIR=/tmp/image", "test/install_test.go")
    with open(c.backup.root(CONFIG)) as h:
        good = h.read()
    for step in (setting_up, partition, watching, restoring, mistakes, index):
        step(c, d)
        c.backup.write(CONFIG, good)
    c.backup.run("systemctl restart cyrus-imapd")
    c.backup.listens(2005)
    return d


def setting_up(c, d):
    shows(c.backup, d, "man backup-runbook", "A MESSAGE IS LOST")
    shows(c.backup, d, "ctl_backups --completion bash", "bash completion")
    shows(c.backup, d, "echo 'a long secret' | sudo -u cyrus ctl_backups passwd repl", "repl: password set")
    c.backup.run(d.line("echo 'sasl_pwcheck_method: saslauthd' >> /etc/imapd.conf"))
    said = c.backup.run("ctl_backups doctor", 2)[1]
    if "saslauthd" not in said:
        raise Failed("doctor does not mention saslauthd:\n" + said)


def partition(c, d):
    """bob moves to a partition that a running backupd has learned of, and back."""
    before = c.backup.log()
    c.backup.run("install -d -o cyrus -g mail -m 750 /srv/second")
    c.backup.run(d.line("echo 'backuppartition-second: /srv/second' >> /etc/imapd.conf"))
    c.backup.run(d.line("systemctl reload cyrus-imapd"))
    c.mail.run("cyrus sync_client -n backup -v -u carol")
    shows(c.backup, d, "sudo -u cyrus ctl_backups move bob second", "move bob: ok")
    c.deliver("bob", "after the move")
    c.backed_up("bob", "after the move")
    shows(c.backup, d, "python3 /root/backupd/docs/bucket-restore.py /srv/second list", "user/bob")
    c.backup.run("sudo -u cyrus ctl_backups move bob default")
    if " err " in c.backup.log()[len(before):]:
        raise Failed("errors in the log:\n" + c.backup.log()[len(before):])


def watching(c, d):
    shows(c.backup, d, "sudo -u cyrus ctl_backups drill --users 2", "all equal the backup")
    shows(c.backup, d, "sudo -u cyrus ctl_backups drill --to imap-test.example.com:2005 anne", "drill anne: ok")
    if "backup-drill" in str(c.imap().list('""', '"user.%"')):
        raise Failed("the drill has left its user")


def restoring(c, d):
    shows(c.backup, d, "cyr_backup anne find subject:invoice", "invoice 1", "invoice 2", "bob@example.org")
    shows(c.backup, d, 'restore -n --at "90 minutes ago" --to eml:/tmp/then anne -a', "nothing of the backup is as old", rc=75)
    shows(c.backup, d, "restore -v mail.example.com:2005 anne:dave -a", "with the ACL that new mailboxes get there")
    c.equal("another user", c.subjects("dave"), c.subjects("anne"))
    for line in ("restore --to mbox:/tmp/anne.mbox anne -a", "restore --to eml:/tmp/anne-eml anne -a", "restore --to tar:/tmp/anne.tar.zst anne -a"):
        shows(c.backup, d, line, "0 problems")
    c.delete("cyrus", "user.dave", acl="user.dave")
    said = c.backup.run("restore mail.example.com:143 anne -a", 75)[1]
    if "this is an IMAP server" not in said:
        raise Failed("port 143: " + said)


def mistakes(c, d):
    """Each mistake in imapd.conf is reported with its line and a hint."""
    with open(c.backup.root(CONFIG)) as h:
        good = h.read()
    for change, line, rc, wanted in (
            ("backup_compresion: better\nbackuppartion-x: /srv/x\n", "ctl_backups doctor", 1, ("backup_compression", "backuppartition-x")),
            ("backuppartition-twin: /srv/second\nbackuppartition-other: /srv/second\n", "ctl_backups list", 78, ("two partitions cannot share a location",)),
            ("backuppartition-none: /srv/none\n", "ctl_backups list", 75, ("/srv/none", "anne"))):
        c.backup.write(CONFIG, good + change)
        said = c.backup.run(line, None)
        if said[0] != rc or any(w not in said[1] for w in wanted):
            raise Failed("%s with %s\n%d, not %d with %s:\n%s" % (line, change, said[0], rc, wanted, said[1]))
    c.backup.run("test ! -e /srv/none")
    c.backup.write(CONFIG, good.replace("mailbackup/site1", "mailbackup/site2"))
    said = c.backup.run(d.line("sudo -u cyrus ctl_backups status"), 2)[1]
    if "this host has seen a repository there" not in said:
        raise Failed("status with a wrong prefix:\n" + said)
    c.backup.write(CONFIG, good)
    shows(c.backup, d, "sudo -u nobody ctl_backups list", "permission denied", rc=78)


def index(c, d):
    c.mail.run("cp /etc/imapd.conf /root/imapd.conf; sed -i 's/backup_sync_password: .*/backup_sync_password: wrong/' /etc/imapd.conf")
    # it tries again and again
    c.mail.run("cyrus sync_client -n backup -v -u anne </dev/null >/dev/null 2>&1 & echo $! >/run/wrong.pid")
    c.backup.wait(lambda: "badlogin" in c.backup.log(), "a failed login")
    c.mail.run("kill $(cat /run/wrong.pid); mv /root/imapd.conf /etc/imapd.conf")
    shows(c.backup, d, "grep badlogin /var/log/mail.log", "repl")
    c.backup.run("systemctl stop cyrus-imapd && " + d.line("rm -rf /var/lib/cyrus/backup-index") + " && systemctl start cyrus-imapd")
    c.backup.listens(2005)
    c.settled("carol")
