"""The server under test: our backupd under a real master, and its stores."""
import hashlib
import hmac
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from . import instance
from .host import PATH, as_cyrus, cmdline, die, free_port, mkdirs, need_root, wait_for
from .host import tool as cyrus_tool
from .imap import PASSWORD

TOOLS = ("backupd", "cyr_backup", "ctl_backups")


class Minio:
    """A MinIO server with its own directory."""

    USER, SECRET, BUCKET = "backup-lab", "backup-lab-secret", "mail"

    def __init__(self, binary, path):
        self.binary, self.path, self.port, self.proc = binary, path, free_port(), None
        # the bucket: a directory in MinIO's single-drive layout
        os.makedirs(os.path.join(path, self.BUCKET), exist_ok=True)
        self.start()

    def start(self):
        env = {"PATH": PATH, "HOME": self.path, "MINIO_ROOT_USER": self.USER,
               "MINIO_ROOT_PASSWORD": self.SECRET, "MINIO_BROWSER": "off",
               "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off"}
        log = open(self.path + ".log", "ab")
        self.proc = subprocess.Popen([self.binary, "server", "--quiet", "--address",
                                      "127.0.0.1:%d" % self.port, self.path], env=env, cwd="/",
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        wait_for(self.healthy, 30, "MinIO (see %s.log)" % self.path)

    def healthy(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            c.request("GET", "/minio/health/cluster")
            return c.getresponse().status == 200
        except OSError:
            return False
        finally:
            c.close()

    def stop(self):
        self.proc.kill()
        self.proc.wait()

    def freeze(self):
        self.proc.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.proc.send_signal(signal.SIGCONT)

    def keep_versions(self):
        """Turns on versioning of the bucket (S3: PutBucketVersioning, Signature Version 4)."""
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        host, at = "127.0.0.1:%d" % self.port, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = [at[:8], "us-east-1", "s3", "aws4_request"]
        head = {"host": host, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": at}
        names = ";".join(sorted(head))
        request = "\n".join(["PUT", "/" + self.BUCKET, "versioning=", *("%s:%s" % h for h in sorted(head.items())), "", names,
                             head["x-amz-content-sha256"]])
        key = b"AWS4" + self.SECRET.encode()
        for part in scope + ["\n".join(["AWS4-HMAC-SHA256", at, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])]:
            key = hmac.new(key, part.encode(), "sha256").digest()
        head["authorization"] = "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s" % (
            "/".join([self.USER, *scope]), names, key.hex())
        c = http.client.HTTPConnection(host, timeout=10)
        c.request("PUT", "/%s?versioning=" % self.BUCKET, body, head)
        r = c.getresponse()
        if r.status != 200:
            die("PutBucketVersioning: %d: %s" % (r.status, r.read()[:300]))
        c.close()

    def has(self, needle):
        """The files of MinIO's drive that have these bytes: of objects and of former versions."""
        out = []
        for d, _, files in os.walk(os.path.join(self.path, self.BUCKET)):
            for f in files:
                with open(os.path.join(d, f), "rb") as h:
                    if needle in h.read():
                        out.append(os.path.relpath(os.path.join(d, f), self.path))
        return sorted(out)

    @property
    def location(self):
        return "minio://127.0.0.1:%d/%s/backups?tls=no" % (self.port, self.BUCKET)

    @property
    def env(self):
        return {"AWS_ACCESS_KEY_ID": self.USER, "AWS_SECRET_ACCESS_KEY": self.SECRET}


class Saslauthd:
    """Replaces saslauthd(8): the same socket and the same four counted strings
    (user, password, service, realm), one password for all users."""

    def __init__(self, path):
        mkdirs(path)
        self.path, self.asked = path, []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path + "/mux")
        os.chmod(path + "/mux", 0o777)
        self.sock.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with c, c.makefile("rb") as f:
                user, password, service, realm = (
                    f.read(struct.unpack(">H", f.read(2))[0]).decode() for _ in range(4))
                self.asked.append((user, service, realm))
                answer = b"OK" if password == PASSWORD else b"NO"
                c.sendall(struct.pack(">H", len(answer)) + answer)

    def stop(self):
        self.sock.close()


def backup_server(lab, bindir, store="dir", minio=None, name="backup", sets=None, env=None,
                  args="", listen=None, service_opts="prefork=0", tls=False, passwd=True,
                  strace=None, start=True):
    """Starts (or replaces) the instance that runs the binaries of bindir under master."""
    need_root()
    base = lab.path(name)
    if name in lab.state["instances"]:
        instance.stop_master(lab.inst(name))
    mkdirs(base, base + "/bin", base + "/store")
    for t in TOOLS:
        given = os.path.join(bindir, t)
        if not os.path.isfile(given):
            die("%s: no such program" % given)
        # copied, so that the cyrus user can certainly execute it
        shutil.copy(given, "%s/bin/%s.new" % (base, t))
        os.chmod("%s/bin/%s.new" % (base, t), 0o755)
        os.replace("%s/bin/%s.new" % (base, t), "%s/bin/%s" % (base, t))
    conf = {"backuppartition-default": minio.location if store == "minio" else base + "/store",
            "sasl_mech_list": "PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256"}
    for k in ("altnamespace", "unixhierarchysep", "virtdomains", "defaultdomain"):
        v = lab.inst("src")["config"].get(k)
        if v is not None:
            conf[k] = v
    if tls:
        key, crt = instance.tls_files(base)
        conf.update({"tls_server_cert": crt, "tls_server_key": key})
    inst = instance.make_instance(lab, name, [instance.Service(
        "backupd", "%s/bin/backupd -C %%C%s" % (base, " " + args if args else ""), listen,
        service_opts)], conf, {**unset_sasldb(), **(sets or {})}, sasldb=False)
    inst.update(kind="backupd", env={**(minio.env if store == "minio" else {}), **(env or {})})
    lab.save()
    if passwd:
        r = tool(lab, "ctl_backups", "passwd", instance.REPL, name=name, input=PASSWORD.encode())
        if r.returncode:
            die("ctl_backups passwd: rc %d: %s" % (r.returncode, r.stderr.decode()))
    if start:
        instance.start_master(inst, env=inst["env"], strace=strace)
        lab.save()
    return inst


def reference_server(lab, name="reference", sets=None, service_opts="prefork=0"):
    """Debian's backupd (Cyrus Backups), for comparison."""
    base = lab.path(name)
    mkdirs(base, base + "/store", base + "/spool")
    inst = instance.make_instance(lab, name, [instance.Service(
        "backupd", cyrus_tool("backupd") + " -C %C", None, service_opts)], {
            "backuppartition-default": base + "/store", "defaultpartition": "default",
            # it requires an ordinary partition as well
            "partition-default": base + "/spool"}, sets or {})
    inst["kind"] = "reference"
    instance.start_master(inst)
    lab.save()
    return inst


def unset_sasldb():
    # an empty value leaves the option out: backupd has its own credentials file
    return {"sasl_pwcheck_method": "", "sasl_auxprop_plugin": "", "sasl_sasldb_path": ""}


def tool(lab, program, *args, name="backup", input=None, timeout=120):
    """Runs one of our tools with the instance's configuration, as the cyrus user. A lab with
    instances elsewhere (test/compose) overrides this."""
    if hasattr(lab, "run_tool"):
        return lab.run_tool(program, *args, name=name, input=input, timeout=timeout)
    i = lab.inst(name)
    return subprocess.run(["%s/bin/%s" % (i["base"], program), "-C", i["conf"], *args],
                          input=input, stdin=None if input is not None else subprocess.DEVNULL,
                          capture_output=True, cwd="/", timeout=timeout,
                          env={"PATH": PATH, **i.get("env", {})}, **as_cyrus())


def ndjson(lab, *args, name="backup"):
    r = tool(lab, "cyr_backup", *args, name=name)
    if r.returncode:
        die("cyr_backup %s: rc %d: %s" % (" ".join(args), r.returncode, r.stderr.decode("utf-8", "replace")[-600:]))
    return [json.loads(l) for l in r.stdout.splitlines() if l.strip()]


def processes(inst):
    """Ids of the backupd processes of an instance."""
    out = []
    for p in os.listdir("/proc"):
        if p.isdigit() and cmdline(int(p)).startswith(inst["base"] + "/bin/backupd "):
            out.append(int(p))
    return out


def end_processes(inst, sig=signal.SIGTERM, wait=20):
    """Signals the instance's backupd processes and waits until they have ended."""
    pids = processes(inst)
    for p in pids:
        try:
            os.kill(p, sig)
        except ProcessLookupError:
            pass  # it has ended by itself
    wait_for(lambda: not set(pids) & set(processes(inst)), wait, "backupd to end")
    return pids


class Gate:
    """An HTTP proxy in front of MinIO that can refuse: None, "denied" (403) or "away" (no answer)."""

    def __init__(self, port):
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if gate.trouble == "away":
                    self.close_connection = True
                    return
                if gate.trouble == "denied":
                    return self.answer(403, {}, b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>"
                                                b"<Message>Access Denied.</Message></Error>")
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    c.request(self.command, self.path, body, dict(self.headers))
                    r = c.getresponse()
                    self.answer(r.status, r.headers, r.read(), r.headers.get("Content-Length"))
                finally:
                    c.close()

            def answer(self, status, headers, body, length=None):
                self.send_response_only(status)
                for k, v in headers.items():
                    if k.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(k, v)
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

            def log_message(self, *args):
                pass

        self.trouble = None
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def location(self, bucket, prefix):
        return "minio://127.0.0.1:%d/%s/%s?tls=no" % (self.server.server_port, bucket, prefix)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
