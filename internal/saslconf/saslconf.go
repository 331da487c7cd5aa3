// Package saslconf reads the options of imapd.conf(5) that decide who may log in, and how.
package saslconf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// Options reads the login policy from imapd.conf. Warnings are for the log: settings that
// have no effect here. The error names a value that is not allowed.
func Options(conf *imapconf.File) (opt sasl.Options, warnings []string, err error) {
	opt = sasl.Options{
		Mechanisms:     strings.Fields(strings.ToUpper(conf.String("sasl_mech_list"))),
		AllowPlaintext: conf.Switch("allowplaintext"),
		TLSRequired:    conf.Switch("tls_required"),
		MinimumLayer:   conf.Int("sasl_minimum_layer"),
		Users:          UserNames(conf),
		LoginRealms:    conf.Words("loginrealms"),
		Admins:         sasl.Admins{Words: conf.Words("admins"), ToLower: conf.Switch("username_tolower")},
		Credentials:    sasl.OpenCredentials(conf.String("backup_credentials_path")),
	}
	if conf.Switch("unix_group_enable") {
		opt.Admins.Groups = sasl.SystemGroups
	}
	for _, m := range opt.Mechanisms {
		if !slices.Contains(sasl.Mechanisms(), m) {
			warnings = append(warnings, fmt.Sprintf("%s: sasl_mech_list: %s is not offered here", conf.Origin("sasl_mech_list"), m))
		}
	}
	if len(opt.Admins.Words) == 0 {
		warnings = append(warnings, "admins is not set: nobody can use the server over TCP")
	}
	for _, method := range conf.Words("sasl_pwcheck_method") {
		switch method {
		case "auxprop":
			opt.Passwords = append(opt.Passwords, opt.Credentials)
		case "saslauthd":
			opt.Passwords = append(opt.Passwords, &sasl.Saslauthd{Path: conf.String("sasl_saslauthd_path")})
		default:
			return sasl.Options{}, nil, conf.Errorf("sasl_pwcheck_method", "%q is not known; allowed: auxprop, saslauthd", method)
		}
	}
	if !opt.Credentials.Exists() && !slices.Contains(conf.Words("sasl_pwcheck_method"), "saslauthd") {
		warnings = append(warnings, fmt.Sprintf("no mechanism to log in with: %s does not exist (see ctl_backups passwd) and sasl_pwcheck_method has no saslauthd", conf.String("backup_credentials_path")))
	}
	return opt, warnings, nil
}

// UserNames returns the rules for the names of logins.
func UserNames(conf *imapconf.File) sasl.UserNames {
	return sasl.UserNames{
		ToLower:       conf.Switch("username_tolower"),
		Domains:       conf.Word("virtdomains") != "off",
		DefaultDomain: conf.String("defaultdomain"),
	}
}
