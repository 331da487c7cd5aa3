"""box.py FILE.json: turns into one service, in its current namespaces.

A simple container: the machine's file system below an overlay, so that it is not
changed; the mounts of the compose file; separate /dev, /proc and host name;
user and capabilities of the compose file. Process 1 is the service's command.
"""
import json
import os
import subprocess
import sys


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def root(d):
    """An overlay over / with its upper layer in memory."""
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "box", d)
    for sub in ("upper", "work", "root"):
        os.mkdir(os.path.join(d, sub), 0o755)
    new = os.path.join(d, "root")
    mount("-t", "overlay", "-o", "lowerdir=/,upperdir=%s/upper,workdir=%s/work" % (d, d), "box", new)
    for fs, mode in (("dev", "755"), ("run", "755"), ("tmp", "1777")):
        mount("-t", "tmpfs", "-o", "mode=" + mode, "box", "%s/%s" % (new, fs))
    for name in ("null", "zero", "random", "urandom", "tty"):
        os.mknod("%s/dev/%s" % (new, name), 0o20666, os.stat("/dev/" + name).st_rdev)
        os.chmod("%s/dev/%s" % (new, name), 0o666)
    os.mkdir(new + "/dev/shm", 0o1777)
    os.symlink("/proc/self/fd", new + "/dev/fd")
    mount("-t", "proc", "proc", new + "/proc")
    mount("-t", "sysfs", "-o", "ro", "sysfs", new + "/sys")
    return new


def bind(source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            open(target, "w").close()
    mount("--bind", source, target)


def seccomp(s, argv):
    """Puts the service's profile before its command."""
    if not s.get("seccomp"):
        return argv
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "seccomp.py")) as h:
        return ["python3", "-c", h.read(), s["seccomp"], *argv]


def main():
    with open(sys.argv[1]) as h:
        s = json.load(h)
    subprocess.run(["hostname", s["hostname"]], check=True)
    new = root(s["dir"])
    for source, target in s["binds"]:
        bind(source, new + target)
    for path, to in s["links"]:
        if not os.path.lexists(new + path):
            os.symlink(to, new + path)
    argv = seccomp(s, ["setpriv"])
    os.chroot(new)
    os.chdir("/")
    if s["capabilities"] is not None:
        argv.append("--bounding-set=" + ",".join(["-all"] + ["+" + c.lower() for c in s["capabilities"]]))
    if s["user"]:
        uid, gid = s["user"].split(":")
        argv += ["--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=-all"]
    os.execvpe(argv[0], argv + ["--", *s["command"]], s["environment"])


if __name__ == "__main__":
    main()
