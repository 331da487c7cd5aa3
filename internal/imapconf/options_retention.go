package imapconf

// retentionOptions are our options about moments and folders that backup_retention does not keep.
func retentionOptions() []Option {
	const most = 100_000
	return []Option{
		{Name: "backup_keep_daily", Type: Int, Default: "0", Max: most,
			Doc: "For how many days before backup_retention the last moment of the day is kept. Days begin at midnight UTC, and only days with a moment count. Without backup_retention it has no effect."},
		{Name: "backup_keep_weekly", Type: Int, Default: "0", Max: most,
			Doc: "The same for weeks, from Monday on."},
		{Name: "backup_keep_monthly", Type: Int, Default: "0", Max: most,
			Doc: "The same for months."},
		{Name: "backup_keep_yearly", Type: Int, Default: "0", Max: most,
			Doc: "The same for years."},
		{Name: "backup_deleted_folders", Type: Duration, Unit: 'd',
			Doc: "Age at which a folder that the mail server has deleted with delay (below deletedprefix) counts as deleted in the backup: the mail server does not report that it has removed such a folder. Use at least the -D of its cyr_expire. Unset: backup_retention, at least 30 days. 0 or less: never. Without backup_retention it has no effect."},
	}
}
