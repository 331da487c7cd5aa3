"""docs/man/backup-runbook.7.md, section by section, after README.md."""
import re
import time

from document import WHEN, Document
from hosts import Failed
from readme import lines, shows


def run(c, only, long):
    """Runs the sections that are named, or all: without long, those that take a few seconds."""
    d = Document("docs/man/backup-runbook.7.md")
    for line, why in ELSEWHERE.items():
        d.skip(line, why)
    for section in (begin, message, folder, user, mail_server, synced_too_early, older_server, backup_host, keys, bucket, disks,
                    masses, damage, tampered, behind, leaver, forgotten, new_bucket):
        if only and section.__name__ not in only or not only and not long and section in LONG:
            continue
        began = time.time()
        section(c, d)
        print("  %4.1f s in all: %s" % (time.time() - began, section.__name__), flush=True)
    if not only:
        with open(__file__) as h:
            d.check("" if long else h.read())


def at(c, d, line, moment, *wanted, rc=0):
    """Runs a line about a moment on the backup host."""
    said = c.backup.run(d.line(line).replace(WHEN, '"%s"' % moment), rc)[1]
    for w in wanted:
        if w not in said:
            raise Failed("%s: no %r in\n%s" % (line, w, said))
    return said


def moment():
    """This second, when it is over."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def begin(c, d):
    shows(c.backup, d, "sudo -u cyrus ctl_backups list --holds")
    shows(c.backup, d, 'sudo -u cyrus ctl_backups hold -A --reason "mail is lost"')
    shows(c.backup, d, "sudo -u cyrus ctl_backups list -h", "anne", "on hold")
    shows(c.backup, d, "grep backupd /var/log/mail.log | tail -50", "login")
    shows(c.backup, d, 'sudo -u cyrus ctl_backups release -A --reason "mail is lost"', "mail is lost")


def message(c, d):
    c.expunge("anne", "INBOX", "invoice 2")
    c.backup.wait(lambda: "deleted 2" in c.backup.run("cyr_backup anne find 'invoice 2'")[1], "the expunge")
    said = shows(c.backup, d, "cyr_backup anne find invoice from:bob", "deleted 2")
    line = [t for t in said.split("\n") if "deleted 2" in t][0]
    guid = re.search(r"\b[0-9a-f]{40}\b", line).group(0)
    for line in ("restore -n -v mail.example.com:2005 anne GUID", "restore -v mail.example.com:2005 anne GUID"):
        said = c.backup.run(d.line(line).replace("GUID", guid))[1]
        if "1 message added" not in said:
            raise Failed(line + ": " + said)
    c.equal("a message", c.subjects("anne"), ["invoice 1", "invoice 2", "invoice 3"])


def folder(c, d):
    c.folder("anne", "Projects")
    c.folder("anne", "Projects.2026")
    c.deliver("anne", "plan", folder="INBOX.Projects.2026")
    c.backed_up("anne", "plan")
    before = moment()
    c.expunge("anne", "INBOX.Sent")
    c.delete("anne", "INBOX.Projects.2026", "INBOX.Projects")
    c.flag("anne", "invoice 1", "\\Answered")
    c.deliver("anne", "last change")
    c.backed_up("anne", "last change")
    shows(c.backup, d, "restore -v mail.example.com:2005 anne user/anne/Sent", "1 message added")
    c.equal("a folder", c.subjects("anne", "INBOX.Sent"), ["offer"])
    shows(c.backup, d, "cyr_backup anne list mailboxes -v", "DELETED")
    shows(c.backup, d, "restore -v mail.example.com:2005 anne user/anne/Projects -r", "1 message added")
    c.equal("a tree", c.subjects("anne", "INBOX.Projects.2026"), ["plan"])
    shows(c.backup, d, "cyr_backup anne log --since yesterday user/anne/Sent", "expunged")
    at(c, d, "restore -v --at %s mail.example.com:2005 anne user/anne/Sent" % WHEN, before, "0 messages added")
    at(c, d, "restore --flags-only --at %s mail.example.com:2005 anne user/anne" % WHEN, before)
    c.equal("flags", c.flags("anne", "invoice 1"), "")


def delete_account(c):
    """Deletes anne on the mail host, and waits until the backup knows that."""
    def log():      # status 75 after damage(): a commit is lost
        return c.backup.run("cyr_backup anne log", None)[1]
    before = log()
    c.delete("cyrus", "user.anne", acl="user.anne")
    c.backup.wait(lambda: "deleted" in log()[len(before):], "the deletion")


def user(c, d):
    c.settled("anne")
    want, before = c.subjects("anne"), moment()
    delete_account(c)
    shows(c.backup, d, "cyr_backup anne log --since yesterday", "deleted")
    at(c, d, "restore -v --at %s mail.example.com:2005 anne -a" % WHEN, before, "messages added")
    c.equal("a user", c.subjects("anne"), want)
    c.settled("anne")
    shows(c.backup, d, "cyr_backup anne list mailboxes", "user.anne")
    shows(c.backup, d, "restore --life 1 --to maildir:/tmp/former-anne anne -a")
    at(c, d, "restore -v --at %s mail.example.com:2005 anne -a" % WHEN, before, "0 messages added")
    shows(c.backup, d, "sudo -u cyrus ctl_backups release anne")


def mail_server(c, d):
    want = c.everything()
    c.empty_mail_host()
    shows(c.backup, d, "restore -U --parallel 4 --resume /root/restore.done mail.example.com:2005 --all-users", "done")
    c.equal("everybody", c.everything(), want)
    before = c.backup.log()
    lines(c.mail, d, "cyrus sync_client -n backup -v -A")
    c.equal("everybody, after the sync", c.everything(), want)
    c.no_resync(before)
    c.empty_mail_host()
    shows(c.backup, d, "restore --newest-first --parallel 4 --resume /root/newest.done mail.example.com:2005 --all-users", "done")
    c.equal("everybody, newest first", c.everything(), want)
    c.roll()


def synced_too_early(c, d):
    want, before = c.everything(), moment()
    c.empty_mail_host()
    c.user("anne", "bob")
    c.mail.run("cyrus sync_client -n backup -v -A")
    at(c, d, "restore --at %s --parallel 4 --resume /root/before.done mail.example.com:2005 --all-users" % WHEN, before, "done")
    c.equal("everybody, before the sync", c.everything(), want)
    c.roll()


def older_server(c, d):
    c.save_mail_host()
    c.deliver("anne", "newer")
    c.mail.run("cyrus sync_client -n backup -v -A")
    want = c.everything()
    c.older_mail_host()
    shows(c.backup, d, "restore --parallel 4 --resume /root/newer.done mail.example.com:2005 --all-users", "done")
    c.equal("newer mail", c.everything(), want)
    c.mail.run("cyrus sync_client -n backup -v -A")
    c.roll()


def backup_host(c, d):
    c.backup.run("systemctl stop cyrus-imapd; rm -rf /var/lib/cyrus && install -d -o cyrus -g mail -m 750 /var/lib/cyrus")
    c.deliver("anne", "meanwhile")
    shows(c.backup, d, "ctl_backups list", "anne", "bob")
    lines(c.backup, d, "echo 'a long secret' | sudo -u cyrus ctl_backups passwd repl", "systemctl restart cyrus-imapd")
    c.backup.listens(2005)
    shows(c.backup, d, "sudo -u cyrus ctl_backups reindex -A")
    lines(c.mail, d, "cyrus sync_client -n backup -v -A")
    c.backed_up("anne", "meanwhile")


def keys(c, d):
    with open(c.backup.root("/etc/backup.keys")) as h:
        good = h.read()
    c.backup.write("/etc/backup.keys", re.sub("secret_access_key = .*", "secret_access_key = revoked", good))
    c.deliver("anne", "with new keys")
    c.backup.wait(lambda: "the store does not accept the keys of the bucket" in c.backup.log(), "rejected keys")
    lines(c.backup, d, "install -o cyrus -g mail -m 600 /dev/null /etc/backup.keys.new")
    c.backup.write("/etc/backup.keys.new", good)
    lines(c.backup, d, "mv /etc/backup.keys.new /etc/backup.keys")
    shows(c.backup, d, "sudo -u cyrus ctl_backups list", "anne")
    c.backup.wait(lambda: "accepts the keys of the bucket again" in c.backup.log(), "accepted keys")
    c.mail.run("cyrus sync_client -n backup -v -A")
    c.backed_up("anne", "with new keys")
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify -A", "verify anne: ok")


def bucket(c, d):
    c.minio.run("cp -a /srv/minio /srv/older")
    c.deliver("anne", "not in the copy")
    c.backed_up("anne", "not in the copy")
    c.swap_bucket("rm -rf /srv/minio && mv /srv/older /srv/minio")
    lines(c.mail, d, "cyrus sync_client -n backup -v -A")
    c.backed_up("anne", "not in the copy")
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify -A", "verify anne: ok")
    c.swap_bucket("mv /srv/minio/mailbackup/site1 /srv/site1")
    c.deliver("anne", "into an empty bucket")
    c.backup.wait(lambda: "repository.json is not there, and the index knows repository" in c.backup.log(), "an emptied bucket")
    c.swap_bucket("mv /srv/site1 /srv/minio/mailbackup/site1")
    c.mail.run("cyrus sync_client -n backup -v -A", None)
    c.backed_up("anne", "into an empty bucket")


def disks(c, d):
    lines(c.backup, d, "df -h /var/lib/cyrus", "rm -rf /var/lib/cyrus/backup-index.damaged /var/lib/cyrus/backup-index.damaged.old", "date -u")
    shows(c.backup, d, "sudo -u cyrus ctl_backups cost -h", "default")
    shows(c.backup, d, "sudo -u cyrus ctl_backups stat -h -A", "anne")
    shows(c.backup, d, "sudo -u cyrus ctl_backups compact -n -A", "collect default")


def masses(c, d):
    c.settled("anne")
    want, before = c.subjects("anne"), moment()
    c.expunge("anne")
    c.deliver("anne", "pay us")
    c.backed_up("anne", "pay us")
    c.backup.run('sudo -u cyrus ctl_backups hold -A --reason "mass deletion"')
    shows(c.backup, d, "sudo -u cyrus ctl_backups list --holds", "mass deletion")
    shows(c.backup, d, "cyr_backup anne log --since yesterday", "expunged")
    at(c, d, "cyr_backup anne diff --from %s" % WHEN, before, "- message user.anne", "+ message user.anne")
    at(c, d, "restore -n -v --at %s mail.example.com:2005 anne -a" % WHEN, before, "messages added")
    at(c, d, "restore -v --at %s mail.example.com:2005 anne -a" % WHEN, before, "messages added")
    c.equal("a mass deletion", c.subjects("anne"), sorted(want + ["pay us"]))
    at(c, d, "restore --at %s --parallel 4 --resume /root/undo.done mail.example.com:2005 --all-users" % WHEN, before, "done")
    c.equal("a second restore", c.subjects("anne"), sorted(want + ["pay us"]))
    c.backup.run('sudo -u cyrus ctl_backups release -A --reason "mass deletion"')


def damage(c, d):
    c.settled("anne")
    found = c.minio.run("ls -d /srv/minio/mailbackup/site1/backups/user/anne/log/*.tar.zst")[1].split()
    c.minio.run("rm -rf " + found[-2])
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify anne", "failed", rc=75)
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify --repair -n anne", "can be repaired", rc=75)
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify --repair anne", "repaired")
    lines(c.mail, d, "cyrus sync_client -n backup -v -u anne")
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify anne", "verify anne: ok")


def tampered(c, d):
    """Somebody removes anne's newest commit. It is restored, and the finding accepted."""
    c.backup.run("install -d -o cyrus -g mail -m 700 /srv/seal; mkdir -p /srv/elsewhere; install -d -o cyrus -g mail -m 700 /srv/elsewhere/lists")
    c.backup.write("/etc/imapd.conf", "backup_seal_key: /srv/seal/seal.key\n", "a")
    c.backup.run("sudo -u cyrus ctl_backups seal --init-key")
    c.settled("anne")
    seal = d.line("sudo -u cyrus ctl_backups seal -A --to /srv/elsewhere/lists")
    c.backup.run(seal)
    c.backup.run(seal)
    newest = c.minio.run("ls -d /srv/minio/mailbackup/site1/backups/user/anne/log/*.tar.zst")[1].split()[-1]
    c.minio.run("mv %s /srv/removed" % newest)
    for line in ("sudo -u cyrus ctl_backups verify --seals -v /srv/elsewhere/lists",
                 "sudo -u cyrus ctl_backups verify --seals -v /srv/elsewhere/lists/default/attestations/0000000000000002.minisig"):
        shows(c.backup, d, line, "user/anne: rolled-back: the log ends with commit ", rc=75)
    c.backup.run(seal, 75)
    c.minio.run("mv /srv/removed %s" % newest)
    c.backup.run(seal, 75)
    shows(c.backup, d, "sudo -u cyrus ctl_backups seal -A --to /srv/elsewhere/lists --accept 3", ": ok")
    c.backup.run("sudo -u cyrus ctl_backups verify --seals /srv/elsewhere/lists")
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify -A", "verify anne: ok")


