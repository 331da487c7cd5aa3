"""Several backup hosts on one bucket: the mail host uses one after the other."""
from cyruslab.mail import source_messages

USER, MESSAGES = "carl", 20


def run(t):
    t.log("A second backup host on the same bucket (profile two-hosts), and one with AWS's driver (profile s3)")
    t.stack.up("backuphost2", "backuphost-s3")
    try:
        for n, host in enumerate(("backuphost", "backuphost2", "backuphost", "backuphost-s3", "backuphost2")):
            point(t, host, n)
        alone(t)
    finally:
        t.stack.up("mailhost", env={"BACKUP_HOST": "backuphost"})


def point(t, host, n):
    t.stack.up("mailhost", env={"BACKUP_HOST": host})
    got = t.deliver(USER, [m for m, _, _ in source_messages("gen:%d:3000:%s%d" % (MESSAGES, USER, n))])
    t.expect(got == MESSAGES, "%d messages delivered, wanted %d" % (got, MESSAGES))
    t.arrives(USER, host)
    logs = {h: t.tool("cyr_backup", "-u", USER, "log", service=h) for h in ("backuphost", "backuphost2", "backuphost-s3")}
    last = logs[host].splitlines()[-1]
    t.expect(" on %s)" % host in last, "the last commit is not from %s: %s" % (host, last))
    for h, log in logs.items():
        t.expect(log == logs[host], "%s sees another log than %s:\n%s\nand\n%s" % (h, host, log, logs[host]))
        diffs = t.differences(USER, h)
        t.expect(not diffs, "read by %s: %s" % (h, diffs[:5]))
    t.log("sync_client sent %d messages to %s; all hosts see the same %d commits, and all mail" % (
        MESSAGES, host, len(logs[host].splitlines())))


def alone(t):
    """The tools need only the bucket: no index, no Cyrus, no shell."""
    for tool in (["cyr_backup", "-u", USER, "log"], ["ctl_backups", "stat", "-u", USER], ["ctl_backups", "verify", "-u", USER]):
        r = t.stack.once("tools", *tool)
        t.expect(r.returncode == 0, "%s in the container tools: status %d: %s" % (" ".join(tool), r.returncode, r.stderr.decode()))
        here = t.tool(*tool)
        t.expect(r.stdout.decode() == here, "%s in the container tools:\n%s\non backuphost:\n%s" % (" ".join(tool), r.stdout.decode(), here))
    t.log("A container with only our programs (profile tools) reads the same from the bucket")
