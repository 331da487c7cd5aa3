"""Logins: each mechanism by both clients of Cyrus, with each kind of TLS."""
import base64
import os
import re
import socket
import ssl
import subprocess
import threading

from cyruslab import client, host, instance
from cyruslab.imap import PASSWORD

from .base import scenario
from .material import msg

MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
ACCOUNTS = {"right": (instance.REPL, PASSWORD), "wrong": (instance.REPL, "wrong"), "unknown": ("mallory", PASSWORD)}


class Tunnel:
    """A port in clear for a server with TLS from the first byte, as stunnel makes it: neither client of
    Cyrus can begin with TLS ("protocol cannot be SSL-wrapped")."""

    def __init__(self, to):
        self.to, self.listener = to, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            with c:
                subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:%d" % self.to],
                                 stdin=c, stdout=c, stderr=subprocess.DEVNULL)

    def close(self):
        self.listener.close()


class Listener:
    """A server that offers STARTTLS and then SCRAM-SHA-256 beside PLAIN, and notes with what a login begins."""

    def __init__(self, x):
        crt, key = certificate(x, "listener")
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(crt, key)
        self.begun, self.listener = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                self.login(self.listener.accept()[0])
            except ssl.SSLError:
                continue
            except OSError:
                return

    def login(self, plain):
        with plain:
            plain.sendall(b"* STARTTLS\r\n* OK listener ready\r\n")
            with plain.makefile("rb", buffering=0) as f:
                if not f.readline().startswith(b"STARTTLS"):
                    return
            plain.sendall(b"OK Begin TLS negotiation now\r\n")
            with self.tls.wrap_socket(plain, server_side=True) as s, s.makefile("rb") as f:
                s.sendall(b"* SASL PLAIN SCRAM-SHA-256\r\n* OK listener ready\r\n")
                words = f.readline().split()
                while words and words[0] != b"AUTHENTICATE":
                    words = f.readline().split()
                if len(words) == 3:
                    self.begun.append((s.version(), words[1].decode(), base64.b64decode(words[2]).decode()))


def certificate(x, name):
    """A certificate for a client, by itself an authority, with its key."""
    key, crt = x.lab.path("src", name + ".key"), x.lab.path("src", name + ".crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=" + name.partition("-")[0],
                    "-keyout", key, "-out", crt], check=True, capture_output=True)
    for f in (key, crt):
        os.chmod(f, 0o644)
    return crt, key


class Logins:
    """The logins of one server, each seen by its client and in the server's log."""

    def __init__(self, x, layer, port, starttls):
        self.x, self.layer, self.port, self.starttls = x, layer, port, starttls
        self.mark = len(self.lines())

    def lines(self):
        return [line for _, line in self.x.logged() if "-backup/" in line and re.search(r"(bad)?login: ", line)]

    def expect(self, who, mechanism, account):
        """The log has at least one login of this kind, and none of another kind, since the last call."""
        step, user = "-".join((self.layer, who, mechanism, account)), ACCOUNTS[account][0]
        host.wait_for(lambda: len(self.lines()) > self.mark, 20, "a line about the login: " + step)
        lines = self.lines()[self.mark:]
        self.mark += len(lines)
        if account == "right":
            protection = "" if self.layer == "clear" else r"\+TLS"
            want = r"\blogin: .* %s %s%s User logged in" % (user, mechanism, protection)
        else:
            want = r"badlogin: .* %s \[.*user %s\]" % (mechanism, user)
        bad = [line for line in lines if not re.search(want, line)]
        self.x.expect(step, not bad, "the log has %s" % bad)

    def synctest(self, mechanism, account):
        user, password = ACCOUNTS[account]
        argv = [host.tool("synctest"), "-m", mechanism, "-a", user, "-u", user, "-w", password, "-p", str(self.port),
                *(("-t", "") if self.starttls else ()), "127.0.0.1"]
        r = subprocess.run(argv, input=b"EXIT\r\n", capture_output=True, cwd="/", timeout=30, env={"PATH": host.PATH})
        said = r.stdout.decode("utf-8", "replace")
        want = "Authenticated." if account == "right" else "Authentication failed."
        self.x.expect("-".join((self.layer, "synctest", mechanism, account)), want in said, said[-500:])
        self.expect("synctest", mechanism, account)

    def sync_client(self, mechanism, account):
        user, password = ACCOUNTS[account]
        step = "-".join((self.layer, "sync_client", mechanism, account))
        sets = {"backup_sync_authname": user, "backup_sync_password": password, "backup_sync_port": str(self.port),
                "force_sasl_client_mech": mechanism}
        run = client.Run(self.x.lab, "backup", ("-u", "kai"), sets=sets)
        if account != "right":      # it tries for ever
            host.wait_for(lambda: len(self.lines()) > self.mark, 20, "a failed login: " + step)
            run.kill()
        r = run.finish(30)
        self.x.note(step, ("-u", "kai"), r)
        self.x.expect(step, (r["rc"] == 0) == (account == "right"), "sync_client ended with %s: %s" % (r["rc"], r["out"][-300:]))
        self.expect("sync_client", mechanism, account)

    def matrix(self):
        for mechanism in MECHANISMS:
            for account in ACCOUNTS:
                self.synctest(mechanism, account)
                self.sync_client(mechanism, account)


