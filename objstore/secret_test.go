package objstore_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

func TestSecretIsNotShown(t *testing.T) {
	c := objstore.Credentials{AccessKey: "AKIA", SecretKey: "hush", SessionToken: "hush"}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", c.SecretKey)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", c.SecretKey, "all", c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", c.SecretKey, "all", c)
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hush") || strings.Contains(out.String(), fmt.Sprintf("%x", "hush")) {
		t.Errorf("a secret was printed:\n%s", out.String())
	}
	if string(c.SecretKey) != "hush" {
		t.Error("a secret cannot be used")
	}
}
