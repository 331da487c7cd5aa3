"""From nothing to a restored message."""
import os

from cyruslab.imap import q
from cyruslab.mail import source_messages

from stack import composefile
from stack.trial import messages

FOLDER = "Holidays"


def run(t):
    t.log("Anne gets mail: testdata/mail is delivered to the mail host over LMTP")
    n = t.deliver("anne", [m for m, _, _ in source_messages(os.path.join(composefile.project(), "testdata/mail")) if m])
    t.log("%d messages were accepted; now she creates the folder %s, copies ten messages there and flags two" % (n, FOLDER))
    c = t.imap("anne")
    c.cmd("CREATE " + FOLDER)
    c.cmd("SELECT INBOX")
    c.cmd("COPY 1:10 " + FOLDER)
    c.cmd("SELECT " + FOLDER)
    c.cmd("STORE 1,3 +FLAGS (\\Flagged $Beach)")
    c.close()

    t.log("The mail host's sync_client sends everything to the backup host, which stores it in the bucket. Waiting until "
          "both agree …")
    t.arrives("anne")
    before = t.look("anne")
    t.log("… every mailbox, message, flag and subscription is in the bucket, and every message read back has "
          "the same SHA-1 as at the mail host")
    bucket(t)

    moment = t.moment()
    t.log("It is %s. Anne deletes %s by mistake" % (moment, FOLDER))
    c = t.imap("anne")
    c.cmd("DELETE " + q(FOLDER))
    c.close()
    t.arrives("anne")
    t.expect(messages(t.look("anne")) == messages(before) - 10, "the folder still exists")
    t.show("cyr_backup anne list mailboxes", t.tool("cyr_backup", "anne", "list", "mailboxes"))
    t.log("It is deleted from the mail host, and the backup has recorded that. But nothing is lost: at %s it existed" % moment)
    t.show("cyr_backup anne list mailboxes --at " + moment,
           t.tool("cyr_backup", "--at", moment, "anne", "list", "mailboxes"))

    t.log("restore returns it to the mail host, in the state of that time")
    args = ["-v", "--at", moment, "mailhost:2005", "anne", "user/anne/" + FOLDER]
    t.show("restore " + " ".join(args), t.tool("restore", *args))
    t.equal(before, t.look("anne"), uids=False, ids=False, modseqs=False)
    t.log("The mail host has the same %d messages as before, in the same mailboxes, with the same flags, dates "
          "and bytes" % messages(before))
    t.arrives("anne")
    t.log("and the restored folder is in the backup again")


def bucket(t):
    r = t.stack.exec("minio", "rclone", "--config", "", "ls", "bucket:mail", user=None)
    t.expect(r.returncode == 0, "rclone: " + r.stderr.decode())
    t.show("rclone ls bucket:mail       (in the container minio)", r.stdout.decode())
    t.show("cyr_backup anne log         (in the container backuphost)", t.tool("cyr_backup", "anne", "log"))
