"""The services of docker-compose.yml, run by Docker: Compose 1.29 (docker-compose) or 2 (docker compose)."""
import os
import shutil
import socket
import subprocess
import time

from . import composefile

PORTS = {("mailhost", 1143): "IMAP_PORT", ("mailhost", 2003): "LMTP_PORT", ("mailhost", 4190): "SIEVE_PORT",
         ("backuphost", 2005): "BACKUP_PORT", ("minio", 9000): "MINIO_PORT",
         ("backuphost2", 2005): "BACKUP2_PORT", ("backuphost-s3", 2005): "BACKUP_S3_PORT"}
PROFILES = "two-hosts,s3,tools"
IMAGES = ("backuphost", "tools", "mailhost", "minio")       # a service for each image; the other services share them


def compose():
    """The command for Compose on this machine."""
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise SystemExit("Compose is missing: install docker-compose, or Docker's docker-compose-plugin")


def answers():
    """Does a Docker daemon answer?"""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def free_ports(n):
    """Free ports, so that a running project keeps its own."""
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Docker:
    about = "by Docker"

    def __init__(self, env):
        self.compose, self.project, self.name = compose(), composefile.project(), "backupd-try-%d" % os.getpid()
        self.ports = dict(zip(PORTS, free_ports(len(PORTS))))
        self.env = {**os.environ, "COMPOSE_PROFILES": PROFILES, **{PORTS[k]: str(p) for k, p in self.ports.items()}, **env}

    def call(self, *argv, check=True, **kw):
        r = subprocess.run([*self.compose, "-p", self.name, *argv], cwd=self.project, env=self.env,
                           capture_output=True, **kw)
        if check and r.returncode:
            said = (r.stdout + r.stderr).decode("utf-8", "replace")
            raise SystemExit("%s %s: status %d\n%s" % (" ".join(self.compose), " ".join(argv), r.returncode, said[-3000:]))
        return r

    def build(self, log):
        log("building the images (the first time takes many minutes: MinIO is compiled)")
        for name in IMAGES:
            start = time.time()
            self.call("build", name)
            log("built the image of %s in %d s" % (name, time.time() - start))

    def up(self, *names, env=None):
        """Starts services after their dependencies, and waits until they are healthy.
        env: values that override .env; a running service is recreated if its values change."""
        self.env.update(env or {})
        self.call("up", "-d", *names)
        end = time.time() + 180
        for n in names:
            while self.health(n) != "healthy":
                if time.time() > end:
                    raise SystemExit("%s is not healthy after three minutes:\n%s" % (n, self.log(n)))
                time.sleep(0.5)

    def health(self, name):
        ident = self.call("ps", "-q", name).stdout.decode().strip()
        r = subprocess.run(["docker", "inspect", "-f", "{{.State.Health.Status}}", ident], capture_output=True)
        return r.stdout.decode().strip()

    def exec(self, name, *argv, user="cyrus", input=None, timeout=120):
        return self.call("exec", "-T", *(["--user", user] if user else []), name, *argv, check=False,
                         timeout=timeout, input=input or b"")

    def once(self, name, *argv, timeout=120):
        """Runs one command in a new container."""
        return self.call("run", "--rm", "-T", name, *argv, check=False, timeout=timeout, stdin=subprocess.DEVNULL)

    def kill(self, *names):
        self.call("kill", *names)

    def address(self, service, port):
        return "127.0.0.1", self.ports[service, port]

    def log(self, name, lines=60):
        return self.call("logs", "--tail", str(lines), name, check=False).stdout.decode("utf-8", "replace")

    def sizes(self):
        r = subprocess.run(["docker", "images", "--format", "{{.Repository}}: {{.Size}}"], capture_output=True, check=True)
        return sorted(l for l in r.stdout.decode().splitlines() if l.startswith("backupd/"))

    def down(self):
        self.call("down", "-v", check=False)
