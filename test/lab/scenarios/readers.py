"""A Maildir and mboxes that restore wrote, read by a real Dovecot."""
import datetime
import hashlib
import json
import os

from cyruslab import dovecot, host
from cyruslab.imap import q, utf7
from cyruslab.source import values

from .base import scenario
from .material import msg
from .restore import LOGIN, restore

FOLDERS = ["INBOX", "Entwürfe", "Archive/2023", "a.b", "Sent.mbox", "Long%s/%s" % ("x" * 95, "y" * 95)]
FLAGS = [[], ["\\Seen"], ["\\Seen", "\\Answered", "$Label1"], ["\\Flagged", "Work", "$label2"], ["\\Draft"], ["\\Deleted", "\\Seen"]]
DATES = ["01-Feb-1999 10:20:30 +0000", "26-Nov-2023 23:59:59 -0800", "01-Jul-2024 00:00:00 +0530", "31-Dec-2037 12:00:00 +0000"]


def folder(c, name):
    """The messages of a folder: digest, flags and time of each."""
    out = []
    c.cmd("EXAMINE " + q(name))
    for m in c.cmd("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")[:-1]:
        if b" FETCH (" in m:
            items = values(m)[3]
            d = dict(zip(items[0::2], items[1::2]))
            when = datetime.datetime.strptime(d[b"INTERNALDATE"].decode().strip(), "%d-%b-%Y %H:%M:%S %z")
            flags = sorted(f.decode() for f in d[b"FLAGS"] if f.lower() != b"\\recent")
            out.append((hashlib.sha1(d[b"BODY[]"]).hexdigest(), flags, int(when.timestamp())))
    return sorted(out)


def listed(c):
    names = [(values(l)[2], values(l)[4]) for l in c.cmd('LIST "" "*"')[:-1]]
    return sorted(n.decode() for flags, n in names if not {b"\\Noselect", b"\\NonExistent"} & set(flags))


def in_berlin(server):
    """A server that does not read a date without a zone as UTC."""
    was = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    try:
        return server.start()
    finally:
        os.environ.pop("TZ")
        if was is not None:
            os.environ["TZ"] = was


def names(top, kind):
    """{internal name: Dovecot's name of the file or directory}, by folders.ndjson"""
    with open(top + "/folders.ndjson") as h:
        lines = [json.loads(l) for l in h]
    if kind == "maildir":
        return {l["internal"]: "INBOX" if l["path"] == "." else l["path"][1:] for l in lines}
    return {l["internal"]: "INBOX" if l["path"] == "INBOX.mbox" else utf7(l["path"]) for l in lines}


@scenario("readers", stores=("dir",), conf=LOGIN)
def readers(x):
    "restore --to maildir and mbox, read by Dovecot: the same folders, messages, flags, keywords and dates"
    x.user("rosa")
    c, want = x.imap("rosa"), {}
    for i, name in enumerate(FOLDERS):
        if i:
            c.cmd("CREATE " + q(utf7(name)))
        c.append(utf7(name), [(msg("%d-%d" % (i, n)), FLAGS[n], DATES[(i + n) % len(DATES)]) for n in range(len(FLAGS))])
        parts = [p.replace(".", "^") for p in utf7(name).split("/")]
        want[".".join(["user", "rosa"] + (parts if i else []))] = folder(c, utf7(name))
    for above in ("user.rosa.Archive", "user.rosa." + FOLDERS[-1].split("/")[0]):
        want[above] = []                    # Cyrus creates them for their children
    c.cmd("UNSELECT")
    x.sync("readers-backup", "-u", "rosa", again=False)
    for kind, more in (("maildir", ""), ("mbox", ":UTF-8:INBOX=%s/INBOX.mbox")):
        host.mkdirs(x.lab.path("out"))
        top = x.lab.path("out") + "/" + kind
        restore(x, "readers-" + kind, "-v", "--to", "%s:%s" % (kind, top), "rosa", "-a")
        called = names(top, kind)
        d = dovecot.Dovecot(x.lab.path("dovecot-" + kind), mail="%s:%s%s" % (kind, top, more % top if more else ""))
        in_berlin(d)
        try:
            c = d.connect("rosa")
            x.expect("readers-" + kind, sorted(called) == sorted(want), "folders.ndjson has %s, wanted %s" % (called, sorted(want)))
            x.expect("readers-" + kind, set(listed(c)) - {"folders.ndjson"} == set(called.values()),
                     "Dovecot lists %s, wanted %s" % (listed(c), sorted(called.values())))
            for internal, messages in want.items():
                got = folder(c, called[internal])
                x.expect("readers-" + kind, got == messages, "%s: %s, wanted %s" % (internal, got, messages))
            c.close()
        finally:
            d.stop()
