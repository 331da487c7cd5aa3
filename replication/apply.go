package replication

import "context"

// applies returns what may follow APPLY (imap/sync_support.c, sync_apply;
// backup/backupd.c, cmd_apply). The LOCAL_ forms, which sync_client -L sends,
// ask a mail server not to pass the change on; here they are the same.
func applies() map[string]request {
	t := map[string]request{
		"MAILBOX":   {deferrable, (*conn).applyMailbox},
		"RESERVE":   {deferrable, (*conn).applyReserve},
		"MESSAGE":   {deferrable, (*conn).applyMessage},
		"EXPUNGE":   {notDeferrable, whole(applyExpunge)},
		"UNMAILBOX": {notDeferrable, whole(applyUnmailbox)},
		"RENAME":    {notDeferrable, whole(applyRename)},
		"UNUSER":    {notDeferrable, whole(applyUnuser)},

		"SEEN":             {promotable, whole(applySeen)},
		"SUB":              {promotable, whole(applySub)},
		"UNSUB":            {promotable, whole(applyUnsub)},
		"SIEVE":            {promotable, whole(applySieve)},
		"UNSIEVE":          {promotable, whole(applyUnsieve)},
		"ACTIVATE_SIEVE":   {promotable, whole(applyActivateSieve)},
		"UNACTIVATE_SIEVE": {promotable, whole(applyUnactivateSieve)},

		"QUOTA":        {neverRefused, whole(applyQuota)},
		"UNQUOTA":      {neverRefused, whole(applyUnquota)},
		"ANNOTATION":   {neverRefused, whole(applyAnnotation)},
		"UNANNOTATION": {neverRefused, whole(applyUnannotation)},

		"FORCE":        {promotable, whole(applyForce)},
		"CAPABILITIES": {promotable, whole(applyCapabilities)},
	}
	for _, name := range []string{"MAILBOX", "UNMAILBOX", "RENAME", "UNUSER"} {
		t["LOCAL_"+name] = t[name]
	}
	return t
}

func (c *conn) apply(ctx context.Context, verb string) error {
	return c.dispatch(ctx, verb, c.srv.applies)
}
