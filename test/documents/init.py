"""init.py: process 1 of a host. Writes syslog to /var/log/mail.log, and ends processes without a parent."""
import os
import signal
import socket
import time


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    open("/run/ready", "w").close()
    levels = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
    with open("/var/log/mail.log", "w", buffering=1, errors="replace") as log:
        while True:
            line = s.recv(65536).decode("utf-8", "replace")
            number, _, text = line.partition(">")
            level = int(number[1:]) & 7 if number[1:].isdigit() else 6
            log.write("%s %s %s\n" % (time.strftime("%H:%M:%S"), levels[level], text.strip()))


if __name__ == "__main__":
    main()
