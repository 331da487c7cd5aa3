package imapconf

func protocolOptions() []Option {
	return []Option{
		{Name: "sync_timeout", Type: Duration, Default: "30m", Floor: 3,
			Doc: "How long a connection may be silent. At least 3 seconds."},
		{Name: "maxword", Type: Size, Default: "128K",
			Doc: "Longest word that is accepted; 0 means a large built-in limit."},
		{Name: "maxquoted", Type: Size, Default: "128K",
			Doc: "Longest quoted string that is accepted; 0 means a large built-in limit."},
		{Name: "maxliteral", Type: Size, Default: "128K", NoEffect: true,
			Doc: "Longest literal that is accepted inside data; 0 means a large built-in limit. Messages are limited by backup_max_literal only."},
		{Name: "tcp_keepalive", Type: Switch, Default: "0",
			Doc: "Enable keepalive on TCP connections."},
		{Name: "tcp_keepalive_cnt", Type: Int, Default: "0",
			Doc: "Keepalive probes before a connection counts as dead; 0: the system's default."},
		{Name: "tcp_keepalive_idle", Type: Duration, Default: "0",
			Doc: "Silence before the first keepalive probe; 0: the system's default."},
		{Name: "tcp_keepalive_intvl", Type: Duration, Default: "0",
			Doc: "Time between keepalive probes; 0: the system's default."},
		{Name: "telemetry_bysessionid", Type: Switch, Default: "0",
			Doc: "Name telemetry logs after the session instead of the process."},
		{Name: "serverinfo", Type: Enum, Default: "on", Words: []string{"off", "min", "on"}, NoEffect: true,
			Doc: "How much of the program's name and version the greeting shows."},
	}
}

func processOptions() []Option {
	return []Option{
		{Name: "cyrus_user", Type: String, Default: "cyrus",
			Doc: "The account that owns the files, for ctl_backups doctor. Files belong to the account under which master(8) starts backupd."},
		{Name: "cyrus_group", Type: String, NoEffect: true,
			Doc: "The group of that account."},
		{Name: "proc_path", Type: String, Default: "{configdirectory}/proc",
			Doc: "Directory of the process registry that cyr_info proc reads."},
		{Name: "temp_path", Type: String, Default: "/tmp",
			Doc: "Directory for temporary files."},
		{Name: "umask", Type: String, Default: "077",
			Doc: "Mode bits, in octal, to remove from new files."},
		{Name: "syslog_prefix", Type: String,
			Doc: "Prefix of the program's name in syslog: prefix/name. CYRUS_SYSLOG_PREFIX in the environment overrides it."},
		{Name: "syslog_facility", Type: String,
			Doc: "Facility in syslog: DAEMON, MAIL (the default), NEWS, USER, LOCAL0 to LOCAL7."},
		{Name: "debug", Type: Switch, Default: "0",
			Doc: "Log debug messages too."},
		{Name: "debug_command", Type: String,
			Doc: "Command to run at start with the option -D; a C format with program, process id and service."},
	}
}

// cyrusBackupOptions are the options of Cyrus Backups (3.0 to 3.10).
func cyrusBackupOptions() []Option {
	return []Option{
		{Name: "backuppartition-", Family: true, Type: String,
			Doc: "backuppartition-NAME: where partition NAME stores its backups: a directory, s3://bucket/prefix?region=…&endpoint=…&profile=…, or minio://host:port/bucket/prefix?tls=…. At least one is needed; new users are spread over all."},
		{Name: "backup_retention", Type: Duration, Unit: 'd',
			Doc: "How long to keep every moment of a backup, and content after it has been deleted from the source. ctl_backups compact removes older moments. Less than 48h counts as 48h. Unset, 0 or less: for ever. The default of Cyrus, 7 days, does not apply."},
		{Name: "backup_retention_days", Type: Duration, Unit: 'd', ReplacedBy: "backup_retention"},
		{Name: "backup_compact_minsize", Type: Size, Default: "0", Unit: 'K', NoEffect: true,
			Doc: "No effect: ctl_backups compact joins the changes of a day in one object of at most 8 MiB."},
		{Name: "backup_compact_maxsize", Type: Size, Default: "0", Unit: 'K', NoEffect: true,
			Doc: "No effect: see backup_compact_minsize, and backup_pack_size for messages."},
		{Name: "backup_compact_work_threshold", Type: Int, Default: "1", Floor: 1, NoEffect: true,
			Doc: "No effect: ctl_backups compact merges every change that is old enough."},
		{Name: "backup_keep_previous", Type: Switch, Default: "0", NoEffect: true,
			Doc: "No effect: ctl_backups compact removes objects only after it has read back what replaces them."},
		{Name: "backup_staging_path", Type: String, Default: "{temp_path}/backup", NoEffect: true,
			Doc: "Directory for received messages that are not stored yet and do not fit in memory."},
		{Name: "backup_db_path", Type: String, Default: "{configdirectory}/backups.db", NoEffect: true,
			Doc: "The list of backups of Cyrus's own backupd; used to import old backups."},
	}
}
