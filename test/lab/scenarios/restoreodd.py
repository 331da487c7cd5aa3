"""restore to a real Cyrus: odd data of a backup, and other owners."""
from cyruslab import client, instance
from cyruslab.csync import Csync
from cyruslab.imap import ADMIN, q

from .base import scenario
from .material import SCRIPT, msg
from .restore import LOGIN, csync, fresh, restore

DAY = 86400
OWNER_ACL = '"odd\tlrswipkxtecdan\t"'


def odd_records(c):
    """Uploads one message of each kind: a list of records in wire form."""
    kinds = [
        ("plain", {}),
        ("date-0", {"INTERNALDATE": 0}),
        ("date-1969", {"INTERNALDATE": 2 ** 64 - DAY}),
        ("date-2500", {"INTERNALDATE": 2 ** 34}),
        ("date-far", {"INTERNALDATE": 2 ** 62}),
        ("modseq-0", {"MODSEQ": 0}),
        ("modseq-high", {"MODSEQ": 5000}),
        ("updated-0", {"LAST_UPDATED": 0}),
        ("updated-far", {"LAST_UPDATED": 2 ** 62}),
        ("flag-unknown", {"FLAGS": "(\\Recent \\Odd \\Seen)"}),
        ("flag-twice", {"FLAGS": "(\\Seen \\seen $Todo $todo)"}),
        ("flag-no-atom", {"FLAGS": '("a(b" "two words" good)'}),
        ("flag-8bit", {"FLAGS": "({2+}\r\nü)"}),
        ("annotation-no-slash", {"ANNOTATIONS": "(%(ENTRY odd USERID \"\" VALUE v MODSEQ 7))"}),
        ("annotation-virtual", {"ANNOTATIONS": "(%(ENTRY /vendor/cmu/cyrus-imapd/thrid USERID \"\" VALUE zzz MODSEQ 7))"}),
        ("annotation-long", {"ANNOTATIONS": "(%%(ENTRY /%s USERID \"\" VALUE v MODSEQ 7))" % ("x" * 3000)}),
        ("annotation-user", {"ANNOTATIONS": "(%(ENTRY /comment USERID \"no such user\" VALUE v MODSEQ 7))"}),
        ("empty", {}),
        ("last", {}),
    ]
    bodies = {"empty": b""}
    out, guids = [], c.upload([bodies.get(k, msg(k)) for k, _ in kinds])
    for i, (kind, odd) in enumerate(kinds):
        body = bodies.get(kind, msg(kind))
        out.append((kind, {"UID": 10 * (i + 1), "MODSEQ": i + 2, "LAST_UPDATED": 1700000000, "FLAGS": "()",
                           "INTERNALDATE": 1600000000 + i, "SIZE": len(body), "GUID": guids[i], **odd}))
    return out


def flags_200(c):
    """200 messages, each with another keyword."""
    bodies = [msg("keyword %d" % i) for i in range(200)]
    return [{"UID": i + 1, "MODSEQ": i + 2, "LAST_UPDATED": 1700000000, "FLAGS": "($k%d)" % i, "INTERNALDATE": 1600000000 + i,
             "SIZE": len(bodies[i]), "GUID": g} for i, g in enumerate(c.upload(bodies))]


