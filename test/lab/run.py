#!/usr/bin/env python3
"""Scenarios: the real sync_client against our backupd under a real master, with all effects checked.

    run.py --bin DIR --out DIR [--store dir|minio] [SCENARIO ...]     (default: all; --list names them)

Each scenario has a fresh lab. After every sync: the client's status; a second
sync sends nothing; the bucket equals the source; every body can be read back; the source
is unchanged. OUT/results-STORE.json has steps and failures. The wire captures and syslog
of a failed scenario stay in OUT. Exits with 1 if a scenario failed.
"""
import argparse
import json
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cyruslab import host, instance                         # noqa: E402
from scenarios import (compacting, damage, day, erasing, everybody, faults, imapto, importing, lives, logins,   # noqa: E402,F401
                       moving, neighbours, odd, passwords, protocol, readers, restore, restoreodd, trouble, upgrading)
from scenarios.base import SCENARIOS, Context               # noqa: E402


def run(sc, opt):
    x, failures, t0 = None, [], time.time()
    try:
        x = Context(sc, opt, opt.store)
        sc.fn(x)
    except Exception as e:
        traceback.print_exc(file=sys.stdout)
        failures.append("%s: %s" % (type(e).__name__, e))
    if x:
        x.failures += failures
        try:
            x.close()
        except Exception as e:
            traceback.print_exc(file=sys.stdout)
            x.failures.append("closing: %s: %s" % (type(e).__name__, e))
        failures = x.failures
    return {"scenario": sc.name, "about": sc.about, "store": opt.store, "failures": failures,
            "seconds": round(time.time() - t0, 1), "steps": x.steps if x else []}


def options(argv=None):
    """The command line, with absolute paths: programs and instances run in other directories."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("scenario", nargs="*")
    p.add_argument("--bin", help="directory of backupd, cyr_backup and ctl_backups")
    p.add_argument("--out", help="results, and the files of failed scenarios")
    p.add_argument("--store", choices=("dir", "minio"), default="dir")
    p.add_argument("--minio", default="minio", help="the MinIO server's program")
    p.add_argument("--conf", help="more imapd.conf lines for the backup host")
    p.add_argument("--work", default="/tmp/backupd-lab", help="directory for labs (a short path, because of UNIX sockets)")
    p.add_argument("--keep", action="store_true", help="leave labs and captures")
    p.add_argument("--list", action="store_true", help="name, stores, usual stores and subject of every scenario, as JSON")
    opt = p.parse_args(argv)
    if not (opt.list or opt.out and opt.bin):
        p.error("--out and --bin are required")
    unknown = set(opt.scenario) - set(SCENARIOS)
    if unknown:
        p.error("no such scenario: %s (--list)" % " ".join(sorted(unknown)))
    opt.out, opt.bin, opt.work = (d and os.path.abspath(d) for d in (opt.out, opt.bin, opt.work))
    if os.sep in opt.minio:     # otherwise the shell's PATH has it
        opt.minio = os.path.abspath(opt.minio)
    return opt


def main():
    opt = options()
    if opt.list:
        print(json.dumps([{"name": s.name, "stores": s.stores, "usual": s.usual, "about": s.about} for s in SCENARIOS.values()],
                         indent=1))
        return 0
    opt.syslog = host.own_syslog()
    opt.conf = instance.read_conf(opt.conf) if opt.conf else {}
    for d in (opt.out, opt.work):
        os.makedirs(d, exist_ok=True)
    os.chmod(opt.work, 0o755)
    results = []
    for sc in SCENARIOS.values():
        if opt.scenario and sc.name not in opt.scenario or opt.store not in sc.stores:
            continue
        print("%s: %s" % (sc.name, sc.about), flush=True)
        results.append(run(sc, opt))
        print("  (%.1f s)" % results[-1]["seconds"], flush=True)
        with open(os.path.join(opt.out, "results-%s.json" % opt.store), "w") as h:
            json.dump(results, h, indent=1)
    bad = [r for r in results if r["failures"]]
    for r in bad:
        print("FAILED %s on %s: %d failures" % (r["scenario"], r["store"], len(r["failures"])))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
