"""A deliberately small IMAP client and a ManageSieve client: raw commands in, raw lines out."""
import base64
import re
import socket

from .host import die

PASSWORD = "secret"             # every account of the lab has this password
ADMIN = "cyrus"                 # IMAP admin of every instance


class Imap:
    """Raw commands in, raw lines out, literals folded in."""

    def __init__(self, port, host="127.0.0.1", timeout=60):
        self.s = socket.create_connection((host, port), timeout)
        self.f = self.s.makefile("rb")
        self.n = 0
        self.greeting = self.f.readline()

    def line(self):
        """One response line with its literals folded in."""
        out = b""
        while True:
            l = self.f.readline()
            if not l:
                die("IMAP connection closed; last data %r" % out[-200:])
            out += l
            m = re.search(rb"\{(\d+)\}\r\n$", l)
            if not m:
                return out
            out += self.f.read(int(m.group(1)))

    def cmd(self, text, ok=True):
        """text: str/bytes, or list where bytes items inside (bytes,) tuples are literals."""
        self.n += 1
        tag = b"L%d" % self.n
        parts = text if isinstance(text, list) else [text]
        buf = [tag, b" "]
        for p in parts:
            if isinstance(p, tuple):
                buf += [b"{%d+}\r\n" % len(p[0]), p[0]]
            else:
                buf.append(p.encode() if isinstance(p, str) else p)
        self.s.sendall(b"".join(buf) + b"\r\n")
        lines = []
        while True:
            l = self.line()
            lines.append(l)
            if l.startswith(tag + b" "):
                break
        if ok and not l.startswith(tag + b" OK"):
            die("IMAP %r -> %r" % (text if not isinstance(text, list) else text[0], l))
        return lines

    def auth(self, user, authcid=ADMIN, password=PASSWORD):
        tok = base64.b64encode(("%s\0%s\0%s" % (user, authcid, password)).encode()).decode()
        return self.cmd("AUTHENTICATE PLAIN " + tok)

    def append(self, mbox, msgs):
        """msgs: list of (bytes, flags, internaldate or None) -> one MULTIAPPEND."""
        parts = ["APPEND " + q(mbox)]
        for m, fl, date in msgs:
            parts.append(" " + ("(%s)" % " ".join(fl) if fl else "()") +
                         (' "%s"' % date if date else "") + " ")
            parts.append((m,))
        return self.cmd(parts)

    def close(self):
        try:
            self.cmd("LOGOUT", ok=False)
        except Exception:
            pass
        self.f.close()
        self.s.close()


def q(s):
    if isinstance(s, bytes):
        s = s.decode("ascii")
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def utf7(s):
    """modified UTF-7 for IMAP mailbox names"""
    out, run = "", ""

    def flush():
        nonlocal run, out
        if run:
            b = base64.b64encode(run.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            out += "&" + b + "-"
            run = ""
    for ch in s:
        if 0x20 <= ord(ch) <= 0x7e:
            flush()
            out += "&-" if ch == "&" else ch
        else:
            run += ch
    flush()
    return out


class Sieve:
    def __init__(self, port, user, authcid=ADMIN, host="127.0.0.1", password=PASSWORD):
        self.s = socket.create_connection((host, port), 30)
        self.f = self.s.makefile("rb")
        self.read()
        tok = base64.b64encode(("%s\0%s\0%s" % (user, authcid, password)).encode()).decode()
        self.cmd('AUTHENTICATE "PLAIN" {%d+}\r\n%s' % (len(tok), tok))

    def read(self):
        out = []
        while True:
            l = self.f.readline()
            if not l:
                die("timsieved closed the connection: %r" % out)
            m = re.search(rb"^\{(\d+)\+?\}\r\n$", l)
            if m:
                out.append(self.f.read(int(m.group(1))))
                continue
            out.append(l)
            if re.match(rb"(OK|NO|BYE)\b", l):
                return out

    def cmd(self, t, ok=True):
        self.s.sendall(t.encode() + b"\r\n")
        r = self.read()
        if ok and not r[-1].startswith(b"OK"):
            die("sieve %r -> %r" % (t[:60], r))
        return r

    def put(self, name, text):
        return self.cmd('PUTSCRIPT "%s" {%d+}\r\n%s' % (name, len(text.encode()), text))

    def close(self):
        # timsieved 3.6.1 crashes (SIGSEGV) if the connection just closes, so log out
        try:
            self.cmd("LOGOUT", ok=False)
        except Exception:
            pass
        self.f.close()
        self.s.close()
