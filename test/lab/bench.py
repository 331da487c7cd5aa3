#!/usr/bin/env python3
"""Compares our backupd and Debian's (Cyrus Backups) under the real sync_client.

    bench.py --bin DIR [--minio PROGRAM] [--mail DIR] [--small N] [--big N] [--reps N] [--out FILE]

There is no proxy between client and server. Wall is the run time of the client; its CPU is from
wait4, of the server from /proc of every process of its instance. Medians of the repetitions,
which alternate between the servers, each with a new store. Ratios: ours / Debian's.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cyruslab import client, host, instance, target         # noqa: E402
from cyruslab.mail import load, load_odd                    # noqa: E402

HZ = os.sysconf("SC_CLK_TCK")


def processes(inst):
    for p in os.listdir("/proc"):
        if p.isdigit() and ("-C " + inst["conf"]) in host.cmdline(int(p)):
            yield int(p)


def server_cpu(inst):
    """CPU seconds of the instance's running processes, and of those that its master has reaped."""
    total = 0
    for p in processes(inst):
        with open("/proc/%d/stat" % p) as h:
            f = h.read().rsplit(")", 1)[1].split()
        total += sum(int(n) for n in f[11:15 if p == instance.master_pid(inst) else 13])
    return total / HZ


def peak_rss(inst):
    best = 0
    for p in processes(inst):
        if p != instance.master_pid(inst):
            with open("/proc/%d/status" % p) as h:
                m = re.search(r"VmHWM:\s+(\d+)", h.read())
            best = max(best, int(m.group(1)) if m else 0)
    return best / 1024


def kept(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files) / 1e6


class Servers:
    def __init__(self, lab, opt):
        self.lab, self.opt = lab, opt
        self.names = ["reference", "dir"] + (["minio"] if opt.minio else [])

    def start(self, name, rep):
        """Starts a fresh server; returns (instance, store path, function that stops it)."""
        n = "%s%d" % (name[:3], rep)
        if name == "reference":
            inst = target.reference_server(self.lab, n)
            return inst, inst["base"] + "/store", lambda: instance.down(self.lab, n, wipe=True)
        minio = target.Minio(self.opt.minio, self.lab.path(n + "-minio")) if name == "minio" else None
        inst = target.backup_server(self.lab, self.opt.bin, name, minio, name=n)

        def end():
            instance.down(self.lab, n, wipe=True)
            if minio:
                minio.stop()
                shutil.rmtree(minio.path)
        return inst, minio.path if minio else inst["base"] + "/store", end

    def measure(self, name, inst, store, user):
        key = os.path.basename(inst["base"])
        before = server_cpu(inst)
        r = client.run(self.lab, key, ["-u", user], verbose=0)
        if r["rc"]:
            host.die("sync_client to %s ended with %d: %s" % (name, r["rc"], r["out"][-500:]))
        return {"wall s": r["wall"], "client CPU s": r["user"] + r["sys"],
                "server CPU s": server_cpu(inst) - before, "peak RSS MB": peak_rss(inst), "kept MB": kept(store)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("--minio", help="MinIO's program; without it only the directory store is measured")
    p.add_argument("--mail", help="a directory of sample mail to load as well")
    p.add_argument("--small", type=int, default=5000, help="messages of 5 kB")
    p.add_argument("--big", type=int, default=100, help="messages of 1 MB")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--out", help="raw figures, as JSON")
    opt = p.parse_args()
    opt.bin = os.path.abspath(opt.bin)
    work = tempfile.mkdtemp(prefix="bench-", dir="/tmp")
    os.chmod(work, 0o755)
    lab = instance.up(work)
    users = [("small", "gen:%d:5000:small" % opt.small), ("big", "gen:%d:1000000:big" % opt.big)]
    if opt.mail:
        users.append(("sample", os.path.abspath(opt.mail)))
    figures = {}
    try:
        for u, src in users:
            instance.add_user(lab, u)
            count, size, *refused = (load_odd if u == "sample" else load)(lambda: instance.connect(lab, u), src)
            print("%s: %d messages, %.1f MB%s" % (u, count, size / 1e6, ", %d refused by Cyrus" % refused[0] if refused else ""), flush=True)
        servers = Servers(lab, opt)
        for rep in range(opt.reps):
            for name in servers.names:
                inst, store, end = servers.start(name, rep)
                try:
                    for u, _ in users:
                        had = kept(store)
                        m = servers.measure(name, inst, store, u)
                        m["kept MB"] -= had
                        figures.setdefault("first sync, " + u, {}).setdefault(name, []).append(m)
                        m = servers.measure(name, inst, store, u)
                        del m["kept MB"]
                        figures.setdefault("nothing new, " + u, {}).setdefault(name, []).append(m)
                finally:
                    end()
    finally:
        instance.down(lab, wipe=True)
    for what, by in figures.items():
        print("\n%-26s %s" % (what, " ".join("%12s" % n for n in by)) + "   ratio to reference")
        for k in by["reference"][0]:
            med = {n: statistics.median(m[k] for m in ms) for n, ms in by.items()}
            ref = med["reference"]
            print("  %-24s %s   %s" % (k, " ".join("%12.3f" % v for v in med.values()), " ".join(
                "%.2f" % (v / ref) if ref else "-" for n, v in med.items() if n != "reference")))
    if opt.out:
        with open(opt.out, "w") as h:
            json.dump(figures, h, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
