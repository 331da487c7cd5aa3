"""Instances of Cyrus in one directory: a source, and servers to replicate to."""
import collections
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

from .host import (PATH, alive, cmdline, cyrus_ids, die, ensure_sink, free_port, listening,
                   mkdirs, need_root, tool, wait_for, write)
from .imap import ADMIN, PASSWORD, Imap, Sieve, q

REPL = "repl"                   # login of sync_client (an admin of the servers)


class Lab:
    def __init__(self, path, must_exist=True):
        self.dir = os.path.abspath(path)
        self.file = os.path.join(self.dir, "lab.json")
        self.state = {"instances": {}}
        if os.path.exists(self.file):
            with open(self.file) as h:
                self.state = json.load(h)
        elif must_exist:
            die("%s is not a lab: run 'cyrus-lab up %s'" % (self.dir, self.dir))

    def save(self):
        tmp = self.file + ".tmp"
        with open(tmp, "w") as h:
            json.dump(self.state, h, indent=1, sort_keys=True)
        os.replace(tmp, self.file)

    def inst(self, name):
        try:
            return self.state["instances"][name]
        except KeyError:
            die("no instance %r in %s (have: %s)" %
                (name, self.dir, ", ".join(self.state["instances"]) or "none"))

    @property
    def tag(self):
        return self.state["tag"]

    def path(self, *p):
        return os.path.join(self.dir, *p)


def check_dir(d):
    if len(d) > 60:
        die("DIR is too long (%d > 60 characters): Cyrus unix sockets would not fit" % len(d))
    p = d
    os.makedirs(d, exist_ok=True)
    os.chmod(d, 0o755)
    while True:
        if not os.stat(p).st_mode & 0o001:
            die("%s is not searchable by the cyrus user (chmod o+x it, or pick another DIR)" % p)
        if p == "/":
            return
        p = os.path.dirname(p)


def parse_set(items):
    out = {}
    for i in items or []:
        if "=" not in i:
            die("--set wants key=value, got %r" % i)
        k, v = i.split("=", 1)
        out[k.strip()] = v.strip()
    return out


