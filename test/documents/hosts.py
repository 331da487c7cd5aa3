"""Hosts of a test: this machine below an overlay, each with its own network, processes and files."""
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.realpath(os.path.join(HERE, "../.."))
BOX = os.path.join(PROJECT, "test/compose/stack/box.py")
NET = "10.213.78."
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}


# what the processes of a host wait for; a backupd ends, and leaves its stacks
STUCK = ("ps -eo pid,ppid,stat,wchan:24,args; pkill -ABRT -x backupd; sleep 1; "
         "cat /var/lib/cyrus/backupd-crashes/* /srv/*/backupd-crashes/* 2>/dev/null | head -c 30000")


class Failed(Exception):
    pass


def bridge():
    """The network between the hosts, in the namespace of this process."""
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "br0", "up"], check=True)


class Host:
    def __init__(self, work, name, number, names, binds):
        self.name = name
        box = "%s/box-%d" % (work, number)
        os.makedirs(box)
        hosts = "%s/hosts-%d" % (work, number)
        with open(hosts, "w") as h:
            h.write("127.0.0.1 localhost\n" + "".join("%s%d %s\n" % (NET, n, x) for n, x in names.items()))
        with open(box + ".json", "w") as h:
            json.dump({"hostname": name, "dir": box, "links": [], "user": None, "capabilities": None,
                       "binds": [[hosts, "/etc/hosts"], [HERE, "/mnt"], *binds],
                       "command": ["python3", "-B", "/mnt/init.py"], "environment": ENVIRONMENT}, h)
        self.process = subprocess.Popen(["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child",
                                         sys.executable, BOX, box + ".json"], stdin=subprocess.DEVNULL)
        self.pid = self.first_process()
        self.cable(number)
        self.wait(lambda: self.run("test -e /run/ready", rc=None)[0] == 0, "syslog")

    def first_process(self):
        children, end = "/proc/%d/task/%d/children" % ((self.process.pid,) * 2), time.time() + 20
        while time.time() < end and self.process.poll() is None:
            try:
                with open(children) as h:
                    pids = h.read().split()
            except OSError:
                break  # it has ended
            if pids:
                return int(pids[0])
            time.sleep(0.02)
        raise Failed("%s did not start" % self.name)

    def cable(self, number):
        ip = ["nsenter", "--target", str(self.pid), "--net", "ip"]
        subprocess.run(["ip", "link", "add", "p%d" % number, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)], check=True)
        subprocess.run(["ip", "link", "set", "p%d" % number, "master", "br0", "up"], check=True)
        subprocess.run([*ip, "link", "set", "lo", "up"], check=True)
        subprocess.run([*ip, "addr", "add", "%s%d/24" % (NET, number), "dev", "eth0"], check=True)
        subprocess.run([*ip, "link", "set", "eth0", "up"], check=True)

    def run(self, line, rc=0, timeout=240, answer=None):
        """Runs a command line as root would type it, at a terminal if it has a question to answer. Returns status and output."""
        began, terminal = time.time(), ()
        if answer is not None:
            terminal = os.openpty()
            os.write(terminal[0], answer.encode() + b"\n")
        try:
            r = subprocess.run(["nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
                                "sh", "-c", line], env=ENVIRONMENT, stdin=terminal[1] if terminal else subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        except subprocess.TimeoutExpired:
            if line != STUCK:
                print("---- the processes of %s:\n%s" % (self.name, self.run(STUCK, rc=None)[1]), flush=True)
            raise
        finally:
            for fd in terminal:
                os.close(fd)
        said = r.stdout.decode("utf-8", "replace")
        if time.time() - began > 2:
            print("  %4.1f s  %s# %s" % (time.time() - began, self.name.split(".")[0], line), flush=True)
        if rc is not None and r.returncode != rc:
            raise Failed("%s# %s\nstatus %d, not %d:\n%s" % (self.name, line, r.returncode, rc, said))
        return r.returncode, said

    def root(self, path):
        return "/proc/%d/root%s" % (self.pid, path)

    def write(self, path, text, mode="w"):
        with open(self.root(path), mode) as h:
            h.write(text)

    def log(self):
        with open(self.root("/var/log/mail.log"), errors="replace") as h:
            return h.read()

    def wait(self, true, what, seconds=120):
        end = time.time() + seconds
        while not true():
            if time.time() > end:
                raise Failed("%s: %s: not after %d s" % (self.name, what, seconds))
            time.sleep(0.05)

    def listens(self, port):
        self.wait(lambda: self.run("ss -ltn 'sport = :%d' | grep -q LISTEN" % port, rc=None)[0] == 0, "port %d" % port)
