package imapconf

// The tables follow lib/imapoptions of Cyrus 3.10 in names, types, defaults and units. The texts
// describe the meaning in this program. An Enum or List always has a default.

func identityOptions() []Option {
	return []Option{
		{Name: "configdirectory", Type: String,
			Doc: "Directory of the Cyrus configuration: it contains sockets, the process registry, logs and our index. Required; an absolute path."},
		{Name: "servername", Type: String,
			Doc: "Host name in greetings and for SASL. Default: the name of the host."},
		{Name: "virtdomains", Type: Enum, Default: "off", Words: []string{"off", "userid", "on"},
			Doc: "Whether user names may carry a domain (user@domain). Our server treats on like userid: it derives no domain from its own address."},
		{Name: "defaultdomain", Type: String, Default: "internal",
			Doc: "The domain that is left out of user and mailbox names if virtdomains is not off."},
		{Name: "username_tolower", Type: Switch, Default: "1",
			Doc: "Convert user names to lower case before login."},
		{Name: "unixhierarchysep", Type: Switch, Default: "1",
			Doc: "The tools show and accept mailbox names with / instead of . between levels."},
		{Name: "altnamespace", Type: Switch, Default: "1",
			Doc: "cyr_backup find shows a user's own mailboxes without INBOX in front."},
		{Name: "deletedprefix", Type: String, Default: "DELETED",
			Doc: "First component of the names of deleted mailboxes, used to find their owner."},
		{Name: "delete_mode", Type: Enum, Default: "delayed", Words: []string{"immediate", "delayed"}, NoEffect: true,
			Doc: "Whether the source renames mailboxes below deletedprefix (delayed) when they are deleted."},
	}
}

func loginOptions() []Option {
	return []Option{
		{Name: "admins", Type: String,
			Doc: "Who may use the server: user names, and group:NAME for the members of a system group, separated by blanks."},
		{Name: "unix_group_enable", Type: Switch, Default: "1",
			Doc: "Look up system groups for group: entries of admins."},
		{Name: "loginrealms", Type: String,
			Doc: "Realms whose users may log in as user@realm, separated by blanks."},
		{Name: "allowplaintext", Type: Switch, Default: "0",
			Doc: "Offer PLAIN and LOGIN on connections without encryption too."},
		{Name: "failedloginpause", Type: Duration, Default: "3s",
			Doc: "Delay before the answer to a failed login. Each further one from the same address (the same /64 with IPv6) within a minute waits that much longer, up to ten times."},
		{Name: "sasl_mech_list", Type: String,
			Doc: "The mechanisms to offer, separated by blanks, of PLAIN, LOGIN, SCRAM-SHA-1, SCRAM-SHA-256 and EXTERNAL (the certificate of the client). Others are ignored. Default: all that are possible."},
		{Name: "sasl_pwcheck_method", Type: String, Default: "auxprop",
			Doc: "Where PLAIN and LOGIN check passwords, in order: auxprop uses backup_credentials_path, saslauthd asks saslauthd(8)."},
		{Name: "sasl_saslauthd_path", Type: String, Default: "/run/saslauthd/mux",
			Doc: "The socket of saslauthd(8)."},
		{Name: "sasl_minimum_layer", Type: Int, Default: "0",
			Doc: "Minimum strength of encryption, in bits, for a login; TLS or the option -p provide it."},
		{Name: "sasl_maximum_layer", Type: Int, Default: "256", NoEffect: true,
			Doc: "Accepted for compatibility with Cyrus. Our mechanisms have no security layer."},
		{Name: "backup_credentials_path", Type: String, Default: "{configdirectory}/backup-credentials.db",
			Doc: "File with the SCRAM credentials that ctl_backups passwd writes. SCRAM mechanisms are offered only if it exists."},
		{Name: "backup_scopes", Type: String,
			Doc: "File with the users and shared mailboxes that each login may touch, a line each: the login, then user names (* matches any characters but @, and alone everything), %SHARED/NAME for a shared mailbox and all below it, or %SHARED for all of them and the annotations of the server. A login without a line may touch nothing; %UNIX is for connections through a UNIX socket. Read at the start and at SIGHUP. Default: none, every login may touch everything."},
	}
}

func tlsOptions() []Option {
	const absent = " The value disabled turns TLS off."
	return []Option{
		{Name: "tls_server_cert", Type: String,
			Doc: "PEM file with the server's certificate and its chain; two files, such as RSA and ECDSA, are separated by a comma. Read again when it changes." + absent},
		{Name: "tls_server_key", Type: String,
			Doc: "PEM file with the private key; two files as in tls_server_cert. Default: the file of the certificate." + absent},
		{Name: "tls_client_ca_file", Type: String,
			Doc: "PEM file with the authorities for checking client certificates."},
		{Name: "tls_client_ca_dir", Type: String,
			Doc: "Directory with the authorities for checking client certificates, named by their hash (openssl rehash)."},
		{Name: "tls_client_certs", Type: Enum, Default: "optional", Words: []string{"off", "optional", "require"},
			Doc: "Whether client certificates are ignored, checked if given, or required."},
		{Name: "tls_versions", Type: String, Default: "tls1_2 tls1_3",
			Doc: "The TLS versions to allow, of tls1_0, tls1_1, tls1_2 and tls1_3, separated by blanks. Cyrus's default has all four; the two old versions are insecure and must be listed explicitly."},
		{Name: "tls_ciphers", Type: String, Default: "DEFAULT",
			Doc: "Ciphers for TLS up to 1.2, in OpenSSL's syntax: names, common keywords, and ! or - to exclude. Go determines the order, and the ciphers of TLS 1.3."},
		{Name: "tls_crl_file", Type: String,
			Doc: "PEM file with lists of revoked client certificates."},
		{Name: "tls_prefer_server_ciphers", Type: Switch, Default: "0", NoEffect: true,
			Doc: "Accepted for compatibility with Cyrus. Go always determines the order."},
		{Name: "tls_eccurve", Type: String, Default: "prime256v1", NoEffect: true,
			Doc: "Accepted for compatibility with Cyrus. Go determines the curves."},
		{Name: "tls_required", Type: Switch, Default: "0",
			Doc: "Offer no login before TLS is active."},
		{Name: "allowstarttls", Type: Switch, Default: "1",
			Doc: "Offer STARTTLS, if a certificate is set."},
		{Name: "tls_session_timeout", Type: Duration, Default: "24h", Unit: 'm',
			Doc: "0 turns session resumption off; any other value leaves it to Go."},
		{Name: "tls_cert_file", Type: String, ReplacedBy: "tls_server_cert"},
		{Name: "tls_key_file", Type: String, ReplacedBy: "tls_server_key"},
		{Name: "tls_ca_file", Type: String, ReplacedBy: "tls_client_ca_file"},
		{Name: "tls_ca_path", Type: String, ReplacedBy: "tls_client_ca_dir"},
		{Name: "tls_cipher_list", Type: String, Default: "DEFAULT", ReplacedBy: "tls_ciphers"},
	}
}
