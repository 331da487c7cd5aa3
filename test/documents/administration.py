"""docs/administration.md, on the second backup host, after docs/migrating.md: what it moves and erases is there twice."""
import gzip
import json
import os
import re
import subprocess
import time

from cast import KEY, SECRET
from document import Document
from hosts import Failed
from readme import lines, shows
from second import CONFIG

OLD_SERVER = "repl mail2.example.com [192.0.2.7]"


def run(c, migrating):
    d = Document("docs/administration.md")
    d.file("EVENTS {")                          # monitoring.py has it in cyrus.conf
    d.file("# login   users and shared mailboxes")   # the lab scenario `scopes` has a file with such lines
    for step in (mail, settings, export_import):
        step(c, d)
    first_sync(c, migrating)
    for step in (cold, doctor, finding, checking, signed_lists, profiles, drills, erase_message, move, status, space, holds, erase):
        step(c, d)
    c.second.run("systemctl stop cyrus-imapd")
    d.check()


def mail(c, _):
    """Mail for the lines that find something."""
    text = "quarterly figures\r\n" * 80000
    c.append("carol", ("From: carol@example.org\r\nTo: bob@example.org\r\nSubject: our offer\r\nMessage-ID: <20261120.4711@example.org>\r\n"
                       "MIME-Version: 1.0\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"offer.pdf\"\r\n\r\n" + text).encode())


def settings(c, d):
    """The keys in a file, and retention."""
    first = [b[0] for b in d.blocks if b[0].startswith("install ") and "/etc/backup.keys" in b[0]][0]
    keys = d.file(first).split("\n", 1)[1].replace("…", KEY, 1).replace("…", SECRET, 1)
    lines(c.second, d, d.command(first))
    c.second.write("/etc/backup.keys", keys)
    c.second.run("rm -r ~cyrus/.aws")
    with open(c.second.root(CONFIG), "a") as h:
        h.write("backup_credentials_file: /etc/backup.keys\nrestore_authname: cyrus\nrestore_password: another secret\n"
                "backup_prices: EUR storage=0.02 put=0.005 get=0.0004\n" + d.file("# every moment of the last 30 days"))
    c.second.run("chown root:mail /etc/imapd.conf; chmod 640 /etc/imapd.conf; systemctl restart cyrus-imapd")
    c.second.listens(9187)


def export_import(c, d):
    """anne's history comes from the first backup host."""
    lines(c.backup, d, "install -d -o cyrus -g mail -m 750 /srv/for-anne")
    shows(c.backup, d, "sudo -u cyrus ctl_backups export anne /srv/for-anne", "export anne: ok")
    c.folder("anne", "Notes")
    c.deliver("anne", "after the export", folder="INBOX.Notes")
    c.backed_up("anne", "after the export")
    shows(c.backup, d, "sudo -u cyrus ctl_backups export anne /srv/for-anne", "export anne: ok")
    subprocess.run(["cp", "-a", c.backup.root("/srv/for-anne"), c.second.root("/srv/for-anne")], check=True)
    shows(c.second, d, "sudo -u cyrus ctl_backups import /srv/for-anne", "anne: ok")
    log = c.second.run("cyr_backup anne log")[1]
    if "backup.example.com" not in log:
        raise Failed("no commit of the first backup host in\n" + log)


def first_sync(c, migrating):
    c.mail.run(migrating.line("cyrus sync_client -n newbackup -v -A"))
    migrating.check()
    for user, subject in (("anne", "after the export"), ("bob", "minutes"), ("carol", "kept")):
        if subject not in c.second.run("cyr_backup %s find '%s'" % (user, subject))[1]:
            raise Failed("%s of %s is not in the backup" % (subject, user))


def cold(c, _):
    c.second.run("install -d -o cyrus -g mail -m 750 /srv/cold; echo 'backuppartition-cold: /srv/cold' >> /etc/imapd.conf; systemctl reload cyrus-imapd")


