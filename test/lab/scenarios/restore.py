"""restore: what our backup holds, into the emptied source and into a fresh Cyrus."""
import os
import shutil
import subprocess

from cyruslab import client, compare, host, instance, target
from cyruslab.imap import ADMIN, PASSWORD, q
from cyruslab.source import Source

from .base import scenario
from .material import SCRIPT, msg, odd_names, populate_b

LOGIN = {"restore_authname": instance.REPL, "restore_password": PASSWORD}


def program(x):
    """The instance's copy of the tool, which the cyrus user can execute."""
    to = x.backup["base"] + "/bin/restore"
    if not os.path.exists(to):
        shutil.copy(os.path.join(x.opt.bin, "restore"), to)
        os.chmod(to, 0o755)
    return to


def csync(x, inst):
    return "127.0.0.1:%d" % x.lab.inst(inst)["ports"]["syncserver"]


def restore(x, step, *args, rc=0, **kw):
    program(x)
    r = target.tool(x.lab, "restore", *args, **kw)
    said = (r.stdout + r.stderr).decode("utf-8", "replace")
    x.steps.append({"step": step, "args": " ".join(args), "rc": r.returncode, "said": said.splitlines()[-6:]})
    print("  %-30s rc=%-3s %s" % (step, r.returncode, said.strip().splitlines()[-1][:120] if said else ""), flush=True)
    x.expect(step, r.returncode == rc, "restore ended with %s, wanted %s: %s" % (r.returncode, rc, said[-1500:]))
    return said


def fresh(x, name="fresh", users=()):
    """A Cyrus that has nothing, with all the services that are compared."""
    lab, base = x.lab, x.lab.path(name)
    host.mkdirs(base, base + "/spool", base + "/sieve")
    src = lab.inst("src")["config"]
    conf = {k: src[k] for k in ("altnamespace", "unixhierarchysep", "virtdomains", "defaultdomain", "quota_db",
                                "allowallsubscribe", "annotation_allow_undefined", "anysievefolder",
                                "sieveusehomedir") if k in src}
    conf.update({"partition-default": base + "/spool", "defaultpartition": "default", "sievedir": base + "/sieve"})
    inst = instance.make_instance(lab, name, [
        instance.Service("imap", host.tool("imapd") + " -C %C"),
        instance.Service("syncserver", host.tool("sync_server") + " -C %C"),
        instance.Service("sieve", host.tool("timsieved") + " -C %C")], conf, {})
    inst["kind"] = "sync_server"
    lab.save()
    for u in users:
        instance.sasl_user(inst["base"] + "/sasldb2", inst["realm"], u)
    instance.start_master(inst)
    return Source(lab, name)


def equal(x, step, want, got, uids=True, ids=True, modseqs=True):
    """Two looks: the same mailboxes with the same messages."""
    key = (lambda m: m["uniqueid"]) if ids else (lambda m: m["name"])
    a, b = {key(m): m for m in want.values()}, {key(m): m for m in got.values()}
    out = ["%s is missing" % a[k]["name"] for k in sorted(set(a) - set(b))]
    out += ["%s is there too" % b[k]["name"] for k in sorted(set(b) - set(a))]
    heads = ["name", "acl", "quota", "annotations"] + (["uidvalidity", "uidnext", "crcs"] if uids else [])
    if modseqs:
        heads.append("highestmodseq")
    for k in sorted(set(a) & set(b)):
        m, n = a[k], b[k]
        for h in heads:
            if m.get(h) != n.get(h):
                out.append("%s: %s was %r, is %r" % (m["name"], h, m.get(h), n.get(h)))
        if "messages" not in m:
            continue
        if uids:
            p, r = m["messages"], n.get("messages", {})
        else:
            def bag(o):
                return sorted((v["guid"], v["flags"], v["internaldate"], sorted(v["annotations"].items()))
                              for v in o.get("messages", {}).values())
            p, r = dict(enumerate(bag(m))), dict(enumerate(bag(n)))
        for uid in sorted(set(p) | set(r)):
            if p.get(uid) != r.get(uid):
                out.append("%s: uid %s was %r, is %r" % (m["name"], uid, p.get(uid), r.get(uid)))
    x.no_differences(step, "restored", out)


def says_equal(x, step, to, *args):
    """A replication run from the source finds nothing to send. Not of scripts: they come back, but
    the mailbox in which timsieved of 3.6 keeps them is made anew, with another uniqueid."""
    r = client.run(x.lab, to, args, capture=x.capture(step), hide_compress=True, timeout=60)
    x.note(step, args, r)
    x.expect(step, r["rc"] == 0, "sync_client ended with %s: %s" % (r["rc"], r["out"][-300:]))
    sent = [c for c in x.sent(step) if not c.startswith(b"APPLY CAPABILITIES")]
    x.expect(step, not sent, "an unchanged sync sent %d APPLY: %s" % (len(sent), sent[:1]))


