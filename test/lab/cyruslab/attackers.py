"""Clients that harm a csync server on purpose, each again and again until stop()."""
import base64
import socket
import threading
import zlib

from .imap import PASSWORD
from .instance import REPL


class Attackers:
    """Threads against one port. tries counts the connections of each kind."""

    KINDS = {"silent": 100, "trickling": 50, "endless": 10, "guessing": 20, "announcing": 10, "asking": 4, "inflating": 4, "shouting": 10}

    def __init__(self, port):
        self.port, self.ended, self.tries = port, threading.Event(), dict.fromkeys(self.KINDS, 0)
        self.threads = [threading.Thread(target=self.again, args=(kind,), daemon=True) for kind, n in self.KINDS.items() for _ in range(n)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.ended.set()
        for t in self.threads:
            t.join(60)

    def again(self, kind):
        while not self.ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 20) as s:
                    self.tries[kind] += 1
                    getattr(self, kind)(s)
            except OSError:
                pass
            self.ended.wait(0.5)

    @staticmethod
    def login(s, password=PASSWORD):
        """Sends PLAIN, and returns all that the server has said up to its answer."""
        s.sendall(b"AUTHENTICATE PLAIN " + base64.b64encode(("\0%s\0%s" % (REPL, password)).encode()) + b"\r\n")
        said = b""
        while b"\nOK " not in said and b"\nNO " not in said:
            part = s.recv(65536)
            if not part:
                raise OSError("closed")
            said += part
        return said

    def read(self, s):
        """Until the server closes."""
        while not self.ended.is_set() and s.recv(65536):
            pass

    def repeat(self, s, data, pause):
        while not self.ended.is_set():
            s.sendall(data)
            self.ended.wait(pause)

    def silent(self, s):
        self.read(s)

    def trickling(self, s):
        self.repeat(s, b"A", 1)

    def endless(self, s):
        s.sendall(b"GET USER {9000000000000000000+}\r\n")
        self.repeat(s, bytes(65536), 0.05)

    def guessing(self, s):
        self.login(s, "guess")

    def shouting(self, s):
        s.sendall(b"FROBNICATE\r\n" * 1000)
        self.read(s)

    def announcing(self, s):
        self.login(s)
        s.sendall(b"APPLY MESSAGE (%{default " + b"0" * 40 + b" 50000000}\r\n")
        self.read(s)

    def asking(self, s):
        self.login(s)
        s.sendall(b"GET MAILBOXES (" + b"user.nobody " * 2000000 + b")\r\n")
        self.read(s)

    def inflating(self, s):
        self.login(s)
        s.sendall(b"COMPRESS DEFLATE\r\n")
        s.recv(65536)
        pack = zlib.compressobj(9, zlib.DEFLATED, -15)
        s.sendall(pack.compress(b"GET MAILBOXES %({16700008+}\r\n") + pack.compress(bytes(16 << 20)) + pack.flush())
        self.read(s)
