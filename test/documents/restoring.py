"""docs/restore.md, after docs/tasks.md."""
import json

from cast import message
from document import Document
from hosts import Failed
from readme import lines, shows


def run(c):
    d = Document("docs/restore.md")
    for line, why in ELSEWHERE.items():
        d.skip(line, why)
    for step in (moments, former_owner, others, cyrus, files, new_server, everybody):
        step(c, d)
    d.check()


def moments(c, d):
    for line in ('restore --at "yesterday 5pm" imap1.example.com carol -a', 'restore --at "2026-11-20 14:05 Europe/Berlin" imap1.example.com carol -a'):
        shows(c.backup, d, line, "nothing of the backup is as old", rc=75)
    c.deliver("carol", "expunged today")
    c.backed_up("carol", "expunged today")
    c.expunge("carol", subject="expunged today")
    c.backup.wait(lambda: "deleted 2" in c.backup.run("cyr_backup carol find 'expunged today'")[1], "the expunge")
    lines(c.backup, d, "restore -x --since 2h imap1.example.com carol user/carol")
    if "expunged today" not in c.subjects("carol"):
        raise Failed("carol has %s" % c.subjects("carol"))


def former_owner(c, d):
    """rita, and another rita."""
    for subject in ("first rita", "second rita"):
        c.user("rita")
        c.deliver("rita", subject)
        c.backed_up("rita", subject)
        if subject == "first rita":
            c.delete("cyrus", "user.rita", acl="user.rita")
    shows(c.backup, d, "cyr_backup rita list mailboxes", "user.rita")
    shows(c.backup, d, "restore --life 1 --to maildir:/tmp/first-rita rita -a")
    said = c.backup.run("cat /tmp/first-rita/cur/* /tmp/first-rita/new/* 2>/dev/null | grep ^Subject:", None)[1]
    c.equal("the first rita", said.split("\n"), ["Subject: first rita\r", ""])
    shows(c.backup, d, "restore --life 1 mail.example.com:2005 rita:rita.old -a")
    i = c.imap()
    i.setacl("user.rita^old", "cyrus", "lrswipkxtecda")
    i.select("user.rita^old", readonly=True)
    c.equal("rita.old", [len(i.search(None, "SUBJECT", '"%s rita"' % n)[1][0].split()) for n in ("first", "second")], [1, 0])
    i.logout()
    for name in ("user.rita", "user.rita^old"):
        c.delete("cyrus", name, acl=name)


def others(c, d):
    c.folder("bob", "Projects")
    c.deliver("bob", "plan", folder="INBOX.Projects")
    c.backed_up("bob", "plan")
    lines(c.backup, d, "restore imap1.example.com bob:dave -a")
    c.equal("dave", c.subjects("dave"), c.subjects("bob"))
    c.delete("dave", "INBOX.Projects")
    lines(c.backup, d, "restore imap1.example.com bob:dave user/bob/Projects -r")
    c.equal("a folder of dave", c.subjects("dave", "INBOX.Projects"), ["plan"])
    lines(c.backup, d, "restore --map user/bob/Projects=user/bob/Projects-2026 imap1.example.com bob -a")
    c.equal("another name", c.subjects("bob", "INBOX.Projects-2026"), ["plan"])
    lines(c.backup, d, "restore -M user/dave/from-bob imap1.example.com bob user/bob")
    c.equal("one mailbox", c.subjects("dave", "INBOX.from-bob"), c.subjects("bob"))
    shows(c.backup, d, "restore -v -M user/dave/From-bob mail.example.com bob user/bob")
    c.equal("one mailbox", c.subjects("dave", "INBOX.From-bob"), c.subjects("bob"))
    c.delete("cyrus", "user.dave", acl="user.dave")
    c.delete("bob", "INBOX.Projects", "INBOX.Projects-2026")
    c.settled("bob")


