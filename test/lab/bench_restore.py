#!/usr/bin/env python3
"""Compares our restore and Debian's (Cyrus Backups), of the same user, into fresh sync_servers.

    bench_restore.py --bin DIR [--minio PROGRAM] [--messages N] [--reps N] [--out FILE]

One user with N messages of 5 kB is backed up by the real sync_client to Debian's backupd, to
ours on a directory and to ours on MinIO. Then everything is restored with -a -U, in turns, each
time into a fresh Cyrus; and from ours a single message by its GUID. Wall is the run time of
restore, CPU is from wait4, peak memory is VmHWM. Bytes read from the bucket are counted by
a proxy in front of MinIO, with headers. Medians; ratios are relative to Debian's.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bench import server_cpu                                # noqa: E402
from cyruslab import client, host, instance, target         # noqa: E402
from cyruslab.mail import load, source_messages             # noqa: E402

USER = "anne"
LOGIN = {"%s_%s" % (p, k): v for p in ("restore", "sync")       # Debian's restore reads the sync_ options
         for k, v in (("authname", instance.REPL), ("password", instance.PASSWORD))}


class Counter:
    """A proxy in front of an HTTP server that counts response bytes and requests."""

    def __init__(self, port):
        self.to, self.answered, self.requests = port, 0, []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.answered, self.requests = 0, []

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            s = socket.create_connection(("127.0.0.1", self.to))
            for a, b, seen in ((c, s, self.asked), (s, c, self.answers)):
                threading.Thread(target=self.copy, args=(a, b, seen), daemon=True).start()

    @staticmethod
    def copy(a, b, seen):
        try:
            while data := a.recv(1 << 18):
                seen(data)
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def asked(self, data):      # a read request has no body and arrives in one piece
        m = re.match(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP", data)
        if m:
            self.requests.append((m.group(1) + b" " + m.group(2)).decode())

    def answers(self, data):
        self.answered += len(data)


def timed(argv, env):
    """Runs a program as the cyrus user: status, output, wall, CPU and peak memory."""
    said = tempfile.TemporaryFile()
    t0 = time.time()
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/",
                         env={"PATH": host.PATH, **env}, **host.as_cyrus())
    peak = 0
    while True:
        try:
            with open("/proc/%d/status" % p.pid) as h:
                m = re.search(r"VmHWM:\s+(\d+)", h.read())
                peak = max(peak, int(m.group(1))) if m else peak
        except OSError:
            pass
        pid, st, ru = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.005)
    wall = time.time() - t0
    p.returncode = os.waitstatus_to_exitcode(st)
    said.seek(0)
    return p.returncode, said.read().decode("utf-8", "replace"), {
        "wall s": wall, "CPU s": ru.ru_utime + ru.ru_stime, "peak RSS MB": peak / 1024}


class Bench:
    def __init__(self, lab, opt):
        self.lab, self.opt = lab, opt
        self.figures, self.minio, self.counter = {}, None, None

    def add(self, what, name, m):
        self.figures.setdefault(what, {}).setdefault(name, []).append(m)

    def prepare(self):
        """Creates the user and three backups of it."""
        instance.add_user(self.lab, USER)
        gen = "gen:%d:5000:restore" % self.opt.messages
        n, size = load(lambda: instance.connect(self.lab, USER), gen)
        print("%d messages, %.1f MB" % (n, size / 1e6), flush=True)
        self.one = next(hashlib.sha1(m[0]).hexdigest() for i, m in enumerate(source_messages(gen)) if i == n // 2)
        target.reference_server(self.lab, "reference", sets=LOGIN)
        target.backup_server(self.lab, self.opt.bin, "dir", None, name="dir", sets=LOGIN)
        self.names = ["reference", "dir"]
        if self.opt.minio:
            self.minio = target.Minio(self.opt.minio, self.lab.path("minio-data"))
            target.backup_server(self.lab, self.opt.bin, "minio", self.minio, name="minio", sets=LOGIN)
            self.names.append("minio")
        for name in self.names:
            self.push(name)
        # some days of new mail after the first upload
        for day in range(self.opt.days):
            load(lambda: instance.connect(self.lab, USER), "gen:20:5000:day%d" % day)
            for name in self.names:
                self.push(name)
        self.total = self.opt.messages + 20 * self.opt.days
        for name in self.names:
            instance.stop_master(self.lab.inst(name))   # Debian's restore needs the lock
            if name != "reference":
                shutil.copy(os.path.join(self.opt.bin, "restore"), self.lab.inst(name)["base"] + "/bin/restore")
        if self.minio:
            self.counter = Counter(self.minio.port)

    def push(self, name):
        r = client.run(self.lab, name, ["-u", USER], verbose=0)
        if r["rc"]:
            host.die("sync_client to %s ended with %d: %s" % (name, r["rc"], r["out"][-500:]))

    def program(self, name, counted=False):
        """The command line of the restore program for a backup, and its environment."""
        inst = self.lab.inst(name)
        if name == "reference":
            return [host.tool("restore"), "-C", inst["conf"]], {}
        conf = inst["conf"]
        if counted and name == "minio":
            with open(conf) as h:
                text = h.read().replace("127.0.0.1:%d/" % self.minio.port, "127.0.0.1:%d/" % self.counter.port)
            conf = inst["base"] + "/counted.conf"
            host.write(conf, text)
        return [inst["base"] + "/bin/restore", "-C", conf], inst.get("env", {})

    def messages(self):
        c = instance.connect(self.lab, USER, "dest")
        try:
            r = b"".join(c.cmd("STATUS INBOX (MESSAGES)"))
            return int(re.search(rb"MESSAGES (\d+)", r).group(1))
        finally:
            c.close()

    def fresh(self):
        dest = instance.replica_server(self.lab, "dest")
        instance.sasl_user(dest["base"] + "/sasldb2", dest["realm"], USER)
        return dest

    def whole(self, name):
        dest = self.fresh()
        try:
            argv, env = self.program(name)
            before = server_cpu(dest)
            rc, said, m = timed(argv + ["-a", "-U", "127.0.0.1:%d" % dest["ports"]["syncserver"], "-u", USER], env)
            n = self.messages()
            if rc or n != self.total:
                host.die("restore from %s ended with %d, %d of %d messages: %s" % (name, rc, n, self.total, said[-500:]))
            m["destination CPU s"] = server_cpu(dest) - before
            m["messages/s"] = n / m["wall s"]
            self.add("the whole user", name, m)
        finally:
            instance.down(self.lab, "dest", wipe=True)

    def single(self, name, what, to):
        argv, env = self.program(name, counted=True)
        if self.counter:
            self.counter.reset()
        rc, said, m = timed(argv + to, env)
        if rc:
            host.die("restore of one message from %s ended with %d: %s" % (name, rc, said[-500:]))
        if name == "minio":
            m["MB from the bucket"] = self.counter.answered / 1e6
            m["requests"] = len(self.counter.requests)
            if self.opt.requests:
                print("\n".join(self.counter.requests))
        self.add(what, name, m)

    def one_message(self, name):
        """Restores into files, and into a Cyrus with all other messages."""
        out = self.lab.path("out")
        shutil.rmtree(out, ignore_errors=True)
        host.mkdirs(out)
        if name != "reference":
            self.single(name, "one message, to a file", ["--to", "eml:" + out + "/x", USER, self.one])
            files = [os.path.join(d, f) for d, _, fs in os.walk(out) for f in fs if f.endswith(".eml")]
            with open(files[0], "rb") as h:
                if len(files) != 1 or hashlib.sha1(h.read()).hexdigest() != self.one:
                    host.die("restore wrote %s" % files)
        port = self.lab.inst("dest")["ports"]["syncserver"]
        c = instance.connect(self.lab, USER, "dest")
        c.cmd("SELECT INBOX")
        c.cmd("STORE %s +FLAGS (\\Deleted)" % self.at)
        c.cmd("EXPUNGE")
        c.close()
        had = self.messages()
        self.single(name, "one message, to a Cyrus with all others", ["127.0.0.1:%d" % port, "-u", USER, self.one])
        if self.messages() != had + 1:
            host.die("%d messages, wanted %d" % (self.messages(), had + 1))
        self.at = "*"           # the restored message is the newest

    def singles(self):
        dest, self.at = self.fresh(), self.opt.messages // 2 + 1
        try:
            argv, env = self.program("dir")
            rc, said, _ = timed(argv + ["-a", "-U", "127.0.0.1:%d" % dest["ports"]["syncserver"], "-u", USER], env)
            if rc:
                host.die("restore ended with %d: %s" % (rc, said[-500:]))
            for _ in range(self.opt.reps):
                for name in self.names[1:]:
                    self.one_message(name)
        finally:
            instance.down(self.lab, "dest", wipe=True)

    def run(self):
        self.prepare()
        for rep in range(self.opt.reps):
            for name in self.names if "whole" in self.opt.only else ():
                self.whole(name)
                print("%s: %.1f s" % (name, self.figures["the whole user"][name][-1]["wall s"]), flush=True)
        if "one" in self.opt.only:
            self.singles()


def report(figures):
    for what, by in figures.items():
        print("\n%-40s %s" % (what, " ".join("%12s" % n for n in by)) + "   ratio to reference")
        for k in dict.fromkeys(k for ms in by.values() for k in ms[0]):
            med = {n: statistics.median(m[k] for m in ms) for n, ms in by.items() if k in ms[0]}
            ref = med.get("reference")
            print("  %-38s %s   %s" % (k, " ".join("%12.3f" % med[n] if n in med else "%12s" % "-" for n in by), " ".join(
                "%.2f" % (v / ref) for n, v in med.items() if ref and n != "reference")))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("--minio", help="MinIO's program; without it only the directory store is measured")
    p.add_argument("--messages", type=int, default=20000)
    p.add_argument("--days", type=int, default=10, help="more syncs, of 20 new messages each")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--only", default="whole,one", help="what to measure")
    p.add_argument("--requests", action="store_true", help="name the requests made for one message")
    p.add_argument("--out", help="raw figures, as JSON")
    opt = p.parse_args()
    opt.bin, opt.minio = os.path.abspath(opt.bin), opt.minio and os.path.abspath(opt.minio)
    work = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
    os.chmod(work, 0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # stops its servers as well
    b = Bench(instance.up(work), opt)
    try:
        b.run()
    finally:
        instance.down(b.lab, wipe=True)
        if b.minio:
            b.minio.stop()
    report(b.figures)
    if opt.out:
        with open(opt.out, "w") as h:
            json.dump(b.figures, h, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
