"""The hosts of the documents: backup.example.com, mail.example.com and minio.example.com."""
import imaplib
import os
import re
import subprocess

from hosts import NET, PROJECT, Failed, Host, bridge

NAMES = {2: "backup.example.com", 3: "mail.example.com", 4: "minio.example.com"}
PROGRAMS = ("backupd", "ctl_backups", "cyr_backup", "restore", "backup_replay")
KEY, SECRET = "administrator", "a secret of MinIO"


def message(subject, sender="bob@example.org"):
    return ("From: %s\r\nTo: anne@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\nText of %s\r\n"
            % (sender, subject, subject.replace(" ", "."), subject)).encode()


class Cast:
    def __init__(self, work, bin_, minio):
        bridge()
        subprocess.run(["ip", "addr", "add", NET + "1/24", "dev", "br0"], check=True)
        self.work, self.n = work, 0
        tools = [[os.path.join(PROJECT, "test/documents/bin", n), "/usr/local/bin/" + n] for n in ("sudo", "systemctl", "go")]
        source = [[os.path.join(PROJECT, n), "/root/backupd/" + n] for n in ("Makefile", "docs", "build")]
        source += [[os.path.join(bin_, n), "/root/backupd/bin/" + n] for n in PROGRAMS]
        self.binds = tools + source
        self.backup = Host(work, NAMES[2], 2, NAMES, self.binds)
        self.mail = Host(work, NAMES[3], 3, NAMES, tools)
        self.minio = Host(work, NAMES[4], 4, NAMES, [[minio, "/usr/local/bin/minio"]])
        self.debian_mail_host()

    def debian_mail_host(self):
        """A mail host as Debian installs it: its imapd.conf, and the installed services of its cyrus.conf."""
        self.mail.run("rm -rf /var/lib/cyrus/* /var/spool/cyrus/mail/* /etc/sasldb2 && sudo -u cyrus cyrus makedirs")
        with open(self.mail.root("/etc/cyrus.conf")) as h:
            text = h.read()
        self.mail.write("/etc/cyrus.conf", re.sub(r"(?m)^\s*(pop3|nntp|http|sieve|notify)\s.*\n", "", text))

    def start_minio(self):
        self.minio.run("MINIO_ROOT_USER='%s' MINIO_ROOT_PASSWORD='%s' setsid minio server --quiet /srv/minio </dev/null >/var/log/minio 2>&1 &" % (KEY, SECRET))
        self.minio.listens(9000)

    def imap(self, user="cyrus"):
        c = imaplib.IMAP4(NET + "3")
        if user == "cyrus":
            c.login("cyrus", "another secret")
        else:
            c.authenticate("PLAIN", lambda _: ("%s\0cyrus\0another secret" % user).encode())
        return c

    def user(self, *names):
        c = self.imap()
        for n in names:
            c.create("user." + n)
        c.logout()

    def folder(self, user, name):
        c = self.imap(user)
        c.create("INBOX." + name)
        c.logout()

    def deliver(self, user, *subjects, folder="INBOX"):
        c = self.imap(user)
        for s in subjects:
            ok, said = c.append(folder, None, None, message(s))
            assert ok == "OK", said
        c.logout()

    def subjects(self, user, folder="INBOX"):
        c = self.imap(user)
        ok, said = c.select(folder, readonly=True)
        if ok != "OK":
            return None
        found = []
        if int(said[0]):
            for part in c.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
                if isinstance(part, tuple):
                    found.append(part[1].decode().split(":", 1)[1].strip())
        c.logout()
        return sorted(found)

    def expunge(self, user, folder="INBOX"):
        c = self.imap(user)
        c.select(folder)
        c.store("1:*", "+FLAGS", "\\Deleted")
        c.expunge()
        c.logout()

    @staticmethod
    def service(host, entry):
        with open(host.root("/etc/cyrus.conf")) as h:
            text = h.read()
        host.write("/etc/cyrus.conf", text.replace("SERVICES {\n", "SERVICES {\n" + entry, 1))

    def restart_mail(self):
        self.mail.run("systemctl restart cyrus-imapd")
        self.mail.listens(143)

    def backed_up(self, user, subject):
        """Waits until a message is in the backup."""
        self.backup.wait(lambda: subject in self.backup.run("sudo -u cyrus cyr_backup %s find '%s'" % (user, subject), None)[1],
                         "%s of %s in the backup" % (subject, user))

    @staticmethod
    def equal(what, found, want):
        if found != want:
            raise Failed("%s: %s, not %s" % (what, found, want))