def everything(x, u="berta"):
    """A user with all that can be backed up."""
    c, a = populate_b(x, u), x.imap(ADMIN)
    odd_names(x, u)
    x.user("erna")
    for box in ("INBOX", "Sent"):
        c.cmd("SUBSCRIBE " + box)
    a.cmd("SETACL user/%s/Sent erna lrswi" % u)
    a.cmd("SETQUOTA user/%s (STORAGE 100000 MESSAGE 5000)" % u)
    c.cmd('SETMETADATA INBOX (/shared/comment "shared note" /private/comment "private note")')
    c.cmd('SETMETADATA Archive (/private/specialuse "\\\\Archive")')
    c.cmd(["SETMETADATA Sent (/shared/vendor/x ", (b'a%b "q" (p)',), ")"])
    c.cmd("SELECT INBOX")
    c.cmd('STORE 1 ANNOTATION (/comment (value.shared "per message" value.priv "mine"))')
    c.cmd("STORE 3 +FLAGS (\\Deleted)")
    c.cmd("UID EXPUNGE 3")
    c.cmd("UNSELECT")
    e = x.imap("erna")
    e.cmd('SELECT "Other Users/%s/Sent"' % u)
    e.cmd("STORE 1 +FLAGS (\\Seen)")
    e.cmd("UNSELECT")
    x.with_sieve(u, lambda s: (s.put("main", SCRIPT), s.put("other", SCRIPT + "keep;\r\n"), s.cmd('SETACTIVE "main"')))
    return c


@scenario("r1", conf=LOGIN)
def whole_user(x):
    "restore -U of everything: into a fresh Cyrus, and into the source that lost it"
    everything(x)
    x.sync("r1-backup", "-u", "berta", "erna", again=False)
    scope = {("user", "berta")}
    want, account = x.source.look(scope, whole=True), x.source.account("berta")

    f = fresh(x, users=("berta", "erna"))
    try:
        restore(x, "r1-dry", "-n", "-v", "-U", csync(x, "fresh"), "-u", "berta", "-a")
        boxes = f.conn(ADMIN).cmd('LIST "" "*"')
        x.expect("r1-dry", len(boxes) == 1, "a dry run has made mailboxes: %r" % boxes[:3])
        restore(x, "r1-fresh", "-v", "-U", csync(x, "fresh"), "-u", "berta", "-a")
        restore(x, "r1-fresh-erna", "-v", "-U", csync(x, "fresh"), "-u", "erna", "-a")
        equal(x, "r1-fresh", want, f.look(scope, whole=True))
        got = f.account("berta")
        x.expect("r1-fresh", got == account, "account was %r, is %r" % (account, got))
        says_equal(x, "r1-fresh-sync", "fresh", "-m", *sorted(m["ext"] for m in want.values()))
        says_equal(x, "r1-fresh-sync-meta", "fresh", "-s", "berta", "erna")
        said = restore(x, "r1-fresh-again", "-v", "-U", csync(x, "fresh"), "-u", "berta", "-a")
        x.expect("r1-fresh-again", "0 messages added" in said, said)
        equal(x, "r1-fresh-again", want, f.look(scope, whole=True))
    finally:
        f.close()

    for step, purge in (("r1-undeleted", False), ("r1-purged", True)):
        lose(x, "berta", purge)
        restore(x, step, "-v", "-U", csync(x, "src"), "-u", "berta", "-a")
        got = {u: m for u, m in x.source.look(scope, whole=True).items() if not m["deleted"]}
        for m in got.values():      # who deletes a mailbox as administrator needs the right to
            if not purge and m["name"] == "user.berta":
                x.expect(step, m["acl"].pop(ADMIN, None), "renamed back, but its ACL is another one")
        # a mailbox that was renamed back has changed twice since
        equal(x, step, want, got, modseqs=purge)
        account2 = x.source.account("berta")
        x.expect(step, account2 == account, "account was %r, is %r" % (account, account2))
        x.sync(step + "-backup", "-u", "berta")
        want = {u: m for u, m in x.source.look(scope, whole=True).items() if not m["deleted"]}


def lose(x, user, purge):
    """The administrator deletes a user; purge: and what Cyrus keeps of deleted mailboxes."""
    x.logout()
    a = x.imap(ADMIN)
    a.cmd("SETACL user/%s %s lrswipkxtecda" % (user, ADMIN))
    a.cmd("DELETE user/" + user)
    if purge:
        r = subprocess.run([host.tool("cyr_expire"), "-C", x.lab.inst("src")["conf"], "-D", "0", "-E", "1", "-X", "0"],
                           capture_output=True, env={"PATH": host.PATH}, cwd="/", **host.as_cyrus())
        x.expect("cyr_expire", r.returncode == 0, "%s" % r.stderr[-300:])
        left = [l for l in a.cmd('LIST "" "*"') if b"DELETED" in l and user.encode() in l]
        x.expect("cyr_expire", not left, "left: %r" % left[:3])