def behind(c, d):
    shows(c.backup, d, "sudo -u cyrus ctl_backups list -t48 -A")
    shows(c.mail, d, "cyrus sync_client -n backup -v -u anne", "anne")
    shows(c.mail, d, "grep sync_client /var/log/mail.log | tail -20")
    c.mail.wait(lambda: "-r -n backup" in c.mail.run(d.line("pgrep -a sync_client"), None)[1], "the rolling client")
    shows(c.backup, d, "ctl_backups doctor", "0 errors", rc=None)
    shows(c.mail, d, "ls -l /var/lib/cyrus/sync/backup")
    gone_mail_server(c)
    shows(c.backup, d, "sudo -u cyrus ctl_backups forget-server -n old.example.com", "would be forgotten")
    shows(c.backup, d, "sudo -u cyrus ctl_backups forget-server old.example.com", "repl old.example.com [192.0.2.9]: ok")


def gone_mail_server(c):
    """A mail server that this host had backed up long ago."""
    client = "repl old.example.com [192.0.2.9]"
    key, text = c.silent_mail_server(c.backup, client, 300 * 86400)
    c.backup.write("/tmp/contact.json", text)
    c.backup.run("AWS_SHARED_CREDENTIALS_FILE=/etc/backup.keys aws --endpoint-url http://minio.example.com:9000"
                 " s3 cp /tmp/contact.json s3://mailbackup/site1/" + key)
    status = c.backup.run("sudo -u cyrus ctl_backups status", None)[1]
    if "critical  mail server %s: no contact since " % client not in status:
        raise Failed("no silent mail server in\n" + status)


