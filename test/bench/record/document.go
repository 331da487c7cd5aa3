package record

import (
	"fmt"
	"strings"
)

// Replace returns a Markdown document with other text between the markers of a name:
//
//	<!-- bench:NAME -->
//	<!-- /bench:NAME -->
func Replace(doc, name, text string) (string, error) {
	before, _, after, err := cut(doc, name)
	if err != nil {
		return "", err
	}
	return before + "\n" + strings.TrimRight(text, "\n") + "\n" + after, nil
}

// Between returns the text between the markers of a name.
func Between(doc, name string) (string, error) {
	_, text, _, err := cut(doc, name)
	return text, err
}

// cut splits a document at the markers, which stay with their surroundings.
func cut(doc, name string) (before, text, after string, err error) {
	open, end := fmt.Sprintf("<!-- bench:%s -->", name), fmt.Sprintf("<!-- /bench:%s -->", name)
	if strings.Count(doc, open) != 1 || strings.Count(doc, end) != 1 {
		return "", "", "", fmt.Errorf("the document must have %s and %s once", open, end)
	}
	at, to := strings.Index(doc, open)+len(open), strings.Index(doc, end)
	if to < at {
		return "", "", "", fmt.Errorf("%s comes before %s", end, open)
	}
	return doc[:at], doc[at:to], doc[to:], nil
}
