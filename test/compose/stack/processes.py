"""The services of docker-compose.yml as plain processes, for machines without Docker.

Each service has separate namespaces (files, processes, host name, network), with
the same paths as in its container: box.py. The hosts of the services are joined by a
bridge in another namespace. The installed programs replace Docker's images
("make deps minio"). Needs root. Not supported: memory limits and restart.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import box, composefile

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NET = "10.213.77."
ADDRESS_OF_THIS = NET + "1"


def run(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **kw)


class Processes:
    about = "as plain processes, from the same files"

    def __init__(self, env):
        if os.geteuid():
            raise SystemExit("namespaces need root: run this as root, or use Docker")
        self.project = composefile.project()
        self.file = os.path.join(self.project, "docker-compose.yml")
        self.env = {**composefile.read_env(os.path.join(self.project, ".env")), **env}
        self.services = composefile.load(self.file, self.env)
        self.dir = tempfile.mkdtemp(prefix="compose-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.tag = "bc%d" % (os.getpid() % 1000000)
        self.running = {}               # service -> (unshare, its process 1)
        self.programs = os.path.join(self.project, ".cache/compose/sbin")
        self.lan()

    # ---- the network: one bridge, a host for each service, and this machine as .1

    def ns(self, service):
        return "%s-%s" % (self.tag, service)

    def number(self, service):
        return 10 + sorted(self.services).index(service)

    def lan(self):
        lan = self.ns("lan")
        run("ip", "netns", "add", lan)
        run("ip", "-n", lan, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", lan, "link", "set", "br0", "up")
        self.cable("this", None, ADDRESS_OF_THIS)
        hosts = ["127.0.0.1 localhost"]
        for s in self.services:
            run("ip", "netns", "add", self.ns(s))
            run("ip", "-n", self.ns(s), "link", "set", "lo", "up")
            self.cable(str(self.number(s)), self.ns(s), NET + str(self.number(s)))
            hosts.append("%s%d %s" % (NET, self.number(s), s))
        with open(self.dir + "/hosts", "w") as h:
            h.write("\n".join(hosts) + "\n")

    def cable(self, name, ns, address):
        """Connects the bridge to a service's eth0; ns None: to this machine."""
        lan, inside = self.ns("lan"), "eth0" if ns else self.tag
        run("ip", "-n", lan, "link", "add", "p" + name, "type", "veth", "peer", "name", self.tag + "x")
        run("ip", "-n", lan, "link", "set", "p" + name, "master", "br0", "up")
        run("ip", "-n", lan, "link", "set", self.tag + "x", "netns", ns or str(os.getpid()), "name", inside)
        ip = ["ip"] + (["-n", ns] if ns else [])
        run(*ip, "addr", "add", address + "/24", "dev", inside)
        run(*ip, "link", "set", inside, "up")

    # ---- services

    def build(self, log):
        """Builds our programs in the same way as for Docker's images."""
        log("building our programs (build/programs)")
        run(os.path.join(self.project, "build/programs"), self.programs)
        minio = os.path.join(self.project, ".cache/bin/minio")
        if not os.access(minio, os.X_OK):
            raise SystemExit("MinIO's server is missing: run make minio")

    def describe(self, service, command=None):
        """The parameters of box.py."""
        s, binds = self.services[service], [[self.dir + "/hosts", "/etc/hosts"]]
        for v in s["volumes"]:
            source, target = v.split(":")[:2]
            if source.startswith("./"):
                source = os.path.join(self.project, source)
            else:
                source = os.path.join(self.dir, "volumes", source)
                os.makedirs(source, exist_ok=True)
                if "user" in s:
                    os.chown(source, *map(int, s["user"].split(":")))
            binds.append([source, target])
        links = []
        if service == "minio":
            binds.append([os.path.join(self.project, ".cache/bin/minio"), "/usr/local/bin/minio"])
        elif service != "mailhost":
            binds.append([self.programs + "/backup-programs", "/usr/local/sbin/backup-programs"])
            links = [["/usr/local/sbin/" + n, "backup-programs"] for n in os.listdir(self.programs)]
        box = os.path.join(self.dir, "box", service)
        os.makedirs(box, exist_ok=True)
        return {"hostname": s.get("hostname", service), "dir": box, "binds": binds, "links": links,
                "capabilities": s.get("cap_add", []) if s.get("cap_drop") == ["ALL"] else None,
                "seccomp": self.profile(service), "user": s.get("user"), "command": command or s["command"], "environment": self.environment(service)}

    def profile(self, service):
        """The text of the service's seccomp profile, on one line, or None."""
        for o in self.services[service].get("security_opt", []):
            if o.startswith("seccomp:"):
                with open(os.path.join(self.project, o.removeprefix("seccomp:"))) as h:
                    return json.dumps(json.load(h))
        return None

    def environment(self, service):
        return {"PATH": PATH, **{k: str(v) for k, v in self.services[service].get("environment", {}).items()}}

    def up(self, *names, env=None):
        """Starts services after their dependencies, and waits until they are healthy.
        env: values that override .env; a running service is restarted if its values change."""
        self.env.update(env or {})
        self.services = composefile.load(self.file, self.env)
        for name in names:
            self.up(*self.services[name].get("depends_on", {}))
            if name in self.running and self.alive(name):
                if self.running[name][2] == self.environment(name):
                    continue
                self.stop(name)
            self.start(name)
            self.wait(name)

    def box(self, name, service):
        """The command that runs a service in its namespaces."""
        file = os.path.join(self.dir, name + ".json")
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as h:
            json.dump(service, h)
        return ["ip", "netns", "exec", self.ns(name), "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork",
                "--kill-child", sys.executable, os.path.join(os.path.dirname(__file__), "box.py"), file]

    def start(self, name):
        service = self.describe(name)
        log = open(self.logfile(name), "ab")
        p = subprocess.Popen(self.box(name, service), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        end, first = time.time() + 10, ""
        while not first and time.time() < end and p.poll() is None:
            try:
                with open("/proc/%d/task/%d/children" % (p.pid, p.pid)) as h:
                    first = h.read().split()[:1]
            except OSError:
                break  # it has ended
            time.sleep(0.02)
        if not first:
            raise SystemExit("%s did not start:\n%s" % (name, self.log(name)))
        self.running[name] = p, int(first[0]), service["environment"]

    def wait(self, name):
        test = self.services[name]["healthcheck"]["test"]
        if test[0] != "CMD":
            raise SystemExit("healthcheck of %s: only CMD is supported" % name)
        end = time.time() + 60
        while time.time() < end:
            if not self.alive(name):
                raise SystemExit("%s ended:\n%s" % (name, self.log(name)))
            if self.exec(name, *test[1:], user=None).returncode == 0:
                return
            time.sleep(0.2)
        raise SystemExit("%s is not healthy after a minute:\n%s" % (name, self.log(name)))

    def alive(self, name):
        return self.running[name][0].poll() is None

    def exec(self, name, *argv, user="cyrus", input=None, timeout=120):
        """Runs a command in a service's namespaces and with its seccomp profile, like docker-compose exec."""
        argv = box.seccomp({"seccomp": self.profile(name)}, list(argv))
        become = ["setpriv", "--reuid", user, "--regid", "mail", "--init-groups", "--"] if user else []
        return subprocess.run(["nsenter", "--target", str(self.running[name][1]), "--mount", "--uts", "--ipc", "--net",
                               "--pid", "--root", "--wd", *become, *argv], env=self.environment(name), timeout=timeout,
                              input=input, stdin=None if input is not None else subprocess.DEVNULL, capture_output=True)

    def once(self, name, *argv, timeout=120):
        """Runs one command as a service."""
        return subprocess.run(self.box(name, self.describe(name, argv)), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)

    def kill(self, *names):
        """Like a power cut: kills process 1 of each, and the kernel kills the others."""
        for n in names:
            os.kill(self.running[n][1], signal.SIGKILL)
        for n in names:
            self.running[n][0].wait()
            del self.running[n]

    def stop(self, name):
        os.kill(self.running[name][1], signal.SIGTERM)
        try:
            self.running[name][0].wait(15)
        except subprocess.TimeoutExpired:
            return self.kill(name)
        del self.running[name]

    def address(self, service, port):
        return NET + str(self.number(service)), port

    def logfile(self, name):
        return os.path.join(self.dir, name + ".log")

    def log(self, name, lines=60):
        try:
            with open(self.logfile(name), errors="replace") as h:
                return "".join(h.readlines()[-lines:])
        except OSError:
            return ""

    def sizes(self):
        return ["%s: %.1f MB" % (n, os.path.getsize(os.path.join(self.programs, n)) / 1e6) for n in ("backup-programs",)]

    def down(self):
        self.kill(*[n for n in self.running if self.alive(n)])
        for s in [*self.services, "lan"]:
            subprocess.run(["ip", "netns", "del", self.ns(s)], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)