def cyrus(c, d):
    c.mail.run("pkill -STOP -x sync_client")    # the backup does not know of the loss
    c.expunge("anne", "INBOX.Sent")
    shows(c.backup, d, "restore -n -v mail.example.com anne -a", "1 message added")
    c.equal("the dry run", c.subjects("anne", "INBOX.Sent"), [])
    shows(c.backup, d, "restore -v mail.example.com anne -a", "1 message added")
    c.equal("with new uids", c.subjects("anne", "INBOX.Sent"), ["offer"])
    c.mail.run("pkill -CONT -x sync_client")


def files(c, d):
    shows(c.backup, d, "restore -n -v --to maildir:/tmp/anne anne -a")
    shows(c.backup, d, "restore -v --to maildir:/tmp/anne anne -a")
    example = [b[0] for b in d.blocks if b[0].startswith('{"path"')][0]
    with open(c.backup.root("/tmp/anne/folders.ndjson")) as h:
        c.equal("folders.ndjson", list(json.loads(h.readline())), list(json.loads(d.file(example))))


def new_server(c, d):
    """With uids, and then as the original server has it; then over IMAP."""
    c.new_mail_server()
    shows(c.backup, d, "restore -v -U new.example.com anne -a", "messages added")
    c.equal("a new server", c.subjects("anne", host=4), c.subjects("anne"))
    original_server(c, d)
    c.delete("cyrus", "user.anne", acl="user.anne", host=4)
    c.imap(host=4).create("user.anne")
    c.backup.write("/tmp/pw", "a secret of anne\n")
    for line, want in (("restore -n -v --to imap://anne@imap.example.net/ --password-file pw anne -a", []),
                       ("restore -v --to imap://anne@imap.example.net/ --password-file pw anne -a", c.subjects("anne"))):
        c.backup.run("cd /tmp && " + d.line(line))
        c.equal("over IMAP", c.subjects("anne", host=4), want)
    c.minio.run("systemctl stop cyrus-imapd")


def original_server(c, d):
    """-O works while the new server has no other mail; without it, both get all."""
    with open(c.mail.root("/etc/imapd.conf")) as h:
        good = h.read()
    c.mail.write("/etc/imapd.conf", good + "sync_host: new.example.com\nsync_port: 2005\nsync_try_imap: 0\n"
                 "sync_authname: cyrus\nsync_password: another secret\n")
    force = "cyrus " + d.line("sync_client -O -u anne")
    c.mail.run(force)
    c.append("anne", message("only here"), host=4)
    c.mail.run(force, 1)
    if "Checksum Failure" not in c.mail.log():
        raise Failed("sync_client -O: " + c.mail.log()[-2000:])
    c.mail.run(force.replace(" -O", ""))
    c.equal("both have all", c.subjects("anne", host=4), c.subjects("anne"))
    c.backed_up("anne", "only here")
    c.expunge("anne", subject="only here")
    c.backup.wait(lambda: "deleted 2" in c.backup.run("cyr_backup anne find 'only here'")[1], "the expunge")
    c.mail.write("/etc/imapd.conf", good)


def everybody(c, d):
    want = c.everything()
    said = shows(c.backup, d, "restore --newest-first --parallel 4 --resume /root/restore.done imap1.example.com --all-users", "done")
    c.equal("everybody", c.everything(), want)
    header = [b[0] for b in d.blocks if b[0].startswith("backup  ")][0]
    d.output(header, said)
    c.backup.run("rm /root/restore.done")


ELSEWHERE = {
    # for a user with Sieve scripts
    "setaclmailbox user/anne/#sieve cyrus c": "test/lab, restoreodd.py",
    "deletemailbox user/anne/#sieve": "test/lab, restoreodd.py",
    '{"file":"1600000000.0a4d55a8d778e5022fab701977c5d840bbc486d0_1.restore,S=1234","keywords":["Project-27","Project-31"]}':
        "internal/restore/files, kinds_test.go",
}
