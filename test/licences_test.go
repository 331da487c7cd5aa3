package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// permissive has a phrase of each licence that a program may link (docs/dependencies.md).
var permissive = []struct{ licence, phrase string }{
	{"Apache-2.0", "Apache License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD", "Redistribution and use in source and binary forms"},
	{"ISC", "Permission to use, copy, modify, and distribute this software"},
	{"CC0-1.0", "CC0 1.0 Universal"},
}

// copyleft has phrases that must not occur, not even in a second licence of a module.
var copyleft = []string{"GNU GENERAL PUBLIC", "GNU LESSER GENERAL", "GNU AFFERO GENERAL", "Mozilla Public License"}

// TestLicences reads the licence of every module that a program links.
func TestLicences(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}`, module+"cmd/...").Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr(err))
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		path, dir, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || seen[path] {
			continue
		}
		seen[path] = true
		text := licenceOf(t, dir)
		if !slices.ContainsFunc(permissive, func(p struct{ licence, phrase string }) bool {
			return strings.Contains(text, p.phrase)
		}) {
			t.Errorf("%s: no permissive licence found in %s", path, dir)
		}
		for _, c := range copyleft {
			if strings.Contains(text, c) {
				t.Errorf("%s: its licence contains %q", path, c)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d modules found", len(seen))
	}
}

// licenceOf returns the licence files of a module, with every run of spaces as one space.
func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range files {
		name := strings.ToUpper(f.Name())
		if !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(strings.Join(strings.Fields(string(data)), " "))
	}
	return text.String()
}
