package backupd

import (
	"log/slog"
	"os"

	"github.com/cyrusbackup/backupd/internal/procfile"
)

// procFile is the entry in the process registry, if it could be created.
type procFile struct {
	log  *slog.Logger
	file *procfile.File // nil: no entry
}

func openProcFile(log *slog.Logger, dir, service string) *procFile {
	f, err := procfile.New(dir, os.Getpid(), service)
	if err != nil {
		log.Warn("this process will not be listed", slog.Any("err", err))
		return &procFile{log: log}
	}
	return &procFile{log: log, file: f}
}

func (p *procFile) observe(s connection) {
	if p.file == nil {
		return
	}
	var err error
	if s.ended {
		err = p.file.End(s.id)
	} else {
		err = p.file.Set(s.id, procfile.Session{Host: s.host, User: s.user})
	}
	if err != nil {
		p.log.Debug("process registry", slog.Any("err", err))
	}
}

func (p *procFile) remove() {
	if p.file == nil {
		return
	}
	if err := p.file.Remove(); err != nil {
		p.log.Warn("process registry", slog.Any("err", err))
	}
}