def doctor(c, d):
    """Two faults, as in the document, and none."""
    with open(c.second.root(CONFIG)) as h:
        good = h.read()
    c.second.write(CONFIG, "backup_comprssion: better\n" + good)
    c.second.run("chown root:root /var/lib/cyrus/backup-index; chmod 700 /var/lib/cyrus/backup-index")
    said = shows(c.second, d, "ctl_backups doctor", rc=2)
    block = [b for b in d.blocks if b[0].startswith("LEVEL ")][0]
    d.output(block[0], said, *[t for t in block[1:-1] if t != "…"])
    if not re.search(r"(?m)^1 error, \d+ warnings?, \d+ ok$", said):
        raise Failed("not one error:\n" + said)
    c.second.write(CONFIG, good)
    c.second.run([t for t in block if "chown" in t][0].removeprefix("→ "))
    said = c.second.run("ctl_backups doctor", None)[1]
    if "0 errors" not in said:
        raise Failed("doctor after the correction:\n" + said)
    shows(c.second, d, "ctl_backups doctor --client", "sync_log: 1", "backup_sync_host: backup2.example.com", "sync_client -r -n backup")


def finding(c, d):
    shows(c.second, d, "cyr_backup anne find invoice", "invoice 1", "invoice 2")
    shows(c.second, d, 'cyr_backup anne find from:bob subject:offer since:"last month"', "offer")
    for line in ("cyr_backup -A find message-id:20261120.4711@example.org", "cyr_backup -A find filename:offer.pdf larger:1MB"):
        said = shows(c.second, d, line, "carol", "our offer")
        if "invoice" in said:
            raise Failed("%s finds more:\n%s" % (line, said))


def checking(c, d):
    said = shows(c.second, d, "sudo -u cyrus ctl_backups list -t48 -A")
    if "anne" in said:
        raise Failed("anne is not up to date:\n" + said)
    shows(c.second, d, "sudo -u cyrus ctl_backups verify -A", "verify anne: ok", "verify bob: ok", "verify carol: ok")
    said = shows(c.second, d, "sudo -u cyrus ctl_backups verify --read 5%")
    if said.count(": ok") != 1:
        raise Failed("not a twentieth, and at least one:\n" + said)


def signed_lists(c, d):
    """Two lists, one of which is accepted, although there is nothing to accept."""
    with open(c.second.root(CONFIG), "a") as h:
        h.write(d.file("backup_seal_key: /srv/seal/seal.key"))
    c.second.run("mkdir -p /srv/elsewhere")
    lines(c.second, d, "install -d -o cyrus -g mail -m 700 /srv/seal /srv/elsewhere/lists")
    shows(c.second, d, "sudo -u cyrus ctl_backups seal --init-key", "The secret key is in /srv/seal/seal.key", "backup_seal_public_keys: RW")
    c.second.run("sudo -u cyrus ctl_backups seal -A --to /srv/elsewhere/lists")
    shows(c.second, d, "sudo -u cyrus ctl_backups seal -A --to /srv/elsewhere/lists", "seal default: list 2 of ", "0 gone, 0 shortened: ok")
    shows(c.second, d, "sudo -u cyrus ctl_backups seal -A --to /srv/elsewhere/lists --accept 2", "seal default: list 3 of ")
    shows(c.second, d, "sudo -u cyrus ctl_backups verify --seals /srv/elsewhere/lists", "verify default: list 3 of ")
    shows(c.second, d, "sudo -u cyrus ctl_backups verify --seals /srv/elsewhere/lists/default/attestations/0000000000000002.minisig",
          "verify default: list 2 of ")


def into_cold(c, key, text):
    path = "/srv/cold/" + key
    c.second.run("sudo -u cyrus mkdir -p " + os.path.dirname(path))
    c.second.write(path, text)
    c.second.run("chown cyrus:mail %s; chmod 600 %s" % (path, path))


def status(c, d):
    """A mail server that is silent for three hours is critical if two are allowed, until it is forgotten."""
    into_cold(c, *c.silent_mail_server(c.second, OLD_SERVER, 3 * 3600))
    critical = "critical  mail server %s: no contact since " % OLD_SERVER
    said = shows(c.second, d, "ctl_backups status", OLD_SERVER, rc=None)
    if critical in said:
        raise Failed("a day is allowed:\n" + said)
    shows(c.second, d, "ctl_backups status --max-age 2h", critical, rc=2)
    report = json.loads(shows(c.second, d, "ctl_backups status --json cold", rc=None))
    c.equal("partitions of status", [p["name"] for p in report["partitions"]], ["cold"])
    shows(c.second, d, "sudo -u cyrus ctl_backups forget-server -n 192.0.2.7", "would be forgotten")
    shows(c.second, d, 'sudo -u cyrus ctl_backups forget-server "%s"' % OLD_SERVER, OLD_SERVER + ": ok")
    said = c.second.run("ctl_backups status --max-age 2h", None)[1]
    if OLD_SERVER in said:
        raise Failed("it is not forgotten:\n" + said)


