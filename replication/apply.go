package replication

import "context"

// applies returns what may follow APPLY (imap/sync_support.c, sync_apply;
// backup/backupd.c, cmd_apply). The LOCAL_ forms, which sync_client -L sends,
// ask a mail server not to pass the change on; here they are the same.
func applies() map[string]request {
	t := map[string]request{
		"MAILBOX":   {policy: deferrable, run: (*conn).applyMailbox},
		"RESERVE":   {policy: deferrable, run: (*conn).applyReserve},
		"MESSAGE":   {policy: deferrable, run: (*conn).applyMessage},
		"EXPUNGE":   {policy: notDeferrable, run: whole(applyExpunge)},
		"UNMAILBOX": {policy: droppable, run: whole(applyUnmailbox)},
		"RENAME":    {policy: notDeferrable, run: whole(applyRename)},
		"UNUSER":    {policy: droppable, run: whole(applyUnuser)},

		"SEEN":             {policy: ignored, run: whole(applySeen)},
		"SUB":              {policy: promotable, run: whole(applySub)},
		"UNSUB":            {policy: promotable, run: whole(applyUnsub)},
		"SIEVE":            {policy: promotable, run: whole(applySieve)},
		"UNSIEVE":          {policy: promotable, run: whole(applyUnsieve)},
		"ACTIVATE_SIEVE":   {policy: promotable, run: whole(applyActivateSieve)},
		"UNACTIVATE_SIEVE": {policy: promotable, run: whole(applyUnactivateSieve)},

		"QUOTA":        {policy: quotaChain, run: whole(applyQuota)},
		"UNQUOTA":      {policy: quotaChain, run: whole(applyUnquota)},
		"ANNOTATION":   {policy: neverRefused, run: whole(applyAnnotation)},
		"UNANNOTATION": {policy: neverRefused, run: whole(applyUnannotation)},

		"FORCE":        {policy: promotable, run: whole(applyForce)},
		"CAPABILITIES": {policy: promotable, run: whole(applyCapabilities)},
	}
	for _, name := range []string{"MAILBOX", "UNMAILBOX", "RENAME", "UNUSER"} {
		t["LOCAL_"+name] = t[name]
	}
	return t
}

func (c *conn) apply(ctx context.Context, verb string) error {
	return c.dispatch(ctx, verb, c.srv.applies)
}
