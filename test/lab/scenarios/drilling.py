"""ctl_backups drill --to: into a server that has the drilled users' own mail, too. A step of scenario r1."""
import json
import subprocess
import time

from cyruslab import compare, host, target
from cyruslab.imap import ADMIN

from .material import msg, shared

SCRATCH = "backup-drill"


def drill(x, step, *args, rc=0):
    r = target.tool(x.lab, "ctl_backups", "drill", *args)
    said = (r.stdout + r.stderr).decode("utf-8", "replace")
    x.steps.append({"step": step, "args": " ".join(args), "rc": r.returncode, "said": said.splitlines()[-6:]})
    print("  %-30s rc=%-3s %s" % (step, r.returncode, said.strip().splitlines()[-1][:120]), flush=True)
    x.expect(step, r.returncode == rc, "drill ended with %s, wanted %s: %s" % (r.returncode, rc, said[-1500:]))
    return said


def into_server(x, f, server):
    """f: the source's view of the server, with the users' mail; server: its csync port."""
    shared(x)
    x.sync("drill-shared", "-m", "projects", "projects/apollo", again=False, check=False)
    before = f.look("all", whole=True)

    said = drill(x, "drill", "--to", server, "-A", "-j")
    results = json.loads("[%s]" % said.replace("}\n{", "},{"))
    x.expect("drill", sorted(r["fname"].split(":")[1] for r in results) == ["shared/projects", "user/berta", "user/erna"], said)
    x.expect("drill", all(r["status"] == "ok" and r["problems"] == 0 and r["server"] == server for r in results), said)
    x.expect("drill", max(r["messages"] for r in results) > 30, said)
    untouched(x, "drill", f, before)
    status = target.tool(x.lab, "ctl_backups", "status").stdout.decode()
    line = next(l for l in status.splitlines() if l.startswith("drill "))
    x.expect("drill", " ok " in line and line.endswith(" to " + server), status)

    killed(x, f, server)
    drill(x, "drill-again", "--to", server, "berta")
    untouched(x, "drill-again", f, before)

    # a real user with the name of the scratch user
    a = f.conn(ADMIN)
    a.cmd("CREATE user/" + SCRATCH)
    a.cmd("SETACL user/%s %s lrswipkxtecda" % (SCRATCH, ADMIN))
    a.append("user/" + SCRATCH, [(msg("mine"), [], None)])
    real = f.look("all", whole=True)
    said = drill(x, "drill-foreign", "--to", server, "berta", rc=75)
    x.expect("drill-foreign", "no drill has made the mailbox user.backup-drill: nothing was changed there" in said, said)
    untouched(x, "drill-foreign", f, real)
    removed(f)

    # mail for the user whom a killed drill has left; the deleted mailboxes of the real one are no hindrance
    killed(x, f, server)
    a.cmd("SETACL user/%s %s lrswipkxtecda" % (SCRATCH, ADMIN))
    a.append("user/" + SCRATCH, [(msg("came meanwhile"), [], None)])
    left = f.look("all", whole=True)
    said = drill(x, "drill-delivered", "--to", server, "berta", rc=75)
    x.expect("drill-delivered", "somebody else has put mail into user.backup-drill: nothing was changed there" in said, said)
    untouched(x, "drill-delivered", f, left)
    removed(f)
    drill(x, "drill-after-all", "--to", server, "berta")

    for box in ("projects/apollo", "projects"):     # the rest of the scenario compares the source
        x.imap(ADMIN).cmd("DELETE " + box)


def removed(f):
    f.conn(ADMIN).cmd("DELETE user/" + SCRATCH)
    f.conns.pop(SCRATCH, None)      # Cyrus has ended the user's connections


def untouched(x, step, f, before):
    x.no_differences(step, "server changed", compare.unchanged(before, f.look("all", whole=True)))


def killed(x, f, server):
    """A drill is killed as soon as its user appears, and leaves it."""
    a, i = f.conn(ADMIN), x.backup

    def there():
        return any(SCRATCH.encode() in l for l in a.cmd('LIST "" "user/%s"' % SCRATCH))
    for _ in range(5):      # the drill may be faster than the kill
        p = subprocess.Popen([i["base"] + "/bin/ctl_backups", "-C", i["conf"], "drill", "--to", server, "berta"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env={"PATH": host.PATH, **i.get("env", {})}, **host.as_cyrus())
        end = time.time() + 60
        while p.poll() is None and time.time() < end and not there():
            pass
        p.kill()
        p.wait()
        if p.returncode == -9 and there():
            return
    x.fail("drill-killed", "five drills ended before they could be killed")