def profiles(c, d):
    """A processor profile of a second is enough to see that pprof reads it. pprof runs here: a backup host has no Go."""
    for args, name, wanted in (("heap", "heap", b"inuse_space"), ("allocs", "allocs", b"alloc_space"), ("cpu --for 30s", "cpu", b"samples")):
        c.second.run("cd /root && " + d.line("ctl_backups debug profile %s > %s.pprof" % (args, name)).replace("30s", "1s"))
        with gzip.open(c.second.root("/root/%s.pprof" % name)) as h:
            if wanted not in h.read():
                raise Failed("no profile of kind " + name)
    c.second.run("cd /root && " + d.line("ctl_backups debug profile goroutine > goroutines.txt") + " && grep -q '^goroutine ' goroutines.txt")
    subprocess.run(["cp", c.second.root("/root/cpu.pprof"), c.work], check=True)
    r = subprocess.run(d.line("go tool pprof -top cpu.pprof").split(), cwd=c.work, capture_output=True, text=True, check=False)
    if r.returncode or "Type: cpu" not in r.stdout:
        raise Failed("pprof: %s%s" % (r.stdout, r.stderr))


def drills(c, d):
    shows(c.second, d, "sudo -u cyrus ctl_backups drill", "all equal the backup")
    lines(c.second, d, "install -d -o cyrus -g mail -m 700 /srv/drill")
    shows(c.second, d, "sudo -u cyrus ctl_backups drill --users 10 --scratch /srv/drill", "3 backups", "all equal the backup")
    said = shows(c.second, d, "sudo -u cyrus ctl_backups drill --share 1% --scratch /srv/drill", ": ok: ")
    if "failed" in said:
        raise Failed("a drill of at least one backup:\n" + said)
    c.equal("scratch", os.listdir(c.second.root("/srv/drill")), [])
    shows(c.second, d, "sudo -u cyrus ctl_backups drill anne bob", "drill anne: ok", "drill bob: ok")
    shows(c.second, d, "sudo -u cyrus ctl_backups drill --to imap-test.example.com", "all equal the backup")
    if "backup-drill" in str(c.imap().list('""', '"user.%"')):
        raise Failed("the drill has left its user")


def space(c, d):
    """What backups take, and what a night would do with one on hold."""
    shows(c.second, d, 'sudo -u cyrus ctl_backups hold anne --reason "case 4711" --until 2036-12-31', "hold anne: ok")
    said = shows(c.second, d, "ctl_backups compact -n -A", ", 1 on hold (ctl_backups list --holds)")
    d.output("$ ctl_backups compact -n -A", said, "collect default: ok, 6 packs (7.2 MiB) used")
    d.skip("collect default: ok, 5210 packs (43 GiB) used, 3 packs (25 MiB) removed, 8 packs (64 MiB) mostly dead or small,"
           " 12 packs (100 MiB) to be removed later", "cmd/internal/ctlbackups prints it: here no pack is a week old")
    shows(c.second, d, "sudo -u cyrus ctl_backups compact -A", "collect default: ok")
    said = shows(c.second, d, "ctl_backups stat -h -A", "anne", "bob")
    shows(c.second, d, "sudo -u cyrus ctl_backups stat -h -A", "anne", "bob")
    for block in d.blocks:
        if block[0] == "$ ctl_backups stat -h -A":
            d.output(block[0], said, block[1])
        if block[0].startswith("packs "):
            d.output(block[0], said)
    shows(c.second, d, "ctl_backups stat -h --shared bob", "bodies  shared", "bob")
    shows(c.second, d, "ctl_backups cost -h", "default", "cold", "EUR")
    shows(c.second, d, "ctl_backups cost -h --backups", "cold:user/anne", "cold:user/bob")


