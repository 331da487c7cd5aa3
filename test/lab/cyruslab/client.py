"""The real sync_client, connected to a server, optionally with the wire recorded."""
import os
import signal
import subprocess
import tempfile
import time

from .host import PATH, as_cyrus, tool, write
from .imap import PASSWORD
from .instance import REPL, conf_text
from .wire import Proxy


def client_conf(lab, port, sets, channel, host):
    """A private copy of the source's imapd.conf with the replication target."""
    d = dict(lab.inst("src")["config"])
    pre = channel + "_" if channel else ""
    d.update({pre + "sync_host": host, pre + "sync_port": str(port), pre + "sync_authname": REPL,
              pre + "sync_password": PASSWORD, pre + "sync_repeat_interval": "1",
              # by default sync_client tries IMAP first
              pre + "sync_try_imap": "no",
              "sync_shutdown_file": shutdown_file(lab)})
    d.update(sets)
    fd, p = tempfile.mkstemp(prefix="client-", suffix=".conf", dir=lab.path("src"))
    os.close(fd)
    write(p, conf_text(d))
    return p


def shutdown_file(lab):
    return lab.path("src", "conf", "shutdown-backup")


def server_port(lab, to):
    ports = lab.inst(to)["ports"]
    return ports.get("backupd") or ports["syncserver"]


class Run:
    """One sync_client. finish() waits for it: dict(rc, out, wall, user, sys)."""

    def __init__(self, lab, to="backup", args=(), capture=None, sets=None, channel="backup",
                 verbose=1, kill_after=None, host="127.0.0.1", hide_compress=False):
        port, self.proxy = server_port(lab, to), None
        if capture or kill_after:
            if capture:
                os.makedirs(os.path.dirname(os.path.abspath(capture)), exist_ok=True)
            self.proxy = Proxy(0, port, capture, kill_after, hide_compress, host)
            port, host = self.proxy.port, "127.0.0.1"
        self.conf = client_conf(lab, port, sets or {}, channel, host)
        argv = [tool("sync_client"), "-C", self.conf] + ["-v"] * verbose + \
            (["-n", channel] if channel else []) + ["-o"] + list(args)
        self.out = tempfile.TemporaryFile()
        self.started = time.time()
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out,
                                     stderr=subprocess.STDOUT, env={"PATH": PATH, "LANG": "C.UTF-8"},
                                     cwd="/", **as_cyrus())
        self.pid = self.proc.pid

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def finish(self, wait=3600):
        end = self.started + wait
        while True:
            pid, st, ru = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.time() > end:
                self.kill()
            time.sleep(0.005)
        self.proc.returncode = os.waitstatus_to_exitcode(st)
        wall = time.time() - self.started
        self.out.seek(0)
        out = self.out.read().decode("utf-8", "replace")
        self.out.close()
        os.unlink(self.conf)
        if self.proxy:
            self.proxy.stop()
        return dict(rc=self.proc.returncode, out=out, wall=wall, user=ru.ru_utime, sys=ru.ru_stime)


def run(lab, *a, timeout=3600, **kw):
    return Run(lab, *a, **kw).finish(timeout)
