package imapconf

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// storageOptions are our options about storage.
func storageOptions() []Option {
	return []Option{
		{Name: "backup_compression", Type: Enum, Default: "fastest", Words: []string{"fastest", "default", "better"},
			Doc: "How hard to compress: default and better cost processor time and save space."},
		{Name: "backup_inline_limit", Type: Size, Default: "1M", Max: 8 * mib,
			Doc: "Messages that add up to less than this are stored together with the change that refers to them, in one request; larger amounts go into packs."},
		{Name: "backup_chunk_threshold", Type: Size, Default: "1M", Min: 256 * kib, Max: gib,
			Doc: "Messages of this size or more are split into pieces, so that equal parts are stored once."},
		{Name: "backup_pack_size", Type: Size, Default: "12M", Min: 8 * mib, Max: 16 * mib,
			Doc: "Size at which a pack of messages is full and is stored."},
		{Name: "backup_pack_buffers", Type: Int, Default: "3", Min: 1, Max: 64,
			Doc: "How many packs may be in memory at once, for all connections together."},
		{Name: "backup_memory_limit", Type: Size, Default: "192M", Min: 64 * mib,
			Doc: "Memory that the server tries to stay below."},
		{Name: "backup_upload_concurrency", Type: Int, Default: "4", Min: 1, Max: 256,
			Doc: "How many objects are stored at the same time in one partition."},
		{Name: "backup_dedup", Type: Enum, Default: "partition", Words: []string{"partition", "backup"},
			Doc: "Whether equal messages are stored once per partition, or once per backup so that no user's data depends on another's. Fixed when a partition is created."},
		{Name: "backup_exclusive", Type: Switch, Default: "0",
			Doc: "Promise that this host is the only writer of its partitions. Needed for a store that cannot put an object only if it is absent."},
		{Name: "backup_credentials_file", Type: String,
			Doc: "File with the keys of the buckets, in the form of ~/.aws/credentials. The profile is named by the location; otherwise it is default. If this option is set, the server and the tools look for keys only there; the file is read again when it changes. Default: none, see backupd(8). Do not confuse it with backup_credentials_path."},
		{Name: "backup_log_min_age", Type: Duration, Default: "48h", Min: 3600,
			Doc: "Changes younger than this are neither merged nor removed from a backup's log by ctl_backups compact, which works by whole days (UTC). Retention removes nothing younger than 48h, even if this is shorter. A host that sleeps longer than this and then continues may have to read a backup again."},
		{Name: "backup_tripwire", Type: String, Default: "30% 1d 500",
			Doc: "How much of a user's mail must be deleted, moved to the trash or replaced to place a hold: a share, the time within which, and the least number of messages. Until ctl_backups release, nothing is removed from that backup, and the log has a line at level err. no: never."},
		{Name: "backup_outage_wait", Type: Duration, Default: "10m", Max: 7 * 86400,
			Doc: "How long a command waits for an unreachable store before the client is asked to try again later. Keep it well below the sync_timeout of the clients."},
		{Name: "backup_prices", Type: String,
			Doc: "What the stores charge, for ctl_backups cost and compact -n: a currency, then the price of a gigabyte (2^30 bytes) for a month, of 1,000 requests that put or list, and of 1,000 that read, such as EUR storage=0.02 put=0.005 get=0.0004. Default: the list prices of S3 Standard in us-east-1 for buckets at AWS, unknown for others."},
		{Name: "backup_seal_key", Type: String,
			Doc: "File with the secret key of ctl_backups seal, without a password; ctl_backups seal --init-key makes it. It must belong to the user that runs seal or to root, with mode 0600, best on a host without the keys of the daemon."},
		{Name: "backup_seal_public_keys", Type: String,
			Doc: "Public keys that signed lists may be signed with, for ctl_backups verify --seals: that of backup_seal_key, and former ones as KEY:NUMBER, with the last list that each has signed, with spaces between. Default: that of backup_seal_key."},
		{Name: "backup_missing_retry", Type: Duration, Default: "1d", Min: 1,
			Doc: "How often a client is asked again for a message that the client could not read."},
	}
}

