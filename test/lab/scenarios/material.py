"""Messages and mailboxes that scenarios share."""
import hashlib
import random

from cyruslab.imap import ADMIN, q, utf7
from cyruslab.mail import gen_message

SCRIPT = 'require ["fileinto"];\r\nif header :contains "subject" "x" { fileinto "Two"; }\r\n'


def msg(subject, body=b"hello\r\n", extra=b"", frm=b"a@example.org"):
    h = (b"From: " + frm + b"\r\nTo: b@example.com\r\nSubject: " + subject.encode("utf-8") +
         b"\r\nDate: Tue, 02 Jan 2024 10:00:00 +0000\r\nMessage-ID: <" +
         hashlib.md5(subject.encode()).hexdigest().encode() + b"@example.org>\r\n" + extra + b"\r\n")
    return h + body


def varied():
    rng = random.Random(7)
    out = []
    out.append((msg("plain"), [], None))
    out.append((msg("8bit latin1", "Gr\xfc\xdfe aus M\xfcnchen\r\n".encode("latin1"),
                    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
                    b"Content-Transfer-Encoding: 8bit\r\n"), ["\\Seen"], "01-Feb-2020 12:00:00 +0100"))
    out.append((msg("8bit utf8 \u65e5\u672c\u8a9e", "\u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \U0001f600\r\n".encode(),
                    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    b"Content-Transfer-Encoding: 8bit\r\n"), ["\\Flagged"], "29-Feb-2000 23:59:59 +0000"))
    # Cyrus refuses bare CR or LF (and NUL) in a message, so only CRLF is used
    binary = b"".join(bytes(b for b in range(1, 256) if b not in (10, 13)) + b"\r\n" for _ in range(40))
    out.append((msg("binary mime, no NUL", binary,
                    b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
                    b"Content-Transfer-Encoding: binary\r\n"), ["\\Seen", "\\Answered"], None))
    out.append((msg("one 100k line", b"x" * 100000 + b"\r\n"), [], None))
    out.append((msg("no final newline", b"no newline at the end"), [], None))
    out.append((msg("header only, empty body", b""), ["\\Draft"], None))
    out.append((b"Subject: only\r\n\r\n", [], None))
    out.append((msg("dot lines", b".\r\n..\r\n.foo\r\n"), [], None))
    out.append((msg("looks like protocol", b")\r\n %{default 0123456789012345678901234567890123456789 5}\r\nhello)\r\n"
                    b"OK Success\r\nEXIT\r\n{5+}\r\nA {3}\r\n"), [], None))
    out.append((gen_message(rng, 1, 1 << 20), ["\\Seen"], None))
    out.append((msg("multipart", b"--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\nContent-Type: text/html\r\n\r\n"
                    b"<p>html</p>\r\n--b--\r\n", b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n"),
                ["$Label1", "Junk", "\\Seen"], "31-Dec-1999 23:59:59 -0800"))
    out.append((msg("deleted not expunged"), ["\\Deleted"], None))
    out.append((msg("many keywords"), ["kw%d" % i for i in range(20)], None))
    out.append((msg("odd keywords"), ["$MDNSent", "NonJunk", "a.b", "x-y_z", "\\Flagged"], None))
    for i in range(15):
        out.append((gen_message(rng, 100 + i, rng.choice((200, 900, 3000, 12000))),
                    rng.choice(([], ["\\Seen"], ["\\Seen", "\\Flagged"])), None))
    return out


def populate_b(x, u="berta", sep="/"):
    x.user(u)
    c = x.imap(u)
    m = varied()
    c.append("INBOX", m)
    for f in ("Sent", "Archive", "Archive%s2023" % sep, "Archive%s2023%sQ1" % (sep, sep), "Trash"):
        c.cmd("CREATE " + q(f))
    c.append("Sent", [(msg("plain"), ["\\Seen"], None), (msg("sent one"), [], None)])   # 'plain' is in INBOX too
    c.append("Archive%s2023" % sep, [(msg("sent one"), [], None), (msg("arch"), [], None)])
    c.append("Archive%s2023%sQ1" % (sep, sep), [(msg("q1"), [], None)])
    return c


def shared(x):
    a = x.imap(ADMIN)
    for m in ("projects", "projects/apollo"):
        a.cmd("CREATE " + m)
        a.cmd("SETACL %s anyone lrswip" % m)
        a.cmd("SETACL %s %s lrswipkxtecda" % (m, ADMIN))
        a.append(m, [(msg("shared " + m), [], None)])


ODD = ["Entw\u00fcrfe", "\u65e5\u672c\u8a9e/\u53d7\u4fe1", "with space", "paren(s)", "a & b", "star-ish", "x'y",
       "Caf\u00e9 &c", "percent", "Na\u00efve \U0001f600", "brace{5}", "tilde~", "[bracket]", "dot.ted", "v1.2/x.y"]


def odd_names(x, u, sep="/"):
    """Folders with odd names, each with a message; names that Cyrus refuses are skipped."""
    c = x.imap(u)
    for n in ODD:
        w = utf7(n).replace("/", sep)
        if b" OK" in c.cmd("CREATE " + q(w), ok=False)[-1]:
            c.append(w, [(msg("in " + n), [], None)])
