"""The hosts of the documents: backup.example.com, mail.example.com, minio.example.com and backup2.example.com."""
import hashlib
import imaplib
import json
import os
import re
import subprocess
import time

from hosts import NET, PROJECT, Failed, Host, bridge

NAMES = {2: "backup.example.com", 3: "mail.example.com", 4: "minio.example.com", 5: "backup2.example.com"}
# what the hosts call each other; the mail host is also the test server of drills
HOSTS = {**NAMES, 3: NAMES[3] + " imap-test.example.com imap1.example.com", 4: NAMES[4] + " new.example.com imap.example.net"}
PROGRAMS = ("backupd", "ctl_backups", "cyr_backup", "restore", "backup_replay")
KEY, SECRET = "administrator", "a secret of MinIO"

# like "cyrus makedirs", which takes seconds for directories that Cyrus makes when it needs them
EMPTY = ("rm -rf /var/lib/cyrus/* /var/spool/cyrus/mail/* /var/spool/sieve/*;"
         " cd /var/lib/cyrus && install -d -o cyrus -g mail db lock log msg proc ptclient quota socket sync user")


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
        self.backup = Host(work, NAMES[2], 2, HOSTS, self.binds)
        self.mail = Host(work, NAMES[3], 3, HOSTS, tools)
        self.minio = Host(work, NAMES[4], 4, HOSTS, [[minio, "/usr/local/bin/minio"], *tools])
        self.second = None
        self.debian_mail_host()

    def start_second(self):
        """Another backup host, with the programs and without a configuration."""
        self.second = Host(self.work, NAMES[5], 5, HOSTS, self.binds)
        self.second.run("install /root/backupd/bin/* /usr/local/sbin")

    def debian_mail_host(self):
        """A mail host as Debian installs it: its imapd.conf, and the installed services of its cyrus.conf."""
        self.mail.run(EMPTY + "; rm -f /etc/sasldb2")
        with open(self.mail.root("/etc/cyrus.conf")) as h:
            text = h.read()
        self.mail.write("/etc/cyrus.conf", re.sub(r"(?m)^\s*(pop3|nntp|http|sieve|notify)\s.*\n", "", text))

    def start_minio(self):
        self.minio.run("MINIO_ROOT_USER='%s' MINIO_ROOT_PASSWORD='%s' setsid minio server --quiet /srv/minio </dev/null >/var/log/minio 2>&1 &" % (KEY, SECRET))
        self.minio.listens(9000)

    def new_mail_server(self):
        """A Cyrus without mail on the host of MinIO, new.example.com, which is imap.example.net to its users."""
        m = self.minio
        m.run(EMPTY + "; install -d -o cyrus /etc/cyrus; cd /etc/cyrus; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
              " -subj /CN=imap.example.net -addext subjectAltName=DNS:imap.example.net -keyout key -out crt 2>/dev/null; chown cyrus key;"
              " echo 'another secret' | saslpasswd2 -p -c cyrus; echo 'a secret of anne' | saslpasswd2 -p -c anne; chown cyrus:mail /etc/sasldb2")
        with open(m.root("/etc/imapd.conf"), "a") as h:
            h.write("admins: cyrus\ntls_server_cert: /etc/cyrus/crt\ntls_server_key: /etc/cyrus/key\n")
        m.write("/etc/cyrus.conf", 'SERVICES {\n  imap  cmd="imapd"  listen="143"\n  syncserver  cmd="sync_server"  listen="2005"\n}\n')
        m.run("systemctl start cyrus-imapd")
        m.listens(143)
        m.listens(2005)
        with open(m.root("/etc/cyrus/crt")) as crt, open(self.backup.root("/etc/ssl/certs/ca-certificates.crt"), "a") as h:
            h.write(crt.read())

    def imap(self, user="cyrus", host=3):
        c = imaplib.IMAP4(NET + str(host))
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
        self.append(user, *map(message, subjects), folder=folder)

    def append(self, user, *messages, folder="INBOX", host=3):
        c = self.imap(user, host)
        for m in messages:
            ok, said = c.append(folder, None, None, m)
            assert ok == "OK", said
        c.logout()

    def subjects(self, user, folder="INBOX", host=3):
        c = self.imap(user, host)
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

    def numbers(self, c, subject):
        return ",".join(n.decode() for n in c.search(None, "SUBJECT", '"%s"' % subject)[1][0].split()) if subject else "1:*"

    def expunge(self, user, folder="INBOX", subject=None):
        self.flag(user, subject, "\\Deleted", folder, then="expunge")

    def flag(self, user, subject, flag, folder="INBOX", then=None):
        c = self.imap(user)
        c.select(folder)
        c.store(self.numbers(c, subject), "+FLAGS", flag)
        if then:
            c.expunge()
        c.logout()

    def flags(self, user, subject):
        c = self.imap(user)
        c.select("INBOX", readonly=True)
        said = c.fetch(self.numbers(c, subject), "(FLAGS)")[1][0].decode()
        c.logout()
        return " ".join(f for f in re.search(r"FLAGS \(([^)]*)\)", said).group(1).split() if f != "\\Recent")

    def delete(self, user, *names, acl=None, host=3):
        c = self.imap(user, host)
        if acl:
            c.setacl(acl, "cyrus", "lrswipkxtecda")
        for n in names:
            ok, said = c.delete(n)
            if ok != "OK":
                raise Failed("delete %s: %s" % (n, said))
        c.logout()

    def everything(self):
        """The subjects of every folder of every user."""
        found = {}
        for u in ("anne", "bob", "carol"):
            c = self.imap(u)
            names = [x.decode().split('"')[-2] if x.decode().endswith('"') else x.decode().split()[-1] for x in c.list()[1] if x]
            c.logout()
            found.update({(u, n): self.subjects(u, n) for n in names if n.startswith("INBOX")})
        return found

    def settled(self, user):
        """Waits until the backup has everything, with a last message."""
        self.n += 1
        self.deliver(user, "number %d" % self.n)
        self.backed_up(user, "number %d" % self.n)

    # ---- the mail host is lost, or older

    def rolling(self, on):
        with open(self.mail.root("/etc/cyrus.conf")) as h:
            text = h.read()
        self.mail.write("/etc/cyrus.conf", re.sub(r"(?m)^#?( *backupsync )", r"\1" if on else r"#\1", text))

    def empty_mail_host(self):
        self.rolling(False)
        self.mail.run("systemctl stop cyrus-imapd; %s; systemctl start cyrus-imapd" % EMPTY)
        self.mail.listens(143)
        self.mail.listens(2005)

    def save_mail_host(self):
        self.mail.run("systemctl stop cyrus-imapd; tar -C / -cf /root/older.tar var/lib/cyrus var/spool/cyrus/mail; systemctl start cyrus-imapd")
        self.mail.listens(143)

    def older_mail_host(self):
        self.mail.run("systemctl stop cyrus-imapd; rm -rf /var/lib/cyrus/* /var/spool/cyrus/mail/*; tar -C / -xf /root/older.tar; systemctl start cyrus-imapd")
        self.mail.listens(143)
        self.mail.listens(2005)

    def roll(self):
        """A sync of everybody, then the rolling client."""
        self.mail.run("cyrus sync_client -n backup -v -A")
        self.rolling(True)
        self.restart_mail()

    @staticmethod
    def silent_mail_server(host, client, seconds):
        """The record of a mail server that a backup host heard from long ago (docs/format.md 9): the key, and the object."""
        key = hashlib.sha256(("%s\0%s" % (client, host.name)).encode()).hexdigest()[:32]
        last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
        return "contacts/%s.json" % key, json.dumps({"version": 1, "client": client, "host": host.name, "last": last})

    def no_resync(self, before):
        new = self.backup.log()[len(before):]
        if "resync" in new:
            raise Failed("a resync:\n" + new)

    def swap_bucket(self, how):
        self.minio.run("pkill -x minio; while pgrep -x minio >/dev/null; do sleep 0.05; done; " + how)
        self.start_minio()

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
