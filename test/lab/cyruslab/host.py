"""Access to the machine: users, ports, processes, files, and a syslog."""
import atexit
import fcntl
import grp
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import sys
import time

BIN = os.environ.get("CYRUS_BIN", "/usr/lib/cyrus/bin")
RUN = "/run/cyrus-lab"          # directory of the syslog sink
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    pass


def die(msg):
    raise LabError(msg)


def cyrus_ids():
    try:
        u = pwd.getpwnam("cyrus")
        g = grp.getgrnam("mail")
    except KeyError:
        die("user cyrus / group mail missing: run 'make deps' first")
    extra = [x.gr_gid for x in grp.getgrall() if "cyrus" in x.gr_mem]
    return u.pw_uid, g.gr_gid, extra


def as_cyrus():
    uid, gid, extra = cyrus_ids()
    if os.geteuid() != 0:
        return {}
    return dict(user=uid, group=gid, extra_groups=extra)


def need_root():
    if os.geteuid() != 0:
        die("this command must run as root")


def tool(name):
    p = name if "/" in name else os.path.join(BIN, name)
    if not os.access(p, os.X_OK):
        die("no such Cyrus tool: %s (run 'make deps')" % p)
    return p


_handed = set()


def free_port():
    """A free port, outside the ephemeral range if possible."""
    for _ in range(200):
        p = random.randint(20000, 31000)
        if p in _handed:
            continue
        s = socket.socket()
        try:
            s.bind(("127.0.0.1", p))
        except OSError:
            continue
        finally:
            s.close()
        _handed.add(p)
        return p
    die("no free port found on 127.0.0.1")


def listening(port):
    """Is something listening on port? Asks the kernel, so that no service is started."""
    want = ":%04X" % port
    for f in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(f) as h:
                for line in h.readlines()[1:]:
                    c = line.split()
                    if c[1].endswith(want) and c[3] == "0A":
                        return True
        except OSError:
            pass
    return False


def wait_for(cond, secs, what):
    end = time.time() + secs
    while time.time() < end:
        if cond():
            return
        time.sleep(0.05)
    die("timed out after %ss waiting for %s" % (secs, what))


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as h:
            return h.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def cmdline(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as h:
            return h.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def write(path, text, mode=0o640, own=True):
    """Creates the file atomically, because readers remove a shutdown file as soon as they see it."""
    new = path + ".NEW"
    with open(new, "w") as h:
        h.write(text)
    os.chmod(new, mode)
    if own and os.geteuid() == 0:
        uid, gid, _ = cyrus_ids()
        os.chown(new, uid, gid)
    os.rename(new, path)


def mkdirs(*paths):
    uid, gid, _ = cyrus_ids()
    for p in paths:
        os.makedirs(p, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(p, uid, gid)


# ---- syslog: the only place where Cyrus reports errors

SINK = RUN + "/syslog"


def sink_main(logfile, sock="/dev/log"):
    """Owns sock and appends '<epoch> p<priority> <line>' to logfile."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if os.path.lexists(sock):
        os.unlink(sock)
    s.bind(sock)
    os.chmod(sock, 0o666)
    out = open(logfile, "ab", buffering=0)

    def bye(*_):
        try:
            os.unlink(sock)
        except OSError:
            pass
        os._exit(0)
    signal.signal(signal.SIGTERM, bye)
    while True:
        m = s.recv(65536)
        m = re.sub(rb"^<(\d+)>", lambda k: b"p%d " % (int(k.group(1)) & 7), m)
        out.write(b"%.3f " % time.time() + m.replace(b"\n", b"\\n") + b"\n")


def sink_pid():
    try:
        with open(RUN + "/sink.pid") as h:
            pid = int(h.read())
    except (OSError, ValueError):
        return 0
    return pid if alive(pid) and "_syslog" in cmdline(pid) else 0


def syslog_is_foreign():
    """Does a syslog daemon of the machine listen on /dev/log?"""
    if sink_pid() or not os.path.exists("/dev/log"):
        return False
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        s.connect("/dev/log")
        return True
    except OSError:
        return False
    finally:
        s.close()


def start_sink(sock="/dev/log", logfile=SINK):
    lab = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cyrus-lab")
    p = subprocess.Popen([sys.executable, lab, "_syslog", logfile, sock], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: os.path.exists(sock), 5, "the syslog sink")
    return p


def ensure_sink():
    """Starts a small syslog daemon, shared by all labs, if the machine has none. True: just started."""
    os.makedirs(RUN, exist_ok=True)
    with open(RUN + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if sink_pid() or syslog_is_foreign():
            return False
        p = start_sink()
        with open(RUN + "/sink.pid", "w") as h:
            h.write(str(p.pid))
        return True


def own_syslog():
    """Makes Cyrus's messages readable to this process. If the machine's daemon
    uses /dev/log, the process restarts in a mount namespace with a separate
    /dev/log. Returns the file with the messages."""
    mine = os.environ.pop("CYRUSLAB_SYSLOG", None)
    if mine:                                            # the second start: inside the namespace
        p = start_sink(mine + ".sock", mine)
        atexit.register(lambda: (p.terminate(), p.wait(), os.unlink(mine)))
        subprocess.run(["mount", "--bind", mine + ".sock", "/dev/log"], check=True)
        return mine
    if not syslog_is_foreign():
        ensure_sink()
        return SINK
    os.makedirs(RUN, exist_ok=True)
    os.environ["CYRUSLAB_SYSLOG"] = "%s/syslog-%d" % (RUN, os.getpid())
    os.execvp("unshare", ["unshare", "--mount", sys.executable] + sys.argv)
