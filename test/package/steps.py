"""steps.py FILE.deb: the steps of run.py, on the machine that is thrown away afterwards."""
import imaplib
import mailbox
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

OWN = "/usr/lib/cyrus-backupd/sbin/"
DATA = ["/var/lib/cyrus-backupd", "/var/spool/cyrus-backupd"]
CYRUS = ["cyrus-admin", "cyrus-clients", "cyrus-common", "cyrus-imapd", "cyrus-replication"]
MESSAGE = b"From: a@example.org\r\nSubject: first backup\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"


def check(ok, text):
    if not ok:
        raise SystemExit("FAIL: %s" % text)


def log(text):
    print("  " + text, flush=True)


def run(*argv, rc=0, **kw):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **kw)
    check(r.returncode == rc, "%s: status %d\n%s" % (" ".join(argv), r.returncode, r.stdout))
    return r.stdout


def cyrus(*argv, **kw):
    return run("setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups", "--", *argv, cwd="/", **kw)


def wait_for(cond, seconds, what):
    end = time.time() + seconds
    while not cond():
        check(time.time() < end, "%s after %d s" % (what, seconds))
        time.sleep(0.2)


def tree():
    """Every file of the machine that a package may own: its mode, owner, size and time."""
    out = {}
    for top in ("/etc", "/usr", "/var", "/opt", "/srv", "/home"):
        for d, dirs, files in os.walk(top):
            dirs[:] = [n for n in dirs if d + "/" + n not in ("/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/usr/local")]
            for n in dirs + files:
                s = os.lstat(d + "/" + n)
                content = () if stat.S_ISDIR(s.st_mode) else (s.st_size, s.st_mtime_ns)
                out[d + "/" + n] = (s.st_mode, s.st_uid, s.st_gid) + content
    return out


def below(path, tops):
    return any(path == t or path.startswith(t + "/") for t in tops)


def apt(*argv):
    """apt as an administrator types it. The machine has no network: whatever is missing would be an error."""
    return run("apt-get", "-y", "-q", *argv)


