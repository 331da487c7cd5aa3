"""A TCP proxy that records both directions, and a readable rendering of what it recorded."""
import os
import re
import select
import socket
import struct
import sys
import threading
import time
import zlib


class Recorder:
    """Byte-exact capture of one TCP conversation.
    OUT.c2s / OUT.s2c: the raw bytes; OUT.idx: '<seconds> <dir> <offset> <length>' per read,
    so that the interleaving can be rebuilt exactly; OUT.txt (render): readable."""

    def __init__(self, out):
        # without buffers, because scenarios read the capture while the client runs
        self.f = {d: open("%s.%s" % (out, d), "wb", buffering=0) for d in ("c2s", "s2c")}
        self.idx = open(out + ".idx", "w", buffering=1)
        self.off = {"c2s": 0, "s2c": 0}
        self.t0 = time.time()

    def add(self, d, data):
        self.f[d].write(data)
        self.idx.write("%.6f %s %d %d\n" % (time.time() - self.t0, d, self.off[d], len(data)))
        self.off[d] += len(data)

    def close(self):
        for h in (self.idx, *self.f.values()):
            h.close()


# IMAP's {N} and {N+}, and the replication protocol's %{partition guid N}
LITERAL = re.compile(rb"(?:\{(\d+)\+?|%\{\S+ [0-9a-f]{40} (\d+))\}\r?\n$")


def commands(out):
    """The client's commands as bytes objects, without literals. Neither TLS
    nor COMPRESS is undone. Second and later connections (OUT-2 …) follow the first."""
    got, n = [], 1
    while os.path.exists("%s%s.c2s" % (out, "" if n == 1 else "-%d" % n)):
        with open("%s%s.c2s" % (out, "" if n == 1 else "-%d" % n), "rb") as h:
            part = b""
            for line in iter(h.readline, b""):
                part += line
                m = LITERAL.search(line)
                if m:
                    h.seek(int(m.group(1) or m.group(2)), os.SEEK_CUR)
                else:
                    got.append(part.rstrip())
                    part = b""
        n += 1
    return got


def show_bytes(b):
    return "".join(chr(x) if 0x20 <= x < 0x7f else "\\x%02x" % x for x in b)


def render(out, lit_max=2000):
    """OUT.c2s/.s2c/.idx -> OUT.txt.  Lines are 'C: ' / 'S: '; ' \\' ends a line that was not
    finished by CRLF when the direction changed; literals are shown as '>' lines, long ones cut.
    After an accepted COMPRESS the raw-deflate streams are inflated for reading."""
    raw = {}
    for d in ("c2s", "s2c"):
        with open(out + "." + d, "rb") as h:
            raw[d] = h.read()
    chunks = []
    with open(out + ".idx") as h:
        for l in h:
            t, d, o, n = l.split()
            chunks.append((float(t), d, raw[d][int(o):int(o) + int(n)]))
    with open(out + ".txt", "w") as w:
        st = {d: dict(buf=b"", lit=0, shown=0, littot=0) for d in raw}
        infl = {}
        note = {"compress": False, "tls": False}
        pending = None

        def emit(d, data, t):
            nonlocal pending
            s = st[d]
            s["buf"] += data
            who = "C" if d == "c2s" else "S"
            while s["buf"]:
                if s["lit"]:
                    take = s["buf"][:s["lit"]]
                    s["buf"] = s["buf"][len(take):]
                    room = max(0, lit_max - s["shown"])
                    for part in re.findall(rb"[^\n]*\n|[^\n]+", take[:room]):
                        w.write("%s> %s\n" % (who, show_bytes(part).replace("\\x0d\\x0a", "")))
                    s["shown"] += len(take)
                    s["lit"] -= len(take)
                    if not s["lit"] and s["littot"] > lit_max:
                        w.write("%s> [... literal of %d bytes, sha1 not shown ...]\n" % (who, s["littot"]))
                    continue
                k = s["buf"].find(b"\n")
                if k < 0:
                    return
                line, s["buf"] = s["buf"][:k + 1], s["buf"][k + 1:]
                body = line[:-2] if line.endswith(b"\r\n") else line
                w.write("[%8.3f] %s: %s\n" % (t, who, show_bytes(body)))
                m = LITERAL.search(line)
                size = int(m.group(1) or m.group(2)) if m else 0
                if size:
                    s["lit"] = s["littot"] = size
                    s["shown"] = 0
                if d == "c2s" and body.upper().split(b" ")[-2:][0:1] and b"COMPRESS" in body.upper()[:24]:
                    pending = "compress"
                elif d == "c2s" and b"STARTTLS" in body.upper()[:24]:
                    pending = "tls"
                elif d == "s2c" and pending and re.match(rb"(\S+ )?OK", body):
                    note[pending] = True
                    w.write("---- %s active from here ----\n" % pending)
                    pending = None
                elif d == "s2c" and pending:
                    pending = None
                if note["tls"]:
                    return
                if note["compress"] and d not in infl:
                    rest, s["buf"] = s["buf"], b""
                    infl.setdefault("c2s", zlib.decompressobj(-15))
                    infl.setdefault("s2c", zlib.decompressobj(-15))
                    if rest:
                        emit(d, infl[d].decompress(rest), t)
                    return

        for t, d, data in chunks:
            if note["tls"]:
                w.write("[%8.3f] %s: <%d bytes of TLS>\n" % (t, "C" if d == "c2s" else "S", len(data)))
                continue
            if d in infl:
                try:
                    data = infl[d].decompress(data)
                except zlib.error as e:
                    w.write("[inflate failed: %s]\n" % e)
                    infl[d] = zlib.decompressobj(-15)
                    continue
            emit(d, data, t)
        for d, s in st.items():
            if s["buf"]:
                w.write("%s: %s \\ (no line end)\n" % ("C" if d == "c2s" else "S", show_bytes(s["buf"])))


