package main

const usage = `usage: restore [options] server [-u] backup {-a | mailbox | uniqueid | guid}...
       restore [options] --to {maildir:DIR | mbox:FILE | eml:DIR | tar:FILE | imap://USER@HOST/} backup ...
restore --help says more.
`

const help = `
What and from when
  -u, --userid ID       the backup of this user (the default for the word before the objects)
  -m, --mailbox NAME    the backup that this mailbox is in
  -f, --file PATH       the backup at this path of the bucket, as user/anne
  -a, --all-mailboxes   everything that lived: mailboxes, subscriptions, seen state,
                        scripts, quota, annotations
  -r, --recursive       with the mailboxes below those named
  -F, --input-file FILE objects from a file, one a line (- = standard input, # = comment)
  --at TIME             as of a moment: "2026-11-20 14:05", "yesterday 14:05", "3h ago",
                        RFC 3339
  --commit N            as of a chunk (cyr_backup BACKUP list chunks)
  --since, --until TIME only what was delivered or deleted between the two
  -X, --skip-expunged   never what had been expunged or deleted
  -x, --only-expunged   nothing but that
  A mailbox that is named brings what lives in it, and what was expunged from it and is
  still kept, as live messages. With -a, -U, --at or --commit it brings what lived in it
  then. A message named by its GUID comes back whether it was expunged or not. A name that
  no mailbox has any more means the one of that name that was deleted last.

Where to
  server                host, host:port, host:port/tls or the path of a socket: the csync
                        port of a Cyrus server. restore_authname and restore_password of
                        imapd.conf (else sync_authname, sync_password) log in there.
  --to WHERE            maildir:DIR, mbox:FILE, eml:DIR, tar:FILE (compressed if it ends in
                        .zst), imap://USER@HOST[:PORT]/ or imaps://…, sync://HOST[:PORT]
                        An IMAP account's password comes from RESTORE_IMAP_PASSWORD in the
                        environment, or with --password-file FILE. imap:// means STARTTLS;
                        ?tls=no at its end does without, ?authuser=ADMIN logs in as another.
                        maildir is Maildir++ (.Archive.2023 beside cur); mbox is a directory
                        of mboxrd files if there is more than one mailbox; eml and tar have
                        Archive/2023/UID-GUID.eml with messages.ndjson for the flags.
  -A, --override-acl[=ACL] ACL of new mailboxes; without a value the server's default
  -D, --keep-deletedprefix deleted mailboxes come back as DELETED.…
  -L, --local-only      do not tell a murder
  -M, --dest-mailbox NAME  everything into this mailbox
  -P, --dest-partition P   partition of new mailboxes
  -U, --keep-uidvalidity   keep uniqueid, uidvalidity, uids and modseqs where the server has
                        no such mailbox, or has the beginning of it

How
  -n, --dry-run         ask the server, say what would be changed, change nothing
  --flags-only          set the flags of messages that are there back; bring none
  --newest-first        the newest messages of each mailbox first
  --parallel N          N connections (a mailbox goes over one of them)
  --rate BYTES          at most so many bytes of mail a second, as 10MB
  -z, --require-compression  compress, or do not restore
  --progress HOW        auto (a bar on a terminal), bar, json (a line a second on standard
                        error) or none
  -v, --verbose         say what is restored; twice: each message
  -w SECONDS            wait before anything is done
  -C FILE               imapd.conf (default /etc/imapd.conf)

A restore only adds. What the destination has is neither overwritten nor brought twice: a
message is there already if its mailbox has one with the same bytes. So it can be cut and
run again.

Exit status: 0 all done; 64 the command line makes no sense; 75 something could not be
restored, each thing with a line on standard error; 78 imapd.conf has to be mended;
130 interrupted.

Examples
  restore imap1.example.com anne user/anne/Sent
  restore -U --at "yesterday 14:05" imap1.example.com -u anne -a
  restore -n -v --since "2h ago" imap1.example.com anne -a
  restore --to maildir:/tmp/anne anne -a
`