def install(deb, before):
    apt("install", deb)
    after, listed = tree(), set(run("dpkg", "-L", "cyrus-backupd").split())
    changed = [p for p in before if after.get(p) != before[p] and not re.match(r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$", p)]
    check(not changed, "the installation changed files of others: %s" % changed)
    real = {os.path.join(os.path.realpath(os.path.dirname(p)), os.path.basename(p)) for p in listed}
    stray = set(after) - set(before) - real
    check(not stray, "files that the package does not list: %s" % stray)
    shared = {p for p in listed & set(run("dpkg", "-L", *CYRUS).split()) if not os.path.isdir(p)}
    check(not shared, "files that Debian's Cyrus has, too: %s" % shared)
    taken = [p for p in real if os.path.basename(p) in ("restore", "backupd") and not p.startswith(OWN)]
    check(not taken, "names of other packages: %s" % taken)
    for d in DATA:
        s = os.stat(d)
        check(pwd.getpwnam("cyrus").pw_uid == s.st_uid and s.st_mode & 0o777 == 0o750, "%s: %o, owner %d" % (d, s.st_mode, s.st_uid))
    check(not run("dpkg", "-V", "cyrus-backupd"), "dpkg -V complains")
    for p in ("ctl_backups", "cyr_backup", "backup_replay", "backup_restore"):
        check("--" in run(p, "--help"), p)
    log("installed beside Debian's Cyrus: %d new files, no other file changed" % (len(set(after) - set(before))))


def configure():
    with open("/etc/imapd.conf", "a") as h:
        h.write("admins: repl cyrus\nbackuppartition-default: /var/spool/cyrus-backupd\n"
                # the mail host, which is the same machine here
                "sync_log: 1\nsync_log_channels: backup\nbackup_sync_host: 127.0.0.1\nbackup_sync_port: 2005\n"
                "backup_sync_authname: repl\nbackup_sync_password: a long secret\nbackup_sync_try_imap: 0\n"
                "sasl_mech_list: PLAIN SCRAM-SHA-256\nbackup_drain_timeout: 5s\n")
    with open("/etc/cyrus.conf") as h:
        text = h.read()
    # Debian's file also names programs of packages that are not installed here
    text = re.sub(r"(?m)^\s*(pop3|nntp|http|sieve)\s.*\n", "", text)
    text = re.sub(r"SERVICES \{", 'SERVICES {\n  backupd cmd="%sbackupd" listen="2005" prefork=0' % OWN, text, count=1)
    text += '\nDAEMON {\n  backupsync cmd="sync_client -r -n backup"\n}\n'
    with open("/etc/cyrus.conf", "w") as h:
        h.write(text)
    for d in ("", "/proc", "/lock", "/socket"):
        os.makedirs("/run/cyrus" + d, exist_ok=True)
        shutil.chown("/run/cyrus" + d, "cyrus", "mail")
    cyrus("ctl_backups", "passwd", "repl", input="a long secret\n")
    run("saslpasswd2", "-p", "-c", "cyrus", input="secret")
    shutil.chown("/etc/sasldb2", "cyrus", "mail")


def append(n):
    c = imaplib.IMAP4("127.0.0.1")
    c.login("cyrus", "secret")
    c.create("user.anne")
    c.setacl("user.anne", "cyrus", "lrswipkxtecda")
    check(c.append("user.anne", None, None, MESSAGE.replace(b"<1@", b"<%d@" % n))[0] == "OK", "append")
    c.logout()


def backed_up(n):
    """Is message n in the backup?"""
    r = subprocess.run(["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups", "--", "cyr_backup", "anne", "find", "message-id:%d@example.org" % n],
                       capture_output=True, text=True, cwd="/")
    return "first backup" in r.stdout


def program(pid):
    """The program file of a process, with " (deleted)" if it was replaced; empty once the process has ended."""
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return ""


def serving():
    """Ids of the backupd processes, those of a replaced program file included."""
    return [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if program(p).startswith(OWN + "backupd")]


def first_backup():
    master = subprocess.Popen(["/usr/sbin/cyrmaster"], stdin=subprocess.DEVNULL)
    wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", 143)), 20, "no IMAP server")
    append(1)
    said = cyrus("/usr/lib/cyrus/bin/sync_client", "-n", "backup", "-v", "-A")
    check(backed_up(1), "the message is not in the backup: " + said)
    cyrus("backup_restore", "--to", "maildir:/tmp/anne", "anne", "-a")
    found = [m for m in mailbox.Maildir("/tmp/anne", create=False)]
    check([m["Subject"] for m in found] == ["first backup"], "restored: %s" % [str(m) for m in found])
    check("anne" in cyrus("ctl_backups", "list") and not cyrus("ctl_backups", "verify", "-A", "-q").count("problem "), "ctl_backups")
    append(2)
    wait_for(lambda: backed_up(2), 20, "the rolling sync_client has not sent the message")
    with open("/tmp/syslog", errors="replace") as h:
        odd = [line for line in h if "backupd[" in line and re.search(r"mail\.(warn|err|crit)", line)]
    check(not odd, "backupd complains: " + "".join(odd))
    log("first backup with sync_client %s, rolling backup, restore" % run("dpkg-query", "-W", "-f", "${Version}", "cyrus-replication"))
    return master


def upgrade(deb):
    old, began = serving(), time.time()
    check(len(old) == 1, "backupd: %s" % old)
    apt("install", "--reinstall", deb)
    # no new connection: the rolling client is connected
    wait_for(lambda: not set(old) & set(serving()), 60, "the former program still runs")
    took = time.time() - began
    append(3)
    wait_for(lambda: backed_up(3), 30, "the message after the upgrade is not in the backup")
    now = [program(p) for p in serving()]
    check(OWN + "backupd" in now, "the new program does not serve: %s" % now)
    log("the upgraded program took over after %.0f s, without a restart" % took)


def remove(master, before):
    said = apt("remove", "cyrus-backupd")
    check("/etc/cyrus.conf still names" in said, "no hint at cyrus.conf: " + said)
    master.send_signal(signal.SIGTERM)
    master.wait(60)
    apt("purge", "cyrus-backupd")
    after = tree()
    mail = ["/var/lib/cyrus", "/var/spool/cyrus", "/var/spool/sieve", "/etc/imapd.conf", "/etc/cyrus.conf", "/etc/sasldb2", "/etc"]
    left = [p for p in after if p not in before and not below(p, DATA) and not below(p, mail[:-2] + ["/etc/sasldb2"])]
    gone = [p for p in before if p not in after]
    changed = [p for p in before if p in after and after[p] != before[p] and not below(p, mail[:-1])]
    check(not left and not gone and not changed, "removal left %s, removed %s, changed %s" % (left, gone, changed))
    check(any(below(p, DATA[1:]) and "log" in p for p in after), "the backup was removed")
    log("removed: only the backups, the index and the passwords are left")


def without_cyrus(deb):
    """The user does not exist, and no master runs: systemd's socket starts backupd."""
    run("sed", "-i", "/^cyrus /d", "/var/lib/dpkg/statoverride")    # of Debian's Cyrus
    run("userdel", "cyrus")
    apt("install", deb)
    check(run("stat", "-c", "%U:%G %a", *DATA).split() == ["cyrus:mail", "750"] * 2, "owner of %s" % DATA)
    if shutil.which("systemd-analyze"):
        units = [p for p in run("dpkg", "-L", "cyrus-backupd").split() if p.startswith("/lib/systemd/system/c")]
        said = run("systemd-analyze", "verify", "--man=no", *units)
        check("cyrus-backupd" not in said, said)
    if not shutil.which("systemd-socket-activate"):
        return
    shutil.rmtree(DATA[1])
    os.mkdir(DATA[1], 0o750)
    shutil.chown(DATA[1], "cyrus", "mail")
    shutil.copy("/usr/share/doc/cyrus-backupd/examples/imapd.conf.standalone", "/etc/imapd.conf")
    cyrus("ctl_backups", "passwd", "repl", input="a long secret\n")
    with open("/lib/systemd/system/cyrus-backupd.service") as h:
        command = re.search(r"^ExecStart=(.*)$", h.read(), re.M).group(1)
    command = command.replace("${CONF}", "/etc/imapd.conf").replace("$BACKUPD_OPTIONS", "-T 0").split()
    p = subprocess.Popen(["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups", "--", "systemd-socket-activate", "-l", "2005", *command],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", 2005)), 10, "nobody listens")
    with socket.create_connection(("127.0.0.1", 2005), timeout=20) as c:
        greeting = c.recv(4096)
    check(b"SCRAM-SHA-256" in greeting or greeting.startswith(b"* "), "greeting %r" % greeting)
    p.terminate()
    check(p.wait(30) in (75, -15), "status %s" % p.returncode)
    log("without Cyrus: the user is created, systemd's socket starts backupd")


def main():
    deb = sys.argv[1]
    run("ip", "link", "set", "lo", "up")
    subprocess.Popen(["busybox", "syslogd", "-n", "-O", "/tmp/syslog"])
    before = tree()
    install(deb, before)
    configure()
    master = first_backup()
    upgrade(deb)
    remove(master, before)
    without_cyrus(deb)


if __name__ == "__main__":
    try:
        main()
    except SystemExit as e:
        if os.path.exists("/tmp/syslog"):
            with open("/tmp/syslog", errors="replace") as h:
                print("".join(h.readlines()[-40:]))
        print(e)
        sys.exit(1)
