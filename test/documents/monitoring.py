"""docs/monitoring.md, and the drill of every night in docs/administration.md, after README.md."""
import re

from document import Document
from hosts import Failed
from readme import lines, shows

CONFIG, CYRUS = "/etc/imapd.conf", "/etc/cyrus.conf"


def run(c):
    d, admin = Document("docs/monitoring.md"), Document("docs/administration.md")
    before = {}
    for name in (CONFIG, CYRUS):
        with open(c.backup.root(name)) as h:
            before[name] = h.read()
    files(c, d, admin, before)
    served(c, d)
    prometheus(c, d)
    launched(c)
    d.check()
    for name, text in before.items():       # the runbook has a backupd that ends when it is idle
        c.backup.write(name, text)
    c.backup.run("systemctl restart cyrus-imapd")
    c.backup.listens(2005)


def files(c, d, admin, before):
    """The lines of imapd.conf and cyrus.conf. A minute after the start is soon enough for every night."""
    metrics = d.file("backup_metrics_listen: 127.0.0.1:9187") + d.file("backup_metrics_file: /var/lib/prometheus/node-exporter/backupd.prom")
    c.backup.write(CONFIG, before[CONFIG] + metrics)
    service = [b[0] for b in d.blocks if b[0].startswith("backupd ")][0]
    drill = admin.file("EVENTS {").split("\n")[1]
    if "at=0430" not in drill:
        raise Failed("no time in " + drill)
    text, n = re.subn(r"(?m)^ *backupd .*$", service, before[CYRUS])
    text, m = re.subn(r"(?m)^EVENTS {$", "EVENTS {\n  " + drill.replace("at=0430", "period=1"), text)
    if (n, m) != (1, 1):
        raise Failed("cyrus.conf: %d services, %d events" % (n, m))
    c.backup.write(CYRUS, text)
    lines(c.backup, admin, "install -d -o cyrus -g mail -m 700 /srv/drill")
    lines(c.backup, d, "install -d -o cyrus -g mail -m 755 /var/lib/prometheus/node-exporter")


def served(c, d):
    """backupd runs before a mail server connects, and serves and writes its metrics."""
    lines(c.backup, d, "systemctl restart cyrus-imapd")
    c.backup.listens(9187)
    shows(c.backup, d, "curl -s http://127.0.0.1:9187/metrics | grep cyrus_backupd_running", "cyrus_backupd_running 1")
    c.backup.wait(lambda: c.backup.run("promtool check metrics < /var/lib/prometheus/node-exporter/backupd.prom", None)[0] == 0, "the file of metrics")
    said = c.backup.run("ctl_backups doctor", None)[1]
    if "0 errors" not in said:
        raise Failed("doctor: " + said)


def prometheus(c, d):
    c.backup.run("mkdir /root/prometheus && cp /root/backupd/docs/monitoring/alerts.yml /root/prometheus")
    c.backup.write("/root/prometheus/prometheus.yml", d.file("rule_files: [alerts.yml]", indented=True))
    c.backup.run("cd /root/prometheus && " + d.line("promtool check config prometheus.yml"))
    for line in ("promtool check rules docs/monitoring/alerts.yml",
                 "promtool test rules docs/monitoring/alerts_test.yml docs/monitoring/alerts_slow_test.yml"):
        d.skip(line, "test/monitoring runs it")


def launched(c):
    """master has launched the drill, with the daemon's user, and status shows its result."""
    c.backup.wait(lambda: "result=ok" in c.backup.run("grep ' drill uid=' /var/log/mail.log", None)[1], "the drill of master")
    said = c.backup.run("sudo -u cyrus ctl_backups status", None)[1]
    if not re.search(r"(?m)^drill +default +20.* ok ", said):
        raise Failed("status shows no drill:\n" + said)