class Proxy:
    def __init__(self, listen, to, out=None, kill_after=None, hide_compress=False, host="127.0.0.1"):
        """kill_after: break the connection after so many bytes of the client. hide_compress:
        do not pass the server's '* COMPRESS DEFLATE' on, so the client talks
        plainly and the capture is readable; .s2c still has the line as the server sent it."""
        self.srv = socket.socket()
        self.srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.srv.bind(("127.0.0.1", listen))
        self.srv.listen(64)
        self.port = self.srv.getsockname()[1]
        self.to, self.out, self.kill_after = (host, to), out, kill_after
        self.hide_compress = hide_compress
        self.n = 0
        self.threads = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.srv.accept()
            except OSError:
                return
            self.n += 1
            out = None
            if self.out:
                out = self.out if self.n == 1 else "%s-%d" % (self.out, self.n)
            t = threading.Thread(target=self.serve, args=(c, out), daemon=True)
            self.threads.append(t)
            t.start()

    def serve(self, c, out):
        rec = Recorder(out) if out else None
        try:
            s = socket.create_connection(self.to)
        except OSError as e:
            sys.stderr.write("proxy: cannot reach %s port %d: %s\n" % (*self.to, e))
            c.close()
            if rec:
                rec.close()
            return
        for x in (c, s):
            x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = {c: (s, "c2s"), s: (c, "s2c")}
        live, sent = {c, s}, 0
        banner = b"" if self.hide_compress else None
        while live:
            r, _, _ = select.select(list(live), [], [])
            for x in r:
                to, d = peer[x]
                try:
                    data = x.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    live.discard(x)
                    try:
                        to.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    continue
                if rec:
                    rec.add(d, data)
                if d == "c2s":
                    sent += len(data)
                    if self.kill_after and sent >= self.kill_after:
                        live.clear()           # break the connection in the middle of the transfer
                        for y in (c, s):
                            y.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break
                if d == "s2c" and banner is not None:
                    banner += data
                    if b"\n* OK" not in b"\n" + banner:
                        continue
                    data = re.sub(rb"\* COMPRESS [^\n]*\n", b"", banner)
                    banner = None
                try:
                    to.sendall(data)
                except OSError:
                    live.discard(x)
        c.close()
        s.close()
        if rec:
            rec.close()

    def stop(self):
        try:
            self.srv.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.srv.close()
        for t in self.threads:
            t.join(10)