def read_conf(path):
    """imapd.conf syntax -> dict; later lines win."""
    out = {}
    with open(path) as h:
        for n, line in enumerate(h, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if ":" not in line:
                die("%s:%d: not 'option: value'" % (path, n))
            k, v = line.split(":", 1)
            out[k.strip()] = v.strip()
    return out


def conf_text(d):
    # Cyrus refuses a configuration with an empty value, so such an option is left out
    return "".join("%s: %s\n" % kv for kv in d.items() if kv[1] != "")


def sasl_user(dbpath, realm, name, password=PASSWORD):
    if "@" in name:
        name, realm = name.split("@", 1)
    r = subprocess.run(["/usr/sbin/saslpasswd2", "-p", "-c", "-f", dbpath, "-u", realm, name],
                       input=password.encode(), capture_output=True)
    if r.returncode:
        die("saslpasswd2 failed: " + r.stderr.decode())
    uid, gid, _ = cyrus_ids()
    os.chown(dbpath, uid, gid)
    os.chmod(dbpath, 0o640)


def tls_files(base):
    key, crt = base + "/tls.key", base + "/tls.crt"
    if not os.path.exists(crt):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", crt], check=True, capture_output=True)
        uid, gid, _ = cyrus_ids()
        for f in (key, crt):
            os.chown(f, uid, gid)
            os.chmod(f, 0o640)
    return key, crt


# listen None: 127.0.0.1 and a free port; "%P" is replaced by a free port
Service = collections.namedtuple("Service", "name cmd listen opts", defaults=(None, "prefork=0"))


def make_instance(lab, name, services, conf, extra, sasldb=True):
    """Writes imapd.conf and cyrus.conf of one instance; extra wins over conf."""
    base = lab.path(name)
    c = base + "/conf"
    mkdirs(base, c, *[c + "/" + x for x in
                      "db socket log proc msg ptclient quota user sync lock temp backup".split()])
    realm = name + ".lab.test"
    full = {
        "configdirectory": c,
        "servername": realm,
        "admins": "%s %s" % (ADMIN, REPL),
        "allowplaintext": "yes",
        "allowanonymouslogin": "no",
        "sasl_pwcheck_method": "auxprop",
        "sasl_auxprop_plugin": "sasldb",
        "sasl_sasldb_path": base + "/sasldb2",
        "sasl_mech_list": "PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256",
        "temp_path": c + "/temp",
        "syslog_prefix": "%s-%s" % (lab.tag, name),
        "duplicatesuppression": "no",
        "syslog_facility": "LOCAL6",
    }
    full.update(conf)
    full.update(extra)
    write(base + "/imapd.conf", conf_text(full))
    ports, text = {}, "START {\n"
    ic = base + "/imapd.conf"
    text += '  recover cmd="%s -C %s -r"\n}\nSERVICES {\n' % (tool("ctl_cyrusdb"), ic)
    for svc, cmd, listen, opts in services:
        listen = listen or "127.0.0.1:%P"
        if "%P" in listen:
            ports[svc] = free_port()
            listen = listen.replace("%P", str(ports[svc]))
        text += '  %s cmd="%s" listen="%s" %s\n' % (svc, cmd.replace("%C", ic), listen, opts)
    text += "}\nEVENTS {\n}\n"
    write(base + "/cyrus.conf", text)
    for u in (ADMIN, REPL) if sasldb else ():
        sasl_user(base + "/sasldb2", realm, u)
    lab.state["instances"][name] = {
        "conf": ic, "cyrus_conf": base + "/cyrus.conf", "ports": ports, "base": base,
        "realm": realm, "pidfile": base + "/master.pid", "kind": "", "config": full}
    lab.save()
    return lab.state["instances"][name]


def start_master(inst, env=None, strace=None):
    need_root()
    ensure_sink()
    pid = master_pid(inst)
    if pid:
        die("a master for %s already runs (pid %d)" % (inst["base"], pid))
    if os.path.exists(inst["pidfile"]):
        os.unlink(inst["pidfile"])
    argv = [tool("master"), "-C", inst["conf"], "-M", inst["cyrus_conf"], "-p", inst["pidfile"],
            "-d", "-L", inst["base"] + "/master.out"]
    if strace:
        argv = ["strace", "-ff", "-tt", "-s", "256", "-yy", "-o", strace] + argv
    inst["env"] = dict(env or {}) or inst.get("env", {})        # kept for a later start
    e = {"PATH": PATH, "LANG": "C.UTF-8", **inst["env"]}
    open(inst["base"] + "/master.out", "a").close()
    r = subprocess.Popen(argv, env=e, cwd="/", stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         start_new_session=True)

    def ready():
        if r.poll():
            die("master exited with %d" % r.returncode)
        return master_pid(inst) and all(listening(p) for p in inst["ports"].values())
    wait_for(ready, 25, "the master of %s to listen (see 'cyrus-lab log')" % inst["base"])


def master_pid(inst):
    try:
        with open(inst["pidfile"]) as h:
            pid = int(h.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pid if alive(pid) and inst["pidfile"] in cmdline(pid) else 0


def stop_master(inst):
    pid = master_pid(inst)
    if pid:
        os.kill(pid, signal.SIGTERM)
        end = time.time() + 15
        while alive(pid) and time.time() < end:
            time.sleep(0.05)
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    # stragglers: processes whose arguments name this instance's own config file
    for p in os.listdir("/proc"):
        if p.isdigit() and int(p) != os.getpid():
            c = cmdline(int(p))
            if ("-C " + inst["conf"]) in c:
                try:
                    os.kill(int(p), signal.SIGKILL)
                except OSError:
                    pass
    if os.path.exists(inst["pidfile"]):
        os.unlink(inst["pidfile"])


# ---- the source

def up(path, sets=None, tls=False):
    """Makes (or restarts) the source: imapd, sync_server, timsieved, lmtpd."""
    need_root()
    d = os.path.abspath(path)
    check_dir(d)
    lab = Lab(d, must_exist=False)
    if "src" in lab.state["instances"]:
        inst = lab.inst("src")
        if not master_pid(inst):
            start_master(inst)
        return lab
    lab.state["tag"] = "lab" + hashlib.sha1(d.encode()).hexdigest()[:6]
    base = lab.path("src")
    mkdirs(base, base + "/spool", base + "/sieve")
    conf = {
        "defaultpartition": "default",
        "partition-default": base + "/spool",
        "sievedir": base + "/sieve",
        "sieveusehomedir": "no",
        "sync_log": "yes",
        "sync_log_channels": "backup",
        "quota_db": "twoskip",
        "allowallsubscribe": "yes",
        "annotation_allow_undefined": "yes",
        "anysievefolder": "yes",
        "popminpoll": "0",
    }
    services = [
        Service("imap", tool("imapd") + " -C %C"),
        Service("syncserver", tool("sync_server") + " -C %C"),
        Service("sieve", tool("timsieved") + " -C %C"),
        Service("lmtpunix", tool("lmtpd") + " -C %C", base + "/conf/socket/lmtp"),
    ]
    if tls:
        key, crt = tls_files(base)
        conf.update({"tls_server_cert": crt, "tls_server_key": key})
    inst = make_instance(lab, "src", services, conf, sets or {})
    inst["kind"] = "source"
    lab.save()
    start_master(inst)
    return lab


def replica_server(lab, name="replica", sets=None, args="", tls=False):
    """A sync_server with an imapd: to compare with, or to restore into."""
    need_root()
    base = lab.path(name)
    if name in lab.state["instances"]:
        stop_master(lab.inst(name))
    mkdirs(base, base + "/spool", base + "/sieve")
    conf = {"partition-default": base + "/spool", "defaultpartition": "default",
            "sievedir": base + "/sieve", "annotation_allow_undefined": "yes", "sync_log": "no"}
    for k in ("altnamespace", "unixhierarchysep", "virtdomains", "defaultdomain"):
        v = lab.inst("src")["config"].get(k)
        if v is not None:
            conf[k] = v
    if tls:
        key, crt = tls_files(base)
        conf.update({"tls_server_cert": crt, "tls_server_key": key})
    inst = make_instance(lab, name, [
        Service("syncserver", tool("sync_server") + " -C %C" + (" " + args if args else "")),
        Service("imap", tool("imapd") + " -C %C")], conf, sets or {})
    inst["kind"] = "sync_server"
    lab.save()
    start_master(inst)
    return inst


def connect(lab, user, inst="src"):
    i = lab.inst(inst)
    c = Imap(i["ports"]["imap"], i.get("host", "127.0.0.1"))
    c.auth(user, password=i.get("password", PASSWORD))
    return c


def sieve(lab, user, inst="src"):
    i = lab.inst(inst)
    return Sieve(i["ports"]["sieve"], user, host=i.get("host", "127.0.0.1"), password=i.get("password", PASSWORD))


def user_inbox(cfg, name):
    sep = "/" if cfg.get("unixhierarchysep", "yes") in ("yes", "1", "on", "true") else "."
    if "@" in name:
        l, dom = name.split("@", 1)
        return "user" + sep + l + "@" + dom
    return "user" + sep + name


def add_user(lab, name):
    i = lab.inst("src")
    sasl_user(i["base"] + "/sasldb2", i["realm"], name)
    c = connect(lab, ADMIN)
    try:
        r = c.cmd("CREATE " + q(user_inbox(i["config"], name)), ok=False)
        if b" OK" not in r[-1] and b"exists" not in r[-1]:
            die("CREATE failed: %r" % r[-1])
    finally:
        c.close()


def down(lab, only=None, wipe=False):
    for n in reversed([only] if only else list(lab.state["instances"])):
        stop_master(lab.inst(n))
        if only and wipe:
            shutil.rmtree(lab.path(n), ignore_errors=True)
            del lab.state["instances"][n]
            lab.save()
    if wipe and not only:
        shutil.rmtree(lab.dir)


def show(lab):
    for n, i in lab.state["instances"].items():
        print("%-10s %-11s master %-7s conf %s" % (n, i["kind"], master_pid(i) or "DOWN", i["conf"]))
        for s, p in i["ports"].items():
            print("%-10s   %-10s 127.0.0.1:%d" % ("", s, p))
