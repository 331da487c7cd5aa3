package history

// Kind implements Event. It returns the value of the key "event".
func (*MailboxEvent) Kind() string      { return "mailbox" }
func (*RecordsEvent) Kind() string      { return "records" }
func (*RecordBlocksEvent) Kind() string { return "recordblocks" }
func (*CompleteEvent) Kind() string     { return "complete" }
func (*ExpungeEvent) Kind() string      { return "expunge" }
func (*MessagesEvent) Kind() string     { return "messages" }
func (*RenameEvent) Kind() string       { return "rename" }
func (*UnmailboxEvent) Kind() string    { return "unmailbox" }
func (*ResyncEvent) Kind() string       { return "resync" }
func (*SubEvent) Kind() string          { return "sub" }
func (*SeenEvent) Kind() string         { return "seen" }
func (*SieveEvent) Kind() string        { return "sieve" }
func (*UnsieveEvent) Kind() string      { return "unsieve" }
func (*SieveActiveEvent) Kind() string  { return "sieve-active" }
func (*QuotaEvent) Kind() string        { return "quota" }
func (*UnquotaEvent) Kind() string      { return "unquota" }
func (*AnnotationEvent) Kind() string   { return "annotation" }
func (*UnuserEvent) Kind() string       { return "unuser" }
func (*AdoptedEvent) Kind() string      { return "adopted" }
func (*MovedAwayEvent) Kind() string    { return "moved-away" }
func (*PruneEvent) Kind() string        { return "prune" }
func (*RetainedEvent) Kind() string     { return "retained" }
func (*BridgedEvent) Kind() string      { return "bridged" }
func (*LostEvent) Kind() string         { return "lost" }
func (*ErasedEvent) Kind() string       { return "erased" }
func (*LockedEvent) Kind() string       { return "locked" }
func (*SealedEvent) Kind() string       { return "sealed" }