@scenario("logins", tls=True, stores=("dir",), conf={"allowplaintext": "yes", "failedloginpause": "0"})
def matrix(x):
    "each mechanism with a right and a wrong password and an unknown user: in clear, with STARTTLS, with TLS from the first byte"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    Logins(x, "clear", client.server_port(x.lab, "backup"), False).matrix()
    instance.stop_master(x.backup)
    x.start_backup(conf={"tls_required": "yes"})
    Logins(x, "starttls", client.server_port(x.lab, "backup"), True).matrix()
    instance.stop_master(x.backup)
    x.start_backup(args="-s")
    tunnel = Tunnel(client.server_port(x.lab, "backup"))
    try:
        Logins(x, "wrapped", tunnel.port, False).matrix()
    finally:
        tunnel.close()


@scenario("external", tls=True, stores=("dir",), conf={"tls_required": "yes", "failedloginpause": "0"})
def external(x):
    "logins by certificate: of an admin, of another authority, of somebody who is not an admin, and none"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    known = {n: certificate(x, n) for n in (instance.REPL, "mallory")}
    authorities = x.lab.path("backup", "clients.pem")
    with open(authorities, "w") as out:
        for crt, _ in known.values():
            with open(crt) as h:
                out.write(h.read())

    def serve(mechanisms):
        instance.stop_master(x.backup)
        x.start_backup(passwd=False, conf={"tls_client_ca_file": authorities, "sasl_mech_list": mechanisms})

    def options(crt, key):
        return {"tls_client_cert": crt, "tls_client_key": key, "backup_sync_password": "wrong"}

    def said(text):
        return [line for _, line in x.logged() if text in line]

    serve("PLAIN SCRAM-SHA-256 EXTERNAL")
    x.sync("forced", "-u", "kai", readable=False, sets={**options(*known[instance.REPL]), "force_sasl_client_mech": "EXTERNAL"})
    x.expect("forced", said("login: [127.0.0.1] repl EXTERNAL+TLS User logged in"), "no login by certificate is in the log")
    serve("EXTERNAL")
    x.sync("only-offered", "-u", "kai", readable=False, again=False, sets=options(*known[instance.REPL]))
    x.sync("not-an-admin", "-u", "kai", rc=1, readable=False, sets=options(*known["mallory"]))
    x.expect("not-an-admin", said("login: [127.0.0.1] mallory EXTERNAL+TLS"), "mallory's certificate was not used")
    n = len(said(" EXTERNAL+TLS "))
    x.sync("other-authority", "-u", "kai", rc="bad", readable=False, timeout=5, sets=options(*certificate(x, instance.REPL + "-other")))
    x.expect("other-authority", said("signed by unknown authority"), "the certificate of another authority was not refused")
    x.sync("none", "-u", "kai", rc="bad", readable=False, timeout=5)
    x.expect("none", len(said(" EXTERNAL+TLS ")) == n, "a client without a certificate has logged in")


@scenario("binding", tls=True, stores=("dir",), conf={"tls_required": "yes", "failedloginpause": "0"})
def binding(x):
    "channel binding: sync_client does not support it, and synctest, which does, logs in without it"
    x.user("kai")
    x.imap("kai").append("INBOX", [(msg("k"), [], None)])
    listener = Listener(x)
    user = instance.REPL
    synctest = [host.tool("synctest"), "-a", user, "-u", user, "-w", PASSWORD, "-t", "", "-p"]

    def begins(step, flag):
        host.wait_for(lambda: listener.begun, 20, "a login: " + step)
        want = r"%s,(a=%s)?,n=%s," % (flag, user, user)
        x.expect(step, all((v, m) == ("TLSv1.3", "SCRAM-SHA-256") and re.match(want, c) for v, m, c in listener.begun), "%s, not %s" % (listener.begun, want))
        listener.begun.clear()

    run = client.Run(x.lab, "backup", ("-u", "kai"), sets={"backup_sync_port": str(listener.port)})
    begins("sync_client", "n")
    run.kill()
    x.note("sync_client", ("-u", "kai"), run.finish(30))
    subprocess.run([*synctest, str(listener.port), "127.0.0.1"], input=b"", capture_output=True, timeout=30, cwd="/", env={"PATH": host.PATH})
    begins("synctest", "y")
    listener.listener.close()
    port = client.server_port(x.lab, "backup")
    r = subprocess.run([*synctest, str(port), "127.0.0.1"], input=b"EXIT\r\n", capture_output=True, timeout=30, cwd="/", env={"PATH": host.PATH})
    x.expect("login", b"Authenticated." in r.stdout, r.stdout[-500:])
    x.sync("sync", "-u", "kai", readable=False)
