package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startNull runs a server that stores nothing, to measure the client's limit.
func (l *lab) startNull(s *server, set setup) error {
	args := []string{"serve-null", "127.0.0.1:0"}
	if set.compress {
		args = append(args, "--compress")
	}
	cmd := exec.Command(filepath.Join(s.build.dir, "backup_replay"), args...)
	cmd.Stderr = &s.complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.procs = append(s.procs, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	s.addr = strings.TrimSpace(strings.TrimPrefix(line, "listening at "))
	return err
}

// configure creates the imapd.conf and directories that every kind of server needs.
func (l *lab) configure(s *server, lines ...string) error {
	for _, d := range []string{"", "db", "socket", "log", "proc", "msg", "quota", "user", "sync", "lock", "temp", "backup", "spool", "store", "sieve"} {
		if err := mkdir(filepath.Join(s.dir, d)); err != nil {
			return err
		}
	}
	text := strings.Join(append([]string{
		"configdirectory: " + s.dir,
		"temp_path: " + filepath.Join(s.dir, "temp"),
		"servername: bench.example",
		"admins: " + login,
		"allowplaintext: yes",
		"sasl_mech_list: PLAIN",
		"sasl_pwcheck_method: saslauthd",
		"sasl_saslauthd_path: " + l.sasl.path,
		// Debian's restore reads the options of sync_client
		"restore_authname: " + login, "restore_password: " + password,
		"sync_authname: " + login, "sync_password: " + password,
	}, lines...), "\n") + "\n"
	s.conf = filepath.Join(s.dir, "imapd.conf")
	return os.WriteFile(s.conf, []byte(text), 0o644)
}

// startDebian runs Cyrus Backups, where a process serves one connection at a time.
func (l *lab) startDebian(s *server, set setup) error {
	store := filepath.Join(s.dir, "store")
	s.kept = func(context.Context) (int64, error) { return sizeOf(store) }
	err := l.configure(s, append(set.lines, "partition-default: "+filepath.Join(s.dir, "spool"), "defaultpartition: default",
		"backuppartition-default: "+store)...)
	if err != nil {
		return err
	}
	return s.serve(set.connections, "backupd", filepath.Join(l.cyrus, "backupd"), "-C", s.conf)
}

// startCyrus runs a replica.
func (l *lab) startCyrus(s *server, set setup) error {
	spool := filepath.Join(s.dir, "spool")
	s.kept = func(context.Context) (int64, error) { return sizeOf(spool) }
	err := l.configure(s, append(set.lines, "partition-default: "+spool, "defaultpartition: default", "sievedir: "+filepath.Join(s.dir, "sieve"),
		"annotation_allow_undefined: yes", "sync_log: no", "duplicatesuppression: no")...)
	if err != nil {
		return err
	}
	return s.serve(set.connections, "syncserver", filepath.Join(l.cyrus, "sync_server"), "-C", s.conf)
}

func (l *lab) startOnDirectory(s *server, set setup) error {
	store := filepath.Join(s.dir, "store")
	s.kept = func(context.Context) (int64, error) { return sizeOf(store) }
	return l.startOurs(s, store, set)
}

func (l *lab) startOurs(s *server, location string, set setup) error {
	lines := append([]string{"backuppartition-default: " + location, "backup_index_path: " + s.index()}, set.lines...)
	if l.level != "" {
		lines = append(lines, "backup_compression: "+l.level)
	}
	if set.compress {
		lines = append(lines, "backup_offer_compress: yes")
	}
	if err := l.configure(s, append(lines, strings.Split(l.conf, ";")...)...); err != nil {
		return err
	}
	if set.idle {
		return nil
	}
	return s.run()
}

// run starts our backupd, the first time or again.
func (s *server) run() error {
	return s.serve(1, "backupd", filepath.Join(s.build.dir, "backupd"), "-C", s.conf)
}

// index is the directory of our index.
func (s *server) index() string { return filepath.Join(s.dir, "index") }
