package backupd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/syslog"
)

// limits returns the limits of the process.
func limits(conf *imapconf.File) master.Limits {
	return master.Limits{
		MaxConns:     conf.Int("backup_max_connections"),
		Strangers:    strangers(conf),
		DrainTimeout: conf.Duration("backup_drain_timeout"),
		KeepAlive:    keepAlive(conf),
	}
}

// strangers returns how many clients may be connected before they log in, beside the others: as many as
// there are descriptors for.
func strangers(conf *imapconf.File) int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0
	}
	spare := int64(min(files.Cur, 1<<20)) - int64(conf.Int("backup_max_connections")) - master.OwnFiles
	return int(min(max(spare, 0), master.MostStrangers))
}

// keepAlive returns the TCP keepalive settings. 0 in imapd.conf keeps the system's default
// (master/service.c, main, tcp_keepalive), which package net expresses as a negative number.
func keepAlive(conf *imapconf.File) net.KeepAliveConfig {
	or := func(d time.Duration) time.Duration {
		if d <= 0 {
			return -1
		}
		return d
	}
	k := net.KeepAliveConfig{
		Enable:   conf.Switch("tcp_keepalive"),
		Idle:     or(conf.Duration("tcp_keepalive_idle")),
		Interval: or(conf.Duration("tcp_keepalive_intvl")),
		Count:    conf.Int("tcp_keepalive_cnt"),
	}
	if k.Count <= 0 {
		k.Count = -1
	}
	return k
}

// restartSettings returns the settings that cannot change without a restart, as text for
// comparison: partitions, index, log and sockets. It returns an error for settings that no
// process could start with: a reload must find them before a new process replaces the old
// one.
func restartSettings(conf *imapconf.File, service string) (string, error) {
	_, _, errLocations := stores.Locations(conf)
	partitions, errPartitions := partitionOptions(conf)
	log, errLog := syslog.FromConfig(conf, service, "")
	mask, errMask := umask(conf)
	if err := errors.Join(errLocations, errPartitions, errLog, errMask); err != nil {
		return "", err
	}
	return fmt.Sprint(fingerprint(conf), partitions, log, mask, conf.Int("backup_upload_concurrency"), " ",
		conf.String("backup_control_socket"), " ", conf.String("backup_metrics_listen"), " ", conf.String("backup_metrics_file"), " ", conf.String("backup_credentials_file"), " ", conf.String("proc_path"), " ",
		conf.Size("backup_index_reserve")), nil
}

// umask parses option umask.
func umask(conf *imapconf.File) (fs.FileMode, error) {
	mask, err := strconv.ParseUint(conf.String("umask"), 8, 12)
	if err != nil || mask > 0o777 {
		return 0, conf.Errorf("umask", "must be an octal number up to 777")
	}
	return fs.FileMode(mask), nil
}

// setUmask applies option umask (lib/libconfig.c, config_read).
func setUmask(conf *imapconf.File) error {
	mask, err := umask(conf)
	if err != nil {
		return err
	}
	unix.Umask(int(mask))
	return nil
}
