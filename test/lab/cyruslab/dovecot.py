"""A Dovecot in one directory: a server to restore into, or a reader of restored files."""
import os
import pwd
import signal
import subprocess

from .host import die, free_port, listening, need_root, wait_for
from .imap import PASSWORD, Imap

HERE = os.path.dirname(os.path.abspath(__file__))
UNPACKED = os.path.normpath(os.path.join(HERE, "../../../.cache/dovecot"))
OWNER = "mail"                  # owner of the mail: Dovecot does not serve mail as root
BUILT_FOR = "/usr/lib/dovecot"  # Dovecot searches for plugins only there

CONF = """
base_dir = {dir}/base
state_dir = {dir}/state
log_path = {dir}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {owner}
default_internal_group = {owner}
default_login_user = nobody
mail_location = {mail}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mailbox_list_index = yes
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/home/%u
}}
{more}
"""


class Dovecot:
    """Any user can log in, with the password "secret".

    mail is a mail_location such as maildir:/some/dir or mbox:/some/dir:INBOX=/some/dir/inbox; %u
    is replaced by the user. OWNER becomes the owner of the directory and its content.
    """

    def __init__(self, path, mail=None, more=""):
        need_root()
        if not os.path.exists(UNPACKED):
            die("no Dovecot in %s (run 'make deps')" % UNPACKED)
        self.dir = os.path.abspath(path)
        for d in ("", "/base", "/state", "/home"):
            os.makedirs(self.dir + d, mode=0o755, exist_ok=True)
        self.mail = mail or "maildir:%s/mail/%%u" % self.dir
        self.port = free_port()
        who = pwd.getpwnam(OWNER)
        self.give(self.dir + "/home", who)
        self.give(self.mail.split(":")[1].split("%")[0], who)
        self.conf = self.dir + "/dovecot.conf"
        self.configure(more)
        self.process = None

    def configure(self, more=""):
        """more: more lines of dovecot.conf, used from the next start."""
        who = pwd.getpwnam(OWNER)
        with open(self.conf, "w") as h:
            h.write(CONF.format(dir=self.dir, mail=self.mail, owner=OWNER, uid=who.pw_uid, gid=who.pw_gid,
                                port=self.port, password=PASSWORD, more=more))

    @staticmethod
    def give(path, who):
        os.makedirs(path, exist_ok=True)
        for at, dirs, files in os.walk(path):
            for f in [""] + dirs + files:
                os.chown(os.path.join(at, f), who.pw_uid, who.pw_gid, follow_symlinks=False)

    def start(self):
        # A separate mount namespace keeps the machine's /usr/lib/dovecot unchanged. doveconf
        # starts the server, which would otherwise search for it in /usr/bin.
        os.makedirs(BUILT_FOR, exist_ok=True)
        script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "dovecot", UNPACKED + BUILT_FOR, BUILT_FOR,
             UNPACKED + "/usr/bin/doveconf", "-c", self.conf, "-f", "service=master", "-m", "master", "-p",
             "-e", UNPACKED + "/usr/sbin/dovecot", "-F", "-c", self.conf],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir + "/stderr", "wb"),
            start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                die("dovecot ended with %d: %s" % (self.process.returncode, self.said()))
            return listening(self.port)
        wait_for(ready, 25, "Dovecot to listen (see %s/log)" % self.dir)
        return self

    def said(self):
        out = ""
        for f in ("stderr", "log"):
            if os.path.exists(os.path.join(self.dir, f)):
                with open(os.path.join(self.dir, f), errors="replace") as h:
                    out += h.read()
        return out

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def connect(self, user):
        c = Imap(self.port)
        c.auth(user, authcid=user)
        return c
