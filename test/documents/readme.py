"""README.md, typed line by line."""
from cast import KEY, SECRET
from document import Document
from hosts import Failed


def run(c):
    """Returns the document, and the backup host's configuration with the bucket."""
    d = Document("README.md")
    for line, why in ELSEWHERE.items():
        d.skip(line, why)
    backup_host(c, d)
    mail_host(c, d)
    first_backup(c, d)
    first_restore(c, d)
    bucket(c, d)
    d.check()


def lines(host, d, *all_):
    for line in all_:
        host.run(d.line(line))


def shows(host, d, line, *wanted, rc=0):
    """Runs a line of the document that prints something."""
    said = host.run(d.line(line), rc)[1]
    for w in wanted:
        if w not in said:
            raise Failed("%s: no %r in\n%s" % (line, w, said))
    return said


def backup_host(c, d):
    c.backup.run("cd /root/backupd && " + d.line("make && make install"))
    c.backup.write("/etc/cyrus.conf", d.file("# /etc/cyrus.conf of the backup host"))
    # a rolling client is connected at each restart of this test
    c.backup.write("/etc/imapd.conf", d.file("# /etc/imapd.conf of the backup host") + "backup_drain_timeout: 1s\n")
    lines(c.backup, d, "install -d -o cyrus -g mail -m 750 /var/spool/backup /etc/cyrus",
          "openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj /CN=backup.example.com -addext subjectAltName=DNS:backup.example.com"
          " -keyout /etc/cyrus/backup.key -out /etc/cyrus/backup.crt",
          "chown cyrus:mail /etc/cyrus/backup.key",
          "echo 'a long secret' | sudo -u cyrus ctl_backups passwd repl")
    shows(c.backup, d, "ctl_backups doctor", "0 errors, 0 warnings")
    lines(c.backup, d, "systemctl restart cyrus-imapd")
    c.backup.listens(2005)


def mail_host(c, d):
    """A Cyrus with users. It has an administrator before the first restore needs one."""
    c.mail.write("/etc/imapd.conf", d.file("# add to /etc/imapd.conf of the mail host", "admins: cyrus"), "a")
    lines(c.mail, d, "echo 'another secret' | saslpasswd2 -p -c cyrus", "chown cyrus:mail /etc/sasldb2", "systemctl restart cyrus-imapd")
    c.mail.listens(143)
    c.user("anne", "bob", "carol")
    c.folder("anne", "Sent")
    c.deliver("anne", "invoice 1", "invoice 2")
    c.deliver("anne", "offer", folder="INBOX.Sent")
    c.deliver("bob", "minutes")


def first_backup(c, d):
    c.mail.write("/etc/imapd.conf", d.file("# add to /etc/imapd.conf of the mail host", "sync_log: 1"), "a")
    c.restart_mail()
    lines(c.mail, d, "cyrus sync_client -n backup -v -u anne", "cyrus sync_client -n backup -v -A")
    c.deliver("bob", "before the rolling client")
    if "repl SCRAM-SHA-256+TLS User logged in" not in c.backup.log():
        raise Failed("no login under TLS")
    c.mail.write("/etc/cyrus.conf", d.file("# add to /etc/cyrus.conf of the mail host"), "a")
    c.restart_mail()
    c.deliver("anne", "invoice 3")
    c.backed_up("anne", "invoice 3")
    c.backed_up("bob", "before the rolling client")
    shows(c.backup, d, "sudo -u cyrus ctl_backups list", "anne", "bob")
    shows(c.backup, d, "sudo -u cyrus cyr_backup anne list mailboxes", "user.anne.Sent")
    shows(c.backup, d, "sudo -u cyrus cyr_backup anne show mailboxes user/anne", "user.anne")
    shows(c.backup, d, "sudo -u cyrus cyr_backup anne find invoice", "invoice 1", "invoice 2", "invoice 3")
    shows(c.backup, d, "sudo -u cyrus ctl_backups verify -A", "verify anne: ok", "verify bob: ok")


def first_restore(c, d):
    lines(c.backup, d, "restore --to maildir:/tmp/anne anne -a")
    found = c.backup.run("cat /tmp/anne/cur/* /tmp/anne/.Sent/cur/* | grep ^Subject: | sort")[1].split("\n")
    c.equal("files", [s.strip()[9:] for s in found if s], ["invoice 1", "invoice 2", "invoice 3", "offer"])
    shows(c.backup, d, 'restore --at "yesterday 17:00" --to maildir:/tmp/anne-then anne -a', "nothing of the backup is as old", rc=75)

    c.service(c.mail, d.file("# add to section SERVICES in /etc/cyrus.conf of the mail host"))
    c.restart_mail()
    c.mail.listens(2005)
    c.backup.write("/etc/imapd.conf", d.file("# add to /etc/imapd.conf of the backup host"), "a")
    lines(c.backup, d, "chown root:mail /etc/imapd.conf", "chmod 640 /etc/imapd.conf")
    c.expunge("anne", "INBOX.Sent")
    shows(c.backup, d, "restore -n -v mail.example.com:2005 anne user/anne/Sent", "1 message added")
    c.equal("the dry run", c.subjects("anne", "INBOX.Sent"), [])
    shows(c.backup, d, "restore -v mail.example.com:2005 anne user/anne/Sent", "1 message added")
    c.equal("the restore", c.subjects("anne", "INBOX.Sent"), ["offer"])


def bucket(c, d):
    """The service moves to a bucket, and every user is backed up there again."""
    c.start_minio()
    keys = d.file("# /etc/backup.keys").replace("the id", KEY).replace("the secret", SECRET)
    lines(c.backup, d, "install -o cyrus -g mail -m 600 /dev/null /etc/backup.keys")
    c.backup.write("/etc/backup.keys", keys)
    c.backup.run(d.line("export AWS_SHARED_CREDENTIALS_FILE=/etc/backup.keys") + " && "
                 + d.line("aws --endpoint-url http://minio.example.com:9000 s3 mb s3://mailbackup"))
    location = "backuppartition-default: "
    new = [t for b in d.blocks for t in b if t.startswith(location + "minio")][0]
    old = [t for b in d.blocks for t in b if t.startswith(location + "/")][0]
    with open(c.backup.root("/etc/imapd.conf")) as h:
        text = h.read()
    c.backup.write("/etc/imapd.conf", text.replace(old, new) + "backup_credentials_file: /etc/backup.keys\n")
    c.backup.run("systemctl stop cyrus-imapd; rm -rf /var/lib/cyrus/backup-index; systemctl start cyrus-imapd")
    c.backup.listens(2005)
    c.mail.run("cyrus sync_client -n backup -v -A")
    c.backed_up("anne", "invoice 3")


ELSEWHERE = {
    "make demo": "a step of .ci/run",
    "make compose-demo": "make test-compose runs it",
    "make test": "it runs this test",
}
