"""The seccomp profile of the backup host: it refuses what no program needs, and the other steps show that it allows the rest."""
import os
import platform
import subprocess

from stack import composefile

EPERM = 1
# numbers of system calls on amd64 and arm64, and arguments with which each ends by itself; without the profile, none is
# refused with EPERM to root
REFUSED = {
    "ptrace": (101, 117, "0, 0, 0, 0"), "process_vm_readv": (310, 270, "0, 0, 0, 0, 0, 0"), "mount": (165, 40, "0, 0, 0, 0, 0"),
    "umount2": (166, 39, "0, 0"), "bpf": (321, 280, "-1, 0, 0"), "keyctl": (250, 219, "-1, 0, 0, 0, 0"), "add_key": (248, 217, "0, 0, 0, 0, 0"),
    "unshare": (272, 97, "1"), "setns": (308, 268, "-1, 0"), "perf_event_open": (298, 241, "0, 0, -1, -1, 0"), "io_uring_setup": (425, 425, "1, 0"),
    "open_by_handle_at": (304, 265, "-1, 0, 0"), "userfaultfd": (323, 282, "-1"), "init_module": (175, 105, "0, 0, 0"), "chroot": (161, 51, "0"),
    "personality": (135, 92, "0x20000"), "socket AF_ALG": (41, 198, "38, 5, 0"), "socket AF_PACKET": (41, 198, "17, 99, 0"),
    "clone CLONE_NEWUSER": (56, 220, "0x10000000 | 0x10000, 0, 0, 0, 0")}    # CLONE_THREAD alone is invalid


def script(architecture):
    """Perl, which is in every Debian, prints the name and the error of each call."""
    column = {"x86_64": 0, "aarch64": 1}[architecture]
    return "".join('$! = 0; syscall(%d, %s); print "%s=", $! + 0, "\\n";' % (call[column], call[2], name) for name, call in REFUSED.items())


def errors(r):
    return {name: int(n) for name, _, n in (line.rpartition("=") for line in r.stdout.decode().splitlines())}


def run(t):
    perl = ["perl", "-e", script(platform.machine())]
    for user in ("cyrus", None):
        r = t.stack.exec("backuphost", *perl, user=user)
        got = errors(r)
        t.expect(got == {n: EPERM for n in REFUSED}, "as %s: %s %s" % (user or "root", {n: e for n, e in got.items() if e != EPERM}, r.stderr.decode()))
    r = t.stack.exec("backuphost", "sh", "-c", "grep -h ^Seccomp: /proc/[0-9]*/status", user=None)
    modes = r.stdout.decode().split("\n")[:-1]
    t.expect(len(modes) > 3 and set(modes) == {"Seccomp:\t2"}, "processes without the profile: %s" % modes)
    r = t.stack.exec("backuphost", "unshare", "--user", "true", user=None)
    t.expect(r.returncode != 0, "unshare has made a namespace")
    t.log("The backup host refuses %s, also to its root" % ", ".join(REFUSED))
    if os.geteuid() == 0:
        alone(t, perl)


def alone(t, perl):
    """Root of this machine may do all this, so here only the profile refuses it."""
    stack = os.path.join(composefile.project(), "test/compose/stack")
    profile = ["python3", "-B", os.path.join(stack, "seccomp.py"), os.path.join(composefile.project(), "build/seccomp.json")]
    free, bound = (errors(subprocess.run([*argv, *perl], capture_output=True)) for argv in ([], profile))
    t.expect(bound == {n: EPERM for n in REFUSED}, "with the profile: %s" % bound)
    refused = [n for n, e in free.items() if e == EPERM]
    t.expect(len(refused) < len(REFUSED) / 3, "refused without the profile, too: %s" % refused)
    t.log("Without the profile, root of this machine is refused %s of them" % (len(refused) or "none"))
