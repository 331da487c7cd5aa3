"""A csync client that can send what no sync_client would."""
import base64
import hashlib
import socket

from .host import die
from .imap import PASSWORD
from .instance import REPL


class Csync:
    """A connection to a csync port, logged in."""

    def __init__(self, port, host="127.0.0.1"):
        self.s = socket.create_connection((host, port), 30)
        self.f = self.s.makefile("rb")
        self.answer()
        self.cmd("AUTHENTICATE PLAIN " + base64.b64encode(("\0%s\0%s" % (REPL, PASSWORD)).encode()).decode())

    def answer(self):
        out = []
        while True:
            l = self.f.readline()
            if not l:
                die("the csync server closed the connection: %r" % out)
            out.append(l)
            if not l.startswith(b"* ") or l.startswith(b"* OK"):
                return out

    def cmd(self, text, ok=True):
        self.s.sendall((text.encode() if isinstance(text, str) else text) + b"\r\n")
        out = self.answer()
        if ok and not out[-1].startswith(b"OK"):
            die("csync %r -> %r" % (text[:120], out[-1]))
        return out

    def upload(self, bodies):
        """Messages for the default partition; returns their GUIDs."""
        parts, guids = [], []
        for b in bodies:
            guids.append(hashlib.sha1(b).hexdigest())
            parts.append(b"%%{default %s %d}\r\n%s" % (guids[-1].encode(), len(b), b))
        self.cmd(b"APPLY MESSAGE (" + b" ".join(parts) + b")")
        return guids

    def mailbox(self, name, uniqueid, records, ok=True, **fields):
        """APPLY MAILBOX; records are dicts with the text for the wire."""
        head = {"UNIQUEID": uniqueid, "MBOXNAME": name, "SYNC_CRC": 0, "SYNC_CRC_ANNOT": 0, "LAST_UID": len(records),
                "HIGHESTMODSEQ": 1000, "RECENTUID": 0, "RECENTTIME": 0, "LAST_APPENDDATE": 0, "POP3_LAST_LOGIN": 0,
                "UIDVALIDITY": 1700000000, "PARTITION": "default", "ACL": "\"\"", "OPTIONS": "P", **fields}
        rec = " ".join("%%(%s)" % " ".join("%s %s" % kv for kv in r.items()) for r in records)
        return self.cmd("APPLY MAILBOX %%(%s RECORD (%s))" % (" ".join("%s %s" % kv for kv in head.items()), rec), ok)

    def close(self):
        self.f.close()
        self.s.close()
