"""Prints what Python's mailbox module finds in a Maildir or an mbox: a line of JSON per message."""
import calendar
import json
import mailbox
import os
import sys
import time


def maildir(top):
    root = mailbox.Maildir(top, create=False)
    for name, box in [("", root)] + [(n, root.get_folder(n)) for n in root.list_folders()]:
        words = {}
        if os.path.exists(box._path + "/dovecot-keywords"):
            with open(box._path + "/dovecot-keywords") as f:
                words = {chr(ord("a") + int(n)): w for n, w in (line.split() for line in f)}
        for m in box:
            flags = m.get_flags()
            yield name, m, [f for f in flags if f.isupper()], [words[f] for f in flags if f.islower()], int(m.get_date())


def mboxes(top):
    for at, _, files in os.walk(top):
        for name in (f for f in files if f.endswith(".mbox")):
            for m in mailbox.mbox(os.path.join(at, name), create=False):
                date = m.get_from().split(" ", 1)[1]
                yield (os.path.relpath(os.path.join(at, name), top), m, m.get_flags(), (m["X-Keywords"] or "").split(),
                       calendar.timegm(time.strptime(date, "%a %b %d %H:%M:%S %Y +0000")))


for folder, message, flags, keywords, date in {"maildir": maildir, "mbox": mboxes}[sys.argv[1]](sys.argv[2]):
    print(json.dumps({"folder": folder, "subject": message["Subject"], "flags": "".join(sorted(flags)), "keywords": sorted(keywords), "date": date}))
