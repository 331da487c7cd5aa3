package indexvalue

// The words that most values contain. Their order belongs to the format of the index.

var flagTable = [...]string{
	`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\Expunged`, `\Archived`, `\Unlinked`,
	`\NeedsCleanup`, `\Snoozed`, `\SplitConversation`, `\Tracked`,
	"$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "Junk", "NonJunk", "NotJunk", "Old",
	"$HasAttachment", "$HasNoAttachment", "$IsMailingList", "$IsNotification", "$label1", "$label2", "$label3", "$label4", "$label5",
}

var keyTable = [...]string{
	"UNIQUEID", "MBOXNAME", "MBOXTYPE", "MBTYPE", "SYNC_CRC", "SYNC_CRC_ANNOT", "LAST_UID", "HIGHESTMODSEQ",
	"RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN", "POP3_SHOW_AFTER", "UIDVALIDITY", "PARTITION",
	"ACL", "OPTIONS", "QUOTAROOT", "CREATEDMODSEQ", "FOLDERMODSEQ", "RACLMODSEQ", "XCONVMODSEQ", "VERSION", "JMAPID",
	"ANNOTATIONS", "ENTRY", "USERID", "MODSEQ", "VALUE",
}

var entryTable = [...]string{
	"/vendor/cmu/cyrus-imapd/thrid", "/vendor/cmu/cyrus-imapd/savedate", "/vendor/cmu/cyrus-imapd/createdmodseq",
	"/vendor/cmu/cyrus-imapd/basethrid", "/comment", "/altsubject",
}
