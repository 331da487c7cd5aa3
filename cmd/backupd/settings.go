package main

import (
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"backupd/internal/imapconf"
	"backupd/internal/master"
)

// limits are the settings of the process's life.
func limits(conf *imapconf.File) master.Limits {
	return master.Limits{
		MaxConns:     conf.Int("backup_max_connections"),
		DrainTimeout: conf.Duration("backup_drain_timeout"),
		KeepAlive:    keepAlive(conf),
	}
}

// keepAlive: where imapd.conf says 0 the system's default stays (master/service.c,
// main, tcp_keepalive), which to package net is a negative number.
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

// setUmask applies option umask (lib/libconfig.c, config_read).
func setUmask(conf *imapconf.File) error {
	mask, err := strconv.ParseUint(conf.String("umask"), 8, 12)
	if err != nil || mask > 0o777 {
		return conf.Errorf("umask", "an octal number up to 777 is allowed")
	}
	unix.Umask(int(mask))
	return nil
}