// serviceOptions are our options about the running server.
func serviceOptions() []Option {
	return []Option{
		{Name: "backup_index_path", Type: String, Default: "{configdirectory}/backup-index",
			Doc: "Directory of the local index. You can delete it at any time; it is then rebuilt from the store."},
		{Name: "backup_index_reserve", Type: Size, Default: "128M",
			Doc: "How much free space the file system of the index must have. With less, the index is closed and clients are asked to try again later, until there is room. 0: no check."},
		{Name: "backup_control_socket", Type: String, Default: "{configdirectory}/socket/backupd-control",
			Doc: "Socket on which the tools and other processes reach the running server."},
		{Name: "backup_max_connections", Type: Int, Default: "256", Min: 1, Max: 65536,
			Doc: "How many clients that have logged in are served at the same time. Clients that have not give way to others."},
		{Name: "backup_max_literal", Type: Size, Default: "64M", Min: 64 * kib,
			Doc: "Largest accepted value other than a message, such as a Sieve script or an annotation."},
		{Name: "backup_drain_timeout", Type: Duration, Default: "60s", Max: 86400,
			Doc: "How long sessions may continue when the server shuts down."},
		{Name: "backup_offer_compress", Type: Enum, Default: "auto", Words: []string{"auto", "yes", "no"},
			Doc: "Whether to offer COMPRESS DEFLATE. auto: to clients that are not on this host or its network."},
		{Name: "backup_metrics_listen", Type: String,
			Doc: "Address (host:port) or socket (absolute path) that serves metrics for Prometheus at /metrics. While it is set, the server stays when it is idle, whatever -T says; start it with prefork=1. Whoever reaches the address can read the metrics. Default: none."},
		{Name: "backup_metrics_file", Type: String,
			Doc: "File with metrics for the textfile collector of node_exporter; its name must end in .prom. It is written twice a minute, and at the end of an idle server. The user of the server needs to create files in its directory. Default: none."},
	}
}

// clientOptions are the options with which the restore tool logs in to a Cyrus server.
func clientOptions() []Option {
	return []Option{
		{Name: "sync_host", Type: String, NoEffect: true, Doc: "The server of sync_client(8). restore takes the server from its command line."},
		{Name: "sync_port", Type: String, Default: "csync", Doc: "Its port: a service name or a number."},
		{Name: "sync_authname", Type: String, Doc: "User name for the login there."},
		{Name: "sync_password", Type: String, Doc: "Password for the login there."},
		{Name: "sync_realm", Type: String, Doc: "Realm for the login there."},
		{Name: "restore_authname", Type: String, Doc: "User name for the login there; overrides sync_authname."},
		{Name: "restore_password", Type: String, Doc: "Password for the login there; overrides sync_password."},
		{Name: "restore_realm", Type: String, Doc: "Realm for the login there; overrides sync_realm."},
		{Name: "force_sasl_client_mech", Type: String, Doc: "The mechanism to log in with."},
		{Name: "client_timeout", Type: Duration, Default: "10s", Doc: "How long to wait for a connection."},
		{Name: "client_bind", Type: Switch, Default: "0", NoEffect: true, Doc: "Connect from a given address: client_bind_name, or servername."},
		{Name: "client_bind_name", Type: String, NoEffect: true, Doc: "The address to connect from if client_bind is on."},
		{Name: "tls_client_cert", Type: String, Doc: "PEM file with the client certificate for servers. disabled: none."},
		{Name: "tls_client_key", Type: String, Doc: "PEM file with the key of tls_client_cert."},
		{Name: "tls_server_ca_file", Type: String, Doc: "PEM file with the authorities for checking server certificates."},
		{Name: "tls_server_ca_dir", Type: String, NoEffect: true, Doc: "Directory with the authorities for checking server certificates."},
	}
}
