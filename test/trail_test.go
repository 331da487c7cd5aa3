package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// stop is a row of the trail in CONTRIBUTING.md: number, file, function and a text.
var stop = regexp.MustCompile("(?m)^\\| \\d+ \\| `([^`]+\\.go)` \\| `([^`]+)` \\| (.*) \\|$")

// method is a function of the form Type.name in the text of a stop.
var method = regexp.MustCompile("`([a-zA-Z]+\\.[a-zA-Z]+)`")

// TestTrail checks that each stop of the trail in CONTRIBUTING.md exists, and that the other
// methods in its text are in the same package.
func TestTrail(t *testing.T) {
	text, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	stops := stop.FindAllStringSubmatch(string(text), -1)
	if len(stops) != 10 {
		t.Errorf("%d stops, want 10", len(stops))
	}
	for _, s := range stops {
		file, function, says := s[1], s[2], s[3]
		if !functions(t, filepath.Join("..", file))[function] {
			t.Errorf("%s: no function %s", file, function)
		}
		for _, m := range method.FindAllStringSubmatch(says, -1) {
			if !declared(t, filepath.Join("..", filepath.Dir(file)), m[1]) {
				t.Errorf("%s: its package has no function %s", file, m[1])
			}
		}
	}
}

// declared reports whether a file in dir declares the function.
func declared(t *testing.T, dir, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if functions(t, f)[function] {
			return true
		}
	}
	return false
}

// functions returns the functions of a file, methods as Type.name.
func functions(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			name = receiver(fn.Recv.List[0].Type) + "." + name
		}
		found[name] = true
	}
	return found
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
