"""ctl_backups erase in a bucket that keeps versions."""
import hashlib
import os
import time

from cyruslab import target

from .base import scenario


DAY = 86400


def incompressible(subject, size):
    """A message whose body zstd stores as it is, and a part of it."""
    body = os.urandom(size).translate(None, b"\0\r\n")
    return b"From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\n%s\r\n" % (
        subject, subject, body), body[size // 2:size // 2 + 40]


def tool(x, step, *args):
    r = target.tool(x.lab, "ctl_backups", *args)
    x.expect(step, r.returncode == 0, "%s: rc %d: %s" % (" ".join(args), r.returncode, (r.stdout + r.stderr).decode("utf-8", "replace")[-1500:]))
    return r.stdout.decode("utf-8", "replace")


@scenario("erasebefore", stores=("minio",), lapse=True, conf={"backup_inline_limit": "16k", "backup_tripwire": "no"})
def erase_before(x):
    "erase --before, in a bucket that keeps versions: no object and no version has the deleted mail, everything else stays"
    x.minio.keep_versions()
    x.user("erika", "fred")
    packed, in_pack = incompressible(b"packed", 30000)
    inline, in_log = incompressible(b"inline", 6000)
    shared, of_both = incompressible(b"shared", 30000)
    kept, of_erika = incompressible(b"kept", 30000)
    c = x.imap("erika")
    c.append("INBOX", [(m, [], None) for m in (packed, shared, kept)])
    x.imap("fred").append("INBOX", [(shared, [], None)])
    x.sync("1-first", "-u", "erika", "fred")
    c.append("INBOX", [(inline, [], None)])
    x.sync("2-inline", "-u", "erika")
    for name, needle in (("packed", in_pack), ("inline", in_log), ("shared", of_both), ("kept", of_erika)):
        x.expect("2-inline", x.minio.has(needle), "%s is nowhere: this tests nothing" % name)
    x.pass_days(1)
    c.cmd("SELECT INBOX")
    c.cmd("STORE 1,2,4 +FLAGS (\\Deleted)")
    c.cmd("EXPUNGE")
    c.cmd("UNSELECT")
    x.sync("3-expunged", "-u", "erika")
    x.pass_days(4)
    tool(x, "4-compact", "compact", "-A")       # former versions, and packs of what was inline
    later, of_later = incompressible(b"later", 6000)
    c.append("INBOX", [(later, [], None)])
    x.sync("4-later", "-u", "erika")
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((x.now() - 2 * DAY - 60) // DAY * DAY))
    tool(x, "5-erase", "erase", "erika", "--before", before, "--yes", "--reason", "test")
    x.expect("5-erase", x.minio.has(in_pack), "a body is gone before its grace")
    for _ in range(2):
        x.pass_days(.7)
        tool(x, "6-compact", "compact", "-A")
    said = tool(x, "7-list", "erase", "--list")
    x.expect("7-list", "\tdone\t" in said, said)
    for name, needle in (("packed", in_pack), ("inline", in_log)):
        x.no_differences("7-gone", name + " is in", x.minio.has(needle))
    for name, needle in (("shared", of_both), ("kept", of_erika), ("later", of_later)):
        x.expect("7-there", x.minio.has(needle), name + " is gone")
    tool(x, "8-verify", "verify", "-A")
    x.settle("8-settle", "-u", "erika", "fred")


@scenario("erasemessage", stores=("minio",), lapse=True, conf={"backup_inline_limit": "16k", "backup_tripwire": "no"})
def erase_message(x):
    "erase --message, in a bucket that keeps versions: no object and no version has the message, it can arrive again, everything else stays"
    x.minio.keep_versions()
    x.user("erika", "fred")
    mail = {name: incompressible(name.encode(), size) for name, size in (("packed", 30000), ("shared", 30000), ("kept", 30000), ("inline", 6000))}
    guid = {name: hashlib.sha1(m).hexdigest() for name, (m, _) in mail.items()}
    c = x.imap("erika")
    c.append("INBOX", [(mail[name][0], [], None) for name in ("packed", "shared", "kept")])
    x.imap("fred").append("INBOX", [(mail["shared"][0], [], None)])
    x.sync("1-first", "-u", "erika", "fred")
    c.append("INBOX", [(mail["inline"][0], [], None)])
    x.sync("2-inline", "-u", "erika")
    for name, (_, needle) in mail.items():
        x.expect("2-inline", x.minio.has(needle), "%s is nowhere: this tests nothing" % name)
    argv = ["erase", "erika", "--yes", "--reason", "test"]
    for name in ("packed", "shared", "inline"):
        argv += ["--message", guid[name]]
    r = target.tool(x.lab, "ctl_backups", *argv)
    x.expect("2-live", r.returncode == 75 and b"the user still has it, in user.erika" in r.stderr, "rc %d: %r" % (r.returncode, r.stderr))
    x.pass_days(1)
    c.cmd("SELECT INBOX")
    c.cmd("STORE 1,2,4 +FLAGS (\\Deleted)")
    c.cmd("EXPUNGE")
    c.cmd("UNSELECT")
    x.sync("3-expunged", "-u", "erika")
    x.pass_days(4)
    c.append("INBOX", [(b"Subject: later\r\n\r\nlater\r\n", [], None)])
    x.sync("4-later", "-u", "erika")
    tool(x, "5-erase", *argv)
    x.expect("5-erase", x.minio.has(mail["packed"][1]), "a body is gone before its grace")
    c.append("INBOX", [(mail["inline"][0], [], None)])      # it arrives again, and stays
    x.sync("6-again", "-u", "erika")
    for _ in range(2):
        x.pass_days(.7)
        tool(x, "7-compact", "compact", "-A")
    said = tool(x, "8-list", "erase", "--list")
    x.expect("8-list", "\tdone\t" in said, said)
    x.no_differences("8-gone", "packed is in", x.minio.has(mail["packed"][1]))
    for name in ("shared", "kept", "inline"):
        x.expect("8-there", x.minio.has(mail[name][1]), name + " is gone")
    said = tool(x, "9-verify", "verify", "-v", "-A")
    x.expect("9-verify", "2 erased messages" in said, said)
    x.settle("9-settle", "-u", "erika", "fred")
