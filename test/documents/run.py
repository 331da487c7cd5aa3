#!/usr/bin/env python3
"""run.py --bin DIR --minio FILE: types the command lines of README.md, docs/monitoring.md, docs/tasks.md,
docs/restore.md, docs/migrating.md, docs/administration.md and docs/man/backup-runbook.7.md into two backup hosts, a mail host
with Debian's Cyrus, and a host with MinIO. As root.

Fails if a line fails, has another effect, or is in a document and not here. Nothing of this machine
changes: hosts.py.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import administration                   # noqa: E402
import monitoring                       # noqa: E402
import readme                           # noqa: E402
import restoring                        # noqa: E402
import runbook                          # noqa: E402
import second                           # noqa: E402
import tasks                            # noqa: E402
from cast import Cast                   # noqa: E402
from hosts import HERE, Failed          # noqa: E402


def timed(name, run, *args):
    began = time.time()
    result = run(*args)
    print("  %4.1f s in all: %s" % (time.time() - began, name), flush=True)
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("--minio", required=True)
    p.add_argument("--only", nargs="*", default=[], help="sections of the runbook, the functions in runbook.py")
    p.add_argument("--long", action="store_true", help="also the sections that take longer")
    opt = p.parse_args()
    if os.environ.get("DOCUMENTS_ALONE") != "1":    # separate mounts and network
        os.execvpe("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-B",
                               os.path.join(HERE, "run.py"), *sys.argv[1:]], {**os.environ, "DOCUMENTS_ALONE": "1"})
    work, start, cast = tempfile.mkdtemp(prefix="documents-", dir="/tmp"), time.time(), None
    try:
        cast = Cast(work, os.path.realpath(opt.bin), os.path.realpath(opt.minio))
        readme.run(cast)
        timed("monitoring", monitoring.run, cast)
        typed = timed("tasks", tasks.run, cast)
        timed("restore", restoring.run, cast)
        migrating = timed("migrating", second.run, cast, typed)
        typed.check()
        timed("administration", administration.run, cast, migrating)
        runbook.run(cast, opt.only, opt.long)
        for h in (cast.backup, cast.mail, cast.second):
            if "the process does not end" in h.log():
                raise Failed("%s: a process did not end: see its stacks in the log" % h.name)
    except (Exception, KeyboardInterrupt) as e:
        if not isinstance(e, Failed):
            traceback.print_exc()
        for h in (cast.backup, cast.mail, cast.second) if cast else ():
            if not h:
                continue
            print("---- the log of %s:\n%s" % (h.name, "".join(h.log().splitlines(True)[-30:])))
        print("---- FAILED after %.0f s: %s" % (time.time() - start, e))
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("all lines work: %.0f s" % (time.time() - start))
    return 0


if __name__ == "__main__":
    sys.exit(main())