@scenario("r8", stores=("dir",), conf=LOGIN)
def odd(x):
    "restore of records, flags and mailboxes that no Cyrus sends: none affects the others, and each change is reported"
    c = Csync(x.backup["ports"]["backupd"])
    records = odd_records(c)
    c.mailbox("user.odd", "00000000-0000-4000-8000-000000000001", [r for _, r in records], ACL=OWNER_ACL, LAST_UID=5)
    c.mailbox("user.odd.Keywords", "00000000-0000-4000-8000-000000000002", flags_200(c), ACL=OWNER_ACL, LAST_UID=200)
    body = msg("only one")
    one = {"UID": 1, "MODSEQ": 2, "LAST_UPDATED": 1700000000, "FLAGS": "()", "INTERNALDATE": 1600000000, "SIZE": len(body)}
    for n, (name, fields) in enumerate({
            "uidvalidity-0": {"UIDVALIDITY": 0}, "modseq-0": {"HIGHESTMODSEQ": 0}, "no-acl": {"ACL": '""'},
            "bad-acl": {"ACL": '"a\tb"'}, "options": {"OPTIONS": "XYZ"}, "type": {"MBOXTYPE": "e"},
            "annotation": {"ANNOTATIONS": "(%(ENTRY odd USERID \"\" VALUE v MODSEQ 7) %(ENTRY /comment USERID \"\" VALUE fine MODSEQ 7))"},
            "#unknown": {"MBOXTYPE": "j"},      # crashes sync_server 3.6
            "future": {"UIDVALIDITY": 2 ** 32 - 1, "RECENTTIME": 2 ** 62}, "Zlast": {}}.items()):
        c.upload([body])
        c.mailbox("user.odd." + name, "00000000-0000-4000-8000-0000000001%02d" % n, [{**one, "GUID": c.upload([body])[0]}], **{"ACL": OWNER_ACL, **fields})
    dav_mailboxes(c, one)
    c.close()
    for keep in (True, False):
        name, step = ("oddu", "r8-U") if keep else ("oddnew", "r8")
        s = fresh(x, name, users=("odd",))
        try:
            how = (["-U"] if keep else []) + [csync(x, name), "-u", "odd", "-a"]
            planned = restore(x, step + "-dry", "-n", *how, rc=75)
            said = restore(x, step, "-v", *how, rc=75)
            for l in planned.splitlines():
                x.expect(step, not l.startswith("restore: ") or l in said, "only the dry run reports: %s" % l)
            for what in ("a date before 1970", "2 messages (the first is uid 40)", '"a(b"', '"two words"', "Odd", "an empty message",
                         '"$k128"', '"$k199"') + (("#unknown", "uidvalidity is 0", "thrid", "more than 32 bits") if keep else ("#unknown", "1970-01-01")):
                x.expect(step, what in said, "%s is not reported: %s" % (what, said))
            for box in ("no-acl", "bad-acl"):     # the owner has no right to read them
                s.conn(ADMIN).cmd("SETACL user/odd/%s odd lrs" % box)
            boxes = {m["name"]: m for m in s.look({("user", "odd")}, whole=True).values()}
            odd_arrived(x, step, records, boxes["user.odd"]["messages"], keep)
            x.expect(step, len(boxes["user.odd.Keywords"]["messages"]) == 200 and len(boxes) == 11,
                     "found %s" % {n: len(m["messages"]) for n, m in boxes.items()})
            for n, m in boxes.items():
                x.expect(step, m["uniqueid"].startswith("00000000-0000-4000") == keep, "%s has uniqueid %s" % (n, m["uniqueid"]))
            x.expect(step, all(m["messages"] for m in boxes.values()), "a mailbox is empty")
            again = restore(x, step + "-again", "-v", *how, rc=75)
            said = restore(x, step + "-dav", *how[:-4], csync(x, name), "-u", "dav", "-a", rc=75)
            x.expect(step + "-dav", said.count("the server refuses the message") == 2 and " 2 problems" in said, said)
            dav(x, step + "-dav", name, keep)
            x.expect(step + "-again", " 0 messages added" in again and " 2 problems" in again, again)
        finally:
            s.close()
            instance.down(x.lab, name, wipe=True)


