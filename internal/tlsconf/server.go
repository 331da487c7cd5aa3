package tlsconf

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Server provides TLS for listeners and STARTTLS. The nil pointer means that TLS is off. Server is
// safe for concurrent use.
type Server struct {
	conf *imapconf.File
	log  *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	stamps  map[string]stamp // files read by the last attempt to load
}

// Load reads the options and their files. It returns nil and no error if TLS is off: if
// tls_server_cert or tls_server_key is "disabled", or there is no certificate. An error names file,
// line and option. Unsupported values, and files that become invalid later, are logged; log may be
// nil.
func Load(conf *imapconf.File, log *slog.Logger) (*Server, error) {
	if !enabled(conf) {
		return nil, nil
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{conf: conf, log: log}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Config returns the configuration for the next connection. It reads changed files; if their content
// is invalid, it logs that once and keeps the old configuration. The result must not be modified.
func (s *Server) Config() *tls.Config {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changedLocked() {
		if err := s.reloadLocked(); err != nil {
			s.log.Error("TLS keeps the old certificates", "err", err)
		}
	}
	return s.current
}

// Reload reads all files again. After an error the old configuration stays in use.
func (s *Server) Reload() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reloadLocked()
}

func (s *Server) reloadLocked() error {
	b := &builder{conf: s.conf, stamps: make(map[string]stamp)}
	config, err := b.build()
	s.stamps = b.stamps
	if err != nil {
		return err
	}
	for _, w := range b.warnings {
		s.log.Warn(w)
	}
	s.current = config
	return nil
}

// stamp identifies a state of a file or directory.
type stamp struct {
	info  fs.FileInfo
	mtime time.Time
	size  int64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info: info, mtime: info.ModTime(), size: info.Size()}
}

func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.mtime.Equal(o.mtime) && s.size == o.size
}

func (s *Server) changedLocked() bool {
	for path, before := range s.stamps {
		if !before.same(stampOf(path)) {
			return true
		}
	}
	return false
}
