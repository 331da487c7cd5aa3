#!/usr/bin/env python3
"""run.py [FILE.deb]: installs the Debian package with apt on a machine with Debian's Cyrus, backs up and
restores a message, upgrades and removes it. Builds the package without FILE.deb.

The machine is this one below an overlay, so nothing of it changes. As root on Debian, with the
packages of "make deps".
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BOX = os.path.join(PROJECT, "test/compose/stack/box.py")


def main():
    with tempfile.TemporaryDirectory(prefix="package-") as work:
        given = sys.argv[1:]
        if not given:
            subprocess.run([os.path.join(PROJECT, "build/deb"), work], check=True, env={**os.environ, "XZ_LEVEL": "0"})
            given = glob.glob(work + "/*.deb")
        os.mkdir(work + "/box")
        with open(work + "/box.json", "w") as h:
            json.dump({"hostname": "backup.example.com", "dir": work + "/box", "links": [], "user": None, "capabilities": None,
                       "binds": [[PROJECT + "/test/package", "/mnt"], [os.path.realpath(given[0]), "/srv/package.deb"]],
                       "command": ["python3", "-B", "/mnt/steps.py", "/srv/package.deb"],
                       "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}}, h)
        return subprocess.run(["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child",
                               sys.executable, BOX, work + "/box.json"], stdin=subprocess.DEVNULL, timeout=600).returncode


if __name__ == "__main__":
    sys.exit(main())
