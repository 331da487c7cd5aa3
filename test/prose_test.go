package test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proseDir names another tree to count, for example a checkout of restic: the limits
// below are three times what it uses.
var proseDir = flag.String("prose.dir", "", "count the phrases of the files below this `directory`")

// A phrase reads as translated. most is how often it may occur in 10,000 words.
type phrase struct {
	expr string
	most float64
}

// The limits are three times the rates of restic 0.19 (82,000 words, counted by this test);
// CONTRIBUTING.md, "Words", has the words to use instead.
var phrases = []phrase{
	{`\btold of\b`, 0},
	{`\b(is|are|was|were|be) told\b`, 0.6},
	{`\bdone without\b`, 0},
	{`\bpass(ed|es|ing)? over\b`, 0},
	{`\bnone of (ours|us)\b`, 0},
	{`\banew\b`, 0},
	{`\b(is|are|be|goes|gone|went) away\b`, 0},
	{`\b(lives|living) (in|on|at|under|beside|below|with|there|here|elsewhere)\b`, 0},
	{`\ball the same\b`, 0.4},
	{`\bstands?\b`, 0},
	{`\bbehind\b`, 0.9},
	{`\bwhat (is|was|are|were) \w+`, 0.6},
	{`\b(brings?|brought)\b`, 0},
	{`\bas it (was|is|came|stands)\b`, 0.6},
	{`\btells?\b`, 1.1},
	{`\bsays?\b`, 1.1},
	{`\b(in vain|in kin|lest)\b`, 0},
	{`\btaken for\b`, 0},
	{`\b(one|those) that\b`, 1.5},
	{`\bof (ours|its own|their own)\b`, 0},
	{`\b(of|in|to) which\b`, 1.1},
}

// TestProse keeps phrases out that nobody else in this field writes.
func TestProse(t *testing.T) {
	root := ".."
	if *proseDir != "" {
		root = *proseDir
		if !filepath.IsAbs(root) {
			root = filepath.Join("..", root)
		}
	}
	texts, err := readProse(root)
	if err != nil {
		t.Fatal(err)
	}
	words := 0
	for _, x := range texts {
		words += len(strings.Fields(x.text))
	}
	t.Logf("%d words of comments, strings and documents", words)
	for _, p := range phrases {
		re := regexp.MustCompile(`(?i)` + p.expr)
		var places []string
		for _, x := range texts {
			for _, at := range re.FindAllStringIndex(x.text, -1) {
				places = append(places, fmt.Sprintf("%s: …%s…", x.at(at[0]), around(x.text, at)))
			}
		}
		rate := float64(len(places)) * 10000 / float64(max(words, 1))
		t.Logf("%6.1f (at most %.1f) %5d  %s", rate, p.most, len(places), p.expr)
		if rate <= p.most {
			continue
		}
		if *proseDir != "" {
			t.Log(strings.Join(places, "\n\t"))
			continue
		}
		t.Errorf("%q is used too often; see \"Words\" in CONTRIBUTING.md:\n\t%s", p.expr, strings.Join(places[:min(len(places), 20)], "\n\t"))
	}
}

// A prose is a comment, a string or a document.
type prose struct {
	file string
	line int
	text string
}

func (x prose) at(offset int) string {
	return fmt.Sprintf("%s:%d", x.file, x.line+strings.Count(x.text[:offset], "\n"))
}

func around(text string, at []int) string {
	from, to := max(0, at[0]-30), min(len(text), at[1]+30)
	return strings.ToValidUTF8(strings.Join(strings.Fields(text[from:to]), " "), "")
}

func readProse(root string) ([]prose, error) {
	var texts []prose
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path != root && strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "vendor" || d.Name() == "ristretto"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "prose_test.go"):
			more, err := goProse(path)
			texts = append(texts, more...)
			return err
		case strings.HasSuffix(path, ".md") && filepath.Base(path) != "CONTRIBUTING.md" || strings.HasSuffix(path, ".py") || strings.HasSuffix(path, ".sh"):
			b, err := os.ReadFile(path)
			texts = append(texts, prose{path, 1, string(b)})
			return err
		}
		return nil
	})
	return texts, err
}

func goProse(path string) ([]prose, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var texts []prose
	for _, c := range file.Comments {
		texts = append(texts, prose{path, set.Position(c.Pos()).Line, c.Text()})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		// strings without a space are names and keys
		if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") {
			texts = append(texts, prose{path, set.Position(lit.Pos()).Line, s})
		}
		return true
	})
	return texts, nil
}