def leaver(c, d):
    c.roll()        # a rolling client that was deferred would take its time
    lines(c.backup, d, "install -d -o cyrus -g mail -m 750 /srv/leaver")
    shows(c.backup, d, "restore --to maildir:/srv/leaver/anne anne -a", "messages")
    lines(c.backup, d, "sudo -u cyrus ctl_backups export anne /srv/leaver/repository")
    lines(c.backup, d, 'sudo -u cyrus ctl_backups hold anne --reason "case 4711" --until 2036-12-31')
    delete_account(c)
    shows(c.backup, d, "sudo -u cyrus ctl_backups erase -n anne", "hold", rc=75)
    shows(c.backup, d, "sudo -u cyrus ctl_backups release anne", "case 4711")


def forgotten(c, d):
    shows(c.backup, d, "sudo -u cyrus ctl_backups list anne", "anne")
    shows(c.backup, d, "sudo -u cyrus ctl_backups erase -n anne", "anne")
    shows(c.backup, d, 'sudo -u cyrus ctl_backups erase anne --reason "request 4711" --yes')
    shows(c.backup, d, "sudo -u cyrus ctl_backups erase --list", "request 4711")


def new_bucket(c, d):
    c.minio.run("rm -rf /srv/minio/mailbackup/site1")
    for verb in ("systemctl stop cyrus-imapd", "mv /var/lib/cyrus/backup-index /var/lib/cyrus/backup-index.old", "systemctl start cyrus-imapd"):
        lines(c.backup, d, verb)
    c.backup.listens(2005)
    c.mail.run("cyrus sync_client -n backup -v -A")
    c.backed_up("bob", "minutes")


ELSEWHERE = {
    "editor /etc/backup.keys.new": "keys() writes the file",
    "timedatectl": "it needs systemd",
    # set-aside is the last resort for a backup that the test has repaired
    "sudo -u cyrus ctl_backups set-aside anne": "test/lab, damage.py",
}

LONG = (synced_too_early, older_server, keys, bucket, masses, damage, new_bucket)