def move(c, d):
    shows(c.second, d, "sudo -u cyrus ctl_backups move anne cold", "move anne: ok")
    line = "python3 /root/backupd/docs/bucket-restore.py /srv/cold list"
    said = c.second.run(line)[1]
    if "user/anne" not in said or "user/bob" in said:
        raise Failed("not anne alone:\n" + said)
    shows(c.second, d, "sudo -u cyrus ctl_backups move -A cold", "move bob: ok")
    c.deliver("bob", "after the move")
    c.mail.run("cyrus sync_client -n newbackup -v -u bob")
    c.second.run("python3 /root/backupd/docs/bucket-restore.py /srv/cold restore user/bob /tmp/bob && grep -rq 'Text of after the move' /tmp/bob")


def holds(c, d):
    """anne's hold stays when the one of the tripwire ends (docs/format.md 2.4)."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    into_cold(c, "backups/user/bob/holds.json", json.dumps({"version": 1, "holds": [
        {"kind": "tripwire", "by": "backupd on backup2.example.com", "reason": "900 of 1000 messages", "since": since}]}))
    shows(c.second, d, "sudo -u cyrus ctl_backups list --holds", "anne", "case 4711", "2036-12-31")
    said = c.second.run("sudo -u cyrus ctl_backups list --holds --from-bucket")[1]
    if "case 4711" not in said or "900 of 1000 messages" not in said:
        raise Failed("not both holds:\n" + said)
    said = shows(c.second, d, "sudo -u cyrus ctl_backups release -A --tripwire", "it had no such hold")
    if said.count("ended:") != 1 or "900 of 1000 messages" not in said:
        raise Failed("not the hold of the tripwire alone:\n" + said)
    shows(c.second, d, "sudo -u cyrus ctl_backups release anne", "ended:", "case 4711")
    c.equal("holds", c.second.run("sudo -u cyrus ctl_backups list --holds")[1], "")


def erase_message(c, d):
    """Both commands are refused: first anne still has the message, then its commit is too young. Scenario erasemessage of the lab erases a message."""
    c.deliver("anne", "salaries")
    c.mail.run("cyrus sync_client -n newbackup -v -u anne")
    guid = re.search(r"[0-9a-f]{40}", shows(c.second, d, "cyr_backup anne find subject:salaries", "salaries"))[0]
    dry, line = (d.line("sudo -u cyrus ctl_backups erase " + t).replace("8f3a61b0c2d94e57a1b6c8d0e2f4a6b8c0d2e4f6", guid) for t in (
        "-n anne --message 8f3a61b0c2d94e57a1b6c8d0e2f4a6b8c0d2e4f6",
        'anne --message 8f3a61b0c2d94e57a1b6c8d0e2f4a6b8c0d2e4f6 --reason "request 4711"'))
    for command in (dry, line):
        expect(c, command, 75, "the user still has it, in user.anne")
    c.expunge("anne", subject="salaries")
    c.mail.run("cyrus sync_client -n newbackup -v -u anne")
    expect(c, dry, 0, "is removed from every moment")
    expect(c, line, 75, "is too young to be changed")
    c.equal("erasures", c.second.run("sudo -u cyrus ctl_backups erase --list")[1], "")


def expect(c, command, rc, wanted):
    said = c.second.run(command, rc, answer="anne")[1]
    if wanted not in said:
        raise Failed("%s:\n%s" % (command, said))


def erase(c, d):
    """At a terminal it asks for the name."""
    shows(c.second, d, "sudo -u cyrus ctl_backups list anne", "anne")
    shows(c.second, d, "sudo -u cyrus ctl_backups erase -n anne", "cold", "default")
    line = d.line('sudo -u cyrus ctl_backups erase anne --reason "request 4711"')
    said = c.second.run(line, 75, answer="bob")[1]
    if "not confirmed: nothing was erased" not in said:
        raise Failed("with another name:\n" + said)
    c.second.run(line, answer="anne")
    shows(c.second, d, "sudo -u cyrus ctl_backups compact -A")
    shows(c.second, d, "sudo -u cyrus ctl_backups erase --list", "anne", "request 4711")
    said = c.second.run("cyr_backup anne list mailboxes", None)
    if said[0] == 0 or "user.anne" in said[1]:
        raise Failed("anne is still there: %s" % (said,))
