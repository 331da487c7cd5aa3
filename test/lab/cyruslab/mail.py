"""Mail to load: generated, or from a Maildir, an mbox, or a folder of .eml files."""
import base64
import glob
import mailbox
import os
import random
import re

from .host import LabError, die
from .imap import q

WORDS = ("the of and a to in is you that it he was for on are as with his they at be this have from "
         "or one had by word but not what all were we when your can said there use an each which "
         "she do how their if will up other about out many then them these so some her would make "
         "like him into time has look two more write go see number no way could people my than "
         "first water been call who oil its now find long down day did get come made may part").split()


def gen_message(rng, i, size):
    """A plausible message of about `size` bytes: prose when small, base64 random
    attachment when large (so it compresses about as real attachments do)."""
    head = ("From: Sender %d <s%d@example.org>\r\nTo: Reader <r@example.com>\r\n"
            "Subject: %s %d\r\nDate: Mon, %02d Jan 2024 %02d:%02d:%02d +0000\r\n"
            "Message-ID: <%d.%016x@example.org>\r\nMIME-Version: 1.0\r\n") % (
        i % 97, i % 97, " ".join(rng.choice(WORDS) for _ in range(4)), i, 1 + i % 28, i % 24,
        i % 60, (i * 7) % 60, i, rng.getrandbits(64))
    if size <= 65536:
        out, n = [], 0
        want = max(0, size - len(head) - 44)
        while n < want:
            l = ""
            while len(l) < 66:
                # an occasional hex blob keeps the text from compressing too well
                l += ("%08x " % rng.getrandbits(32)) if rng.random() < .12 else rng.choice(WORDS) + " "
            l = l[:min(72, max(1, want - n))] + "\r\n"
            out.append(l)
            n += len(l)
        return (head + "Content-Type: text/plain; charset=us-ascii\r\n\r\n" + "".join(out)).encode()
    b = "=_b%012x" % rng.getrandbits(48)
    raw = rng.randbytes(int((size - len(head) - 300) * 3 / 4 * 76 / 78))
    enc = base64.b64encode(raw)
    lines = b"\r\n".join(enc[k:k + 76] for k in range(0, len(enc), 76))
    return (head + 'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n--%s\r\n'
            "Content-Type: text/plain\r\n\r\nsee attachment\r\n--%s\r\n"
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            % (b, b, b)).encode() + lines + b"\r\n--" + b.encode() + b"--\r\n"


def crlf(b):
    return b if b"\r\n" in b[:4096] else re.sub(rb"(?<!\r)\n", b"\r\n", b)


def source_messages(src):
    """Yield (bytes, flags, date) from gen:N:SIZE[:SEED], a Maildir, an mbox, or .eml files."""
    if src.startswith("gen:"):
        p = src.split(":")
        n, size, seed = int(p[1]), int(p[2]), p[3] if len(p) > 3 else "lab"
        rng = random.Random(seed)
        for i in range(n):
            yield gen_message(rng, i, size), [], None
        return
    if not os.path.exists(src):
        die("%s: no such file or directory" % src)
    if os.path.isfile(src):
        with open(src, "rb") as h:
            if h.read(5) != b"From ":
                h.seek(0)
                yield crlf(h.read()), [], None
                return
        mb = mailbox.mbox(src, create=False)
        for k in mb.keys():
            yield crlf(mb.get_bytes(k)), [], None
        return
    if os.path.isdir(src + "/cur") or os.path.isdir(src + "/new"):
        fl = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "T": "\\Deleted", "D": "\\Draft"}
        for sub in ("cur", "new"):
            for f in sorted(glob.glob(src + "/" + sub + "/*")):
                m = re.search(r":2,([A-Z]*)$", f)
                with open(f, "rb") as h:
                    yield crlf(h.read()), [fl[x] for x in (m.group(1) if m else "") if x in fl], None
        return
    got = False
    for f in sorted(glob.glob(src + "/**/*", recursive=True)):
        if os.path.isfile(f):
            got = True
            with open(f, "rb") as h:
                yield crlf(h.read()), [], None
    if not got:
        die("%s holds no files" % src)


def load_odd(connect, source, folder="INBOX"):
    """load() of odd mail, one by one: messages that Cyrus refuses (NULs, bare newlines, no
    content) are skipped. Returns the number and bytes of the others, and how many were refused."""
    n = size = refused = 0
    c = connect()
    for m in source_messages(source):
        if not m[0]:
            refused += 1
            continue
        try:
            c.append(folder, [m])
        except LabError:
            refused += 1
            c.close()
            c = connect()
            continue
        n += 1
        size += len(m[0])
    c.close()
    return n, size, refused


def load(connect, source, folder="INBOX"):
    """Appends the messages of source; returns their number and bytes."""
    c = connect()
    n = size = 0
    batch, held = [], 0
    try:
        if folder != "INBOX":
            r = c.cmd("CREATE " + q(folder), ok=False)
            if b" OK" not in r[-1] and b"exists" not in r[-1]:
                die("CREATE %s: %r" % (folder, r[-1]))
        for m in source_messages(source):
            batch.append(m)
            held += len(m[0])
            n += 1
            size += len(m[0])
            if len(batch) >= 200 or held > 8 << 20:
                c.append(folder, batch)
                batch, held = [], 0
        if batch:
            c.append(folder, batch)
    finally:
        c.close()
    return n, size
