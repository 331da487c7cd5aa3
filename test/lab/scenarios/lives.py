"""A user is deleted, and another person gets the name."""
import glob
import json

from cyruslab import host, target
from cyruslab.imap import ADMIN

from .base import scenario
from .material import SCRIPT, msg
from .restore import LOGIN, restore


def person(x, user, n):
    """Creates the n-th user of the name. Only the first has the folder Private and a script."""
    x.user(user)
    c = x.imap(user)
    c.append("INBOX", [(msg("%s %d" % (user, n)), [], None)])
    for f in ("Sent", "Private") if n == 1 else ("Sent",):
        c.cmd("CREATE " + f)
        c.append(f, [(msg("%s %d in %s" % (user, n, f)), [], None)])
        c.cmd("SUBSCRIBE " + f)
    x.imap().cmd("SETQUOTA user/%s (STORAGE 100000)" % user)
    if n == 1:
        x.with_sieve(user, lambda s: s.put("main", SCRIPT))


def delete(x, user):
    x.logout()
    x.imap(ADMIN).cmd("SETACL user/%s %s lrswipkxtecda" % (user, ADMIN))
    x.imap(ADMIN).cmd("DELETE user/" + user)


def restored(x, step, user, *args):
    """The subjects and the number of scripts that a complete restore returns."""
    to = x.lab.path(step)
    host.mkdirs(to)
    restore(x, step, *args, "--to", "eml:" + to, "-u", user, "-a")
    found = set()
    for path in glob.glob(to + "/**/*.eml", recursive=True):
        with open(path, "rb") as h:
            found |= {l[9:].strip().decode() for l in h if l.lower().startswith(b"subject: ")}
    return found, len(glob.glob(to + "/**/*.siev*", recursive=True))


def apart(x, step, user, private=True):
    """Two people with one name each get their own data."""
    second = {"%s 2" % user, "%s 2 in Sent" % user}
    first = {"%s 1" % user, "%s 1 in Sent" % user, "%s 1 in Private" % user}
    got, scripts = restored(x, step + "-now", user)
    x.expect(step, got == second and scripts == 0, "the second user gets %s and %d scripts" % (sorted(got), scripts))
    got, scripts = restored(x, step + "-first", user, "--life", "1")
    x.expect(step, got == first and scripts == 1, "the first user gets %s and %d scripts" % (sorted(got), scripts))
    got = json.loads(target.tool(x.lab, "cyr_backup", user, "json", "mailboxes").stdout)
    lives = sorted((m["life"], m["mboxname"].split(".")[0 if m["mboxname"].startswith("user.") else 1]) for m in got)
    x.expect(step, lives == [(1, "user")] * 3 + [(2, "user")] * 2, "list shows %s" % got)


def both(x):
    # The whole user is compared.
    person(x, "rita", 1)
    x.sync("1-first", "-u", "rita")
    delete(x, "rita")
    person(x, "rita", 2)
    x.sync("2-second", "-u", "rita", again=False)
    x.settle("3-settled", "-u", "rita")
    apart(x, "4-rita", "rita")
    # The client does not mention the old folders.
    person(x, "rosa", 1)
    x.sync("5-first", "-u", "rosa")
    delete(x, "rosa")
    person(x, "rosa", 2)
    x.run("6-inbox", "-m", "user/rosa")
    got, scripts = restored(x, "7-only-inbox", "rosa")
    x.expect("7-only-inbox", got == {"rosa 2"} and scripts == 0, "the second user gets %s and %d scripts" % (sorted(got), scripts))
    x.run("8-sent", "-m", "user/rosa/Sent")
    x.run("9-sent", "-m", "user/rosa/Sent")     # the first attempt is refused, so that a rolling client compares the whole user
    apart(x, "10-rosa", "rosa")
    x.settle("11-settled", "-u", "rosa")
    apart(x, "12-rosa", "rosa")


@scenario("lives", stores=("dir",), conf=LOGIN)
def delayed(x):
    "another person of the same name, delete_mode delayed: by -u, and by -m"
    both(x)


@scenario("lives2", stores=("dir",), conf=LOGIN, src={"delete_mode": "immediate"})
def immediate(x):
    "another person of the same name, delete_mode immediate: by -u, and by -m"
    both(x)
