"""From nothing to a restored message."""
import os

from cyruslab.imap import q
from cyruslab.mail import source_messages

from stack import composefile
from stack.trial import messages

FOLDER = "Holidays"


def run(t):
    t.say("Anne gets mail: testdata/mail is delivered to the mail host over LMTP")
    n = t.deliver("anne", [m for m, _, _ in source_messages(os.path.join(composefile.project(), "testdata/mail")) if m])
    t.say("%d messages were taken; now she makes the folder %s, copies ten of them there and flags two" % (n, FOLDER))
    c = t.imap("anne")
    c.cmd("CREATE " + FOLDER)
    c.cmd("SELECT INBOX")
    c.cmd("COPY 1:10 " + FOLDER)
    c.cmd("SELECT " + FOLDER)
    c.cmd("STORE 1,3 +FLAGS (\\Flagged $Beach)")
    c.close()

    t.say("The mail host's sync_client sends all that to the backup host, which keeps it in the bucket. Waiting until "
          "both say the same …")
    t.arrives("anne")
    before = t.look("anne")
    t.say("… every mailbox, message, flag and subscription is in the bucket, and every message read back from it has "
          "the SHA-1 that the mail host's has")
    bucket(t)

    moment = t.moment()
    t.say("It is %s. Anne deletes %s by mistake" % (moment, FOLDER))
    c = t.imap("anne")
    c.cmd("DELETE " + q(FOLDER))
    c.close()
    t.arrives("anne")
    t.expect(messages(t.look("anne")) == messages(before) - 10, "the folder is still there")
    t.show("cyr_backup anne list mailboxes", t.tool("cyr_backup", "anne", "list", "mailboxes"))
    t.say("It is gone from the mail host, and the backup has heard of that. But nothing is lost: as of %s it is there" % moment)
    t.show("cyr_backup anne list mailboxes --at " + moment,
           t.tool("cyr_backup", "--at", moment, "anne", "list", "mailboxes"))

    t.say("restore brings it back to the mail host, as it was then")
    args = ["-v", "--at", moment, "mailhost:2005", "anne", "user/anne/" + FOLDER]
    t.show("restore " + " ".join(args), t.tool("restore", *args))
    t.equal(before, t.look("anne"), uids=False, ids=False, modseqs=False)
    t.say("The mail host has what it had before: the same %d messages in the same mailboxes, with the same flags, dates "
          "and bytes" % messages(before))
    t.arrives("anne")
    t.say("and the restored folder is in the backup again")


def bucket(t):
    r = t.stack.exec("minio", "rclone", "--config", "", "ls", "bucket:mail", user=None)
    t.expect(r.returncode == 0, "rclone: " + r.stderr.decode())
    t.show("rclone ls bucket:mail       (in the container minio)", r.stdout.decode())
    t.show("cyr_backup anne log         (in the container backuphost)", t.tool("cyr_backup", "anne", "log"))