def dav_mailboxes(c, one):
    """The mailboxes of an event and of a card, each with a plain message, which crash sync_server 3.6."""
    head = b'From: <a@example.org>\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\nContent-Type: %s\r\nContent-Disposition: attachment; filename="%s"\r\n\r\n'
    event = head % (b"text/calendar; charset=utf-8; component=VEVENT", b"e1.ics") + (
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//lab//EN\r\nBEGIN:VEVENT\r\nUID:e1\r\nDTSTAMP:20261120T120000Z\r\n"
        b"DTSTART:20261120T120000Z\r\nSUMMARY:lab\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    card = head % (b"text/vcard; charset=utf-8", b"c1.vcf") + b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:c1\r\nFN:Lab\r\nN:Lab;;;;\r\nEND:VCARD\r\n"
    for n, (box, kind, item) in enumerate((("", "", msg("dav")), (".#calendars.Default", "c", event), (".#addressbooks.Default", "a", card))):
        bodies = [item] + ([msg("in " + box)] if kind else [])
        records = [{**one, "UID": i + 1, "SIZE": len(b), "GUID": g} for i, (b, g) in enumerate(zip(bodies, c.upload(bodies)))]
        c.mailbox("user.dav" + box, "00000000-0000-4000-8000-00000000020%d" % n, records, ACL=OWNER_ACL.replace("odd", "dav"),
                  **({"MBOXTYPE": kind} if kind else {}))


def dav(x, step, name, keep):
    """Mailboxes of calendars and cards, which IMAP does not open, have their content."""
    c = Csync(x.lab.inst(name)["ports"]["syncserver"])
    for box in ("#calendars.Default", "#addressbooks.Default"):
        said = b"".join(c.cmd("GET MAILBOXES (user.dav.%s)" % box))
        x.expect(step, b"SYNC_CRC 0 " not in said and b"MBOXTYPE" in said and (b"UNIQUEID 00000000-0000-4000" in said) == keep, "%s: %r" % (box, said))
    c.close()


def odd_arrived(x, step, records, messages, keep):
    """Every message except the empty one is present, with the parts of its record that Cyrus can store."""
    got = {v["guid"]: (uid, v) for uid, v in messages.items()}
    want = {"date-0": ("internaldate", 0 if keep else 1), "date-1969": ("internaldate", 1), "date-2500": ("internaldate", 2 ** 32 - 1),
            "flag-unknown": ("flags", ["\\Seen"]), "flag-twice": ("flags", ["$Todo", "\\Seen"]), "flag-no-atom": ("flags", ["good"]),
            "plain": ("internaldate", 1600000000)}
    for kind, r in records:
        uid, v = got.get(r["GUID"], (None, None))
        x.expect(step, (v is None) == (kind == "empty"), "%s: %s" % (kind, v))
        if v is None:
            continue
        x.expect(step, not keep or uid == r["UID"], "%s: uid %s, wanted %s" % (kind, uid, r["UID"]))
        if kind in want:
            key, value = want[kind]
            x.expect(step, v[key] == value, "%s: %s is %s, wanted %s" % (kind, key, v[key], value))


@scenario("r9", stores=("dir",), conf=LOGIN)
def other_owner(x):
    "restore into another user's mailboxes: that user can open them, and other readers of the source cannot"
    x.user("bob", "dave", "erna")
    b, a = x.imap("bob"), x.imap(ADMIN)
    b.append("INBOX", [(msg("b%d" % i), [], None) for i in range(3)])
    b.cmd("SETACL INBOX erna lrs")
    b.cmd("CREATE Work")
    b.cmd("SUBSCRIBE Work")
    b.cmd('SETMETADATA Work (/private/comment "of the owner")')
    x.with_sieve("bob", lambda s: (s.put("main", SCRIPT), s.cmd('SETACTIVE "main"')))
    a.cmd("SETQUOTA user/bob (STORAGE 5000)")
    x.sync("r9-backup", "-u", "bob", again=False, check=False)
    for n, into in enumerate(("user/dave", "user/dave/From him", "user/dave/Deep/Er")):
        step = "r9-%d" % n
        for run in ("dry", "first", "again"):
            restore(x, "%s-%s" % (step, run), "-v", *(["-n"] if run == "dry" else []), "-M", into, csync(x, "src"), "bob", "user/bob")
        d, box = instance.connect(x.lab, "dave"), q(into[len("user/dave/"):] or "INBOX")
        seen = d.cmd("STATUS %s (MESSAGES)" % box)
        x.expect(step, b"(MESSAGES 3)" in seen[0], "%r" % seen)
        d.cmd("SELECT " + box)
        x.expect(step, b"Subject: b0" in b"".join(d.cmd("FETCH 1 BODY.PEEK[]")), "dave cannot read it")
        d.close()
        acl = b"".join(a.cmd("GETACL %s" % q(into)))
        x.expect(step, b" dave lrs" in acl and b"bob" not in acl and b"erna" not in acl, "%r" % acl)
    instance.sasl_user(x.lab.inst("src")["base"] + "/sasldb2", x.lab.inst("src")["realm"], "heir")
    before = x.source.account("bob")
    planned = restore(x, "r9-heir-dry", "-n", csync(x, "src"), "bob:heir", "-a")
    x.expect("r9-heir-dry", not [l for l in a.cmd('LIST "" "*"') if b"heir" in l], "the dry run created mailboxes")
    for n in ("1", "2", "3"):
        said = restore(x, "r9-heir-" + n, "-v", csync(x, "src"), "bob:heir", "-a")
        if n == "1":
            for l in planned.splitlines():
                x.expect("r9-heir", l.startswith("dry run") or l in said, "only the dry run reports: %s" % l)
        x.expect("r9-heir", n == "1" or " 0 messages added" in said, said)
    h = instance.connect(x.lab, "heir")
    x.expect("r9-heir", b"(MESSAGES 3)" in h.cmd("STATUS INBOX (MESSAGES)")[0], "heir has other mail")
    x.expect("r9-heir", b"Work" in b"".join(h.cmd('LSUB "" "*"')), "heir is not subscribed to Work")
    x.expect("r9-heir", b"of the owner" in b"".join(h.cmd("GETMETADATA Work (/private/comment)")), "heir does not have the annotation")
    x.expect("r9-heir", b"STORAGE" in b"".join(h.cmd("GETQUOTAROOT INBOX")), "heir has no quota")
    h.close()
    got = x.source.account("heir")
    x.expect("r9-heir", got["scripts"] == before["scripts"] and got["active"] == "main", "%r" % got)
    x.expect("r9-heir", x.source.account("bob") == before, "bob's account has changed")
    acl = b"".join(a.cmd("GETACL user/heir/Work"))
    x.expect("r9-heir", b"heir lrswipkxtecdan" in acl and b"bob" not in acl, "%r" % acl)
    restore(x, "r9-A", "-v", "-Aerna lrswi", "-M", "user/dave/Team", csync(x, "src"), "bob", "user/bob")
    x.expect("r9-A", b"erna lrswi" in b"".join(a.cmd("GETACL user/dave/Team")), "-A does not override")


@scenario("r10", stores=("dir",), conf=LOGIN)
def sieve(x):
    "restore -U of scripts, then replication from the original server: both documented fixes for IMAP_MAILBOX_MOVED work"
    for way in ("force", "delete"):
        u, name, step = "siv" + way, "sieve" + way, "r10-" + way
        x.user(u)
        x.imap(u).append("INBOX", [(msg("s"), [], None)])
        x.with_sieve(u, lambda s: (s.put("main", SCRIPT), s.put("other", SCRIPT + "keep;\r\n"), s.cmd('SETACTIVE "main"')))
        x.sync(step + "-backup", "-u", u, again=False, check=False)
        s = fresh(x, name, users=(u,))
        try:
            restore(x, step, "-v", "-U", csync(x, name), "-u", u, "-a")
            replicated(x, step + "-moved", name, 1, "-u", u)
            if way == "delete":
                a = s.conn(ADMIN)
                a.cmd("SETACL user/%s/#sieve %s c" % (u, ADMIN))
                a.cmd("DELETE user/%s/#sieve" % u)
            replicated(x, step + "-way-out", name, 0, *(["-O"] if way == "force" else []), "-u", u)
            replicated(x, step + "-after", name, 0, "-u", u)
            sent = [c for c in x.sent(step + "-after") if not c.startswith(b"APPLY CAPABILITIES")]
            x.expect(step, not sent, "an unchanged sync sent %s" % sent[:1])
            was, got = x.source.account(u), s.account(u)
            x.expect(step, got == was, "account was %r, is %r" % (was, got))
        finally:
            s.close()
            instance.down(x.lab, name, wipe=True)


def replicated(x, step, to, rc, *args):
    "sync_client from the source to a restored server"
    r = client.run(x.lab, to, args, capture=x.capture(step), hide_compress=True, timeout=60)
    x.note(step, args, r)
    x.expect(step, r["rc"] == rc, "sync_client ended with %s, wanted %s: %s" % (r["rc"], rc, r["out"][-300:]))
