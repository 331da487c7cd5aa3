package main

import (
	"os"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// document writes tables as they are finished, so that a run that ends early has written
// the others.
type document struct {
	options
	facts  string // about the machine and the run
	tables map[string]*record.Table
}

// add replaces the text between the markers of the table, of the facts and of the summary.
func (d *document) add(t *record.Table) error {
	if d.tables == nil {
		d.tables = map[string]*record.Table{}
	}
	d.tables[t.Name] = t
	if d.out != "" {
		err := writeJSON(d.out, struct {
			Facts  string                   `json:"facts"`
			Tables map[string]*record.Table `json:"tables"`
		}{d.facts, d.tables})
		if err != nil {
			return err
		}
	}
	if d.docs == "" {
		return nil
	}
	b, err := os.ReadFile(d.docs)
	if err != nil {
		return err
	}
	text, err := d.write(string(b), t)
	if err != nil {
		return err
	}
	return os.WriteFile(d.docs, []byte(text), 0o644)
}

func (d *document) write(doc string, t *record.Table) (string, error) {
	old, err := record.Between(doc, "goals")
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{
		"run": d.facts, t.Name: t.Markdown(), "goals": record.Goals(old, goals(d.tables)),
	} {
		if doc, err = record.Replace(doc, name, text); err != nil {
			return "", err
		}
	}
	return doc, nil
}
