package sasl

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// staticPasswords checks against a map.
type staticPasswords map[string]string

func (s staticPasswords) CheckPassword(_ context.Context, user, password string) (bool, error) {
	want, ok := s[user]
	return ok && want == password, nil
}

type brokenPasswords struct{}

func (brokenPasswords) CheckPassword(context.Context, string, string) (bool, error) {
	return false, errors.New("connection lost")
}

func newAuth(t *testing.T, opt Options) *Authenticator {
	t.Helper()
	a, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func start(t *testing.T, a *Authenticator, mech string, l Layer) *Exchange {
	t.Helper()
	x, err := a.Start(mech, l)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// talk sends the responses. Each except the last must be answered by a challenge.
func talk(t *testing.T, x *Exchange, responses ...[]byte) error {
	t.Helper()
	for i, r := range responses {
		_, done, err := x.Next(t.Context(), r)
		if err != nil {
			return err
		}
		if done != (i == len(responses)-1) {
			t.Fatalf("done = %v after response %d of %d", done, i+1, len(responses))
		}
	}
	return nil
}

func credentials(t *testing.T, users ...string) *Credentials {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	for _, u := range users {
		if err := SetPassword(path, u, u+"-pw"); err != nil {
			t.Fatal(err)
		}
	}
	return OpenCredentials(path)
}

func TestMechanisms(t *testing.T) {
	with, without := credentials(t, "anne"), credentials(t)
	some := []PasswordChecker{staticPasswords{}}
	tests := []struct {
		name  string
		opt   Options
		layer Layer
		want  string
	}{
		{"clear", Options{Credentials: with, Passwords: some}, Layer{}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"allowplaintext", Options{Credentials: with, Passwords: some, AllowPlaintext: true}, Layer{}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{"tls", Options{Credentials: with, Passwords: some}, Layer{TLS: true}, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{"outer layer", Options{Passwords: some}, Layer{SSF: 2}, "PLAIN LOGIN"},
		{"outer integrity only", Options{Passwords: some}, Layer{SSF: 1}, ""},
		{"no file", Options{Credentials: without, Passwords: some}, Layer{TLS: true}, "PLAIN LOGIN"},
		{"no file, password from it", Options{Credentials: without, Passwords: []PasswordChecker{without}}, Layer{TLS: true}, ""},
		{"no passwords", Options{Credentials: with}, Layer{TLS: true}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"any password", Options{}, Layer{TLS: true, NoPassword: true}, "PLAIN LOGIN"},
		{"list", Options{Credentials: with, Passwords: some, Mechanisms: []string{"plain", "GSSAPI", "scram-sha-1"}}, Layer{TLS: true}, "SCRAM-SHA-1 PLAIN"},
		{"tls required, clear", Options{Credentials: with, TLSRequired: true}, Layer{}, ""},
		{"tls required, tls", Options{Credentials: with, TLSRequired: true}, Layer{TLS: true}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"minimum layer, clear", Options{Credentials: with, MinimumLayer: 1}, Layer{}, ""},
		{"minimum layer, outer", Options{Credentials: with, MinimumLayer: 1}, Layer{SSF: 1}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"minimum layer, tls", Options{Credentials: with, MinimumLayer: 128}, Layer{TLS: true}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"minimum layer, weak tls", Options{Credentials: with, MinimumLayer: 256}, Layer{TLS: true, SSF: 128}, ""},
		{"minimum layer, strong tls", Options{Credentials: with, MinimumLayer: 256}, Layer{TLS: true, SSF: 256}, "SCRAM-SHA-256 SCRAM-SHA-1"},
		{"certificate", Options{}, Layer{TLS: true, External: "anne"}, "EXTERNAL"},
	}
	for _, tt := range tests {
		if got := strings.Join(newAuth(t, tt.opt).Mechanisms(tt.layer), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	a := newAuth(t, Options{Credentials: with})
	for _, mech := range []string{"PLAIN", "GSSAPI", "", "ANONYMOUS"} {
		if _, err := a.Start(mech, Layer{}); !errors.Is(err, ErrMechanism) {
			t.Errorf("start %q: %v", mech, err)
		}
	}
	if _, err := New(Options{MinimumLayer: -1, Passwords: []PasswordChecker{nil}}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("faults: %v", err)
	}
}

func TestPlainAndLogin(t *testing.T) {
	opt := Options{
		AllowPlaintext: true,
		Passwords:      []PasswordChecker{staticPasswords{"anne": "pw", "boss": "pw"}},
		Users:          UserNames{ToLower: true},
		Admins:         Admins{Words: []string{"boss", "chief"}},
	}
	a := newAuth(t, opt)
	plain := func(s string) [][]byte { return [][]byte{[]byte(s)} }
	login := func(s ...string) [][]byte {
		r := [][]byte{nil}
		for _, x := range s {
			r = append(r, []byte(x))
		}
		return r
	}
	tests := []struct {
		mech      string
		responses [][]byte
		want      Identity
		err       error
	}{
		{"PLAIN", plain("\x00anne\x00pw"), Identity{Authenticated: "anne", User: "anne"}, nil},
		{"plain", plain("\x00ANNE\x00pw"), Identity{Authenticated: "anne", User: "anne"}, nil},
		{"PLAIN", [][]byte{nil, []byte("\x00boss\x00pw")}, Identity{Authenticated: "boss", User: "boss", Admin: true}, nil},
		{"PLAIN", plain("Boss\x00boss\x00pw"), Identity{Authenticated: "boss", User: "boss", Admin: true}, nil},
		{"PLAIN", plain("anne\x00boss\x00pw"), Identity{Authenticated: "boss", User: "anne"}, nil},
		{"PLAIN", plain("chief\x00boss\x00pw"), Identity{Authenticated: "boss", User: "chief"}, nil},
		{"PLAIN", plain("boss\x00anne\x00pw"), Identity{}, ErrFailed},
		{"PLAIN", plain("\x00anne\x00wrong"), Identity{}, ErrFailed},
		{"PLAIN", plain("\x00nobody\x00pw"), Identity{}, ErrFailed},
		{"PLAIN", plain("\x00anne\x00"), Identity{}, ErrFailed},
		{"PLAIN", plain("\x00an/ne\x00pw"), Identity{}, ErrFailed},
		{"PLAIN", plain(""), Identity{}, ErrProtocol},
		{"PLAIN", plain("\x00\x00pw"), Identity{}, ErrProtocol},
		{"PLAIN", plain("\x00anne\x00pw\x00"), Identity{}, ErrProtocol},
		{"PLAIN", plain("\x00anne\x00" + strings.Repeat("x", maxResponse)), Identity{}, ErrProtocol},
		{"LOGIN", login("anne", "pw"), Identity{Authenticated: "anne", User: "anne"}, nil},
		{"LOGIN", [][]byte{[]byte("boss"), []byte("pw")}, Identity{Authenticated: "boss", User: "boss", Admin: true}, nil},
		{"LOGIN", [][]byte{{}, []byte("boss"), []byte("pw")}, Identity{Authenticated: "boss", User: "boss", Admin: true}, nil},
		{"LOGIN", login("anne", "no"), Identity{}, ErrFailed},
		{"LOGIN", login("anne", ""), Identity{}, ErrFailed},
		{"LOGIN", login(""), Identity{}, ErrProtocol},
	}
	for _, tt := range tests {
		x := start(t, a, tt.mech, Layer{})
		err := talk(t, x, tt.responses...)
		if tt.err == nil {
			tt.want.Mechanism = strings.ToUpper(tt.mech)
		}
		if !errors.Is(err, tt.err) || x.Identity() != tt.want {
			t.Errorf("%s %q: %+v, %v", tt.mech, tt.responses, x.Identity(), err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the password is in %q", err)
		}
		if _, _, err := x.Next(t.Context(), nil); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s continues after its end: %v", tt.mech, err)
		}
	}
}

func TestLoginChallenges(t *testing.T) {
	a := newAuth(t, Options{AllowPlaintext: true, Passwords: []PasswordChecker{staticPasswords{"anne": "pw"}}})
	x := start(t, a, "LOGIN", Layer{})
	if got, _, _ := x.Next(t.Context(), nil); string(got) != "Username:" {
		t.Errorf("challenge %q", got)
	}
	if got, _, _ := x.Next(t.Context(), []byte("anne")); string(got) != "Password:" {
		t.Errorf("challenge %q", got)
	}
	if x.Claimed() != "anne" || x.Mechanism() != "LOGIN" {
		t.Errorf("claimed %q", x.Claimed())
	}
}

func TestPasswordSources(t *testing.T) {
	first, second := staticPasswords{"anne": "1"}, staticPasswords{"anne": "2"}
	try := func(password string, checkers ...PasswordChecker) error {
		a := newAuth(t, Options{AllowPlaintext: true, Passwords: checkers})
		return talk(t, start(t, a, "PLAIN", Layer{}), []byte("\x00anne\x00"+password))
	}
	if err := try("2", first, second); err != nil {
		t.Error(err)
	}
	if err := try("2", brokenPasswords{}, second); err != nil {
		t.Error(err)
	}
	err := try("3", brokenPasswords{}, second)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "connection lost") {
		t.Error(err)
	}
	if got := ClientText(err); got != "remote authentication server unavailable" {
		t.Error(got)
	}
}

func TestNoPassword(t *testing.T) {
	a := newAuth(t, Options{
		AllowPlaintext: true, Credentials: credentials(t, "anne"), Admins: Admins{Words: []string{"boss"}},
	})
	for user, want := range map[string]error{"anne": nil, "boss": nil, "nobody": ErrFailed} {
		for _, password := range []string{"whatever", ""} {
			err := talk(t, start(t, a, "PLAIN", Layer{NoPassword: true}), []byte("\x00"+user+"\x00"+password))
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", user, err)
			}
		}
	}
}

func TestExternal(t *testing.T) {
	a := newAuth(t, Options{Admins: Admins{Words: []string{"boss"}}})
	l := Layer{TLS: true, External: "boss"}
	x := start(t, a, "EXTERNAL", l)
	if err := talk(t, x, nil, []byte{}); err != nil || !x.Identity().Admin {
		t.Errorf("%+v %v", x.Identity(), err)
	}
	x = start(t, a, "EXTERNAL", l)
	if err := talk(t, x, []byte("anne")); err != nil || x.Identity().Admin || x.Identity().User != "anne" {
		t.Errorf("%+v %v", x.Identity(), err)
	}
}

func TestRealms(t *testing.T) {
	login := func(opt Options, user string) error {
		opt.AllowPlaintext = true
		opt.Passwords = []PasswordChecker{staticPasswords{"anne": "pw", "anne@example.com": "pw"}}
		return talk(t, start(t, newAuth(t, opt), "PLAIN", Layer{}), []byte("\x00"+user+"\x00pw"))
	}
	domains := UserNames{Domains: true, DefaultDomain: "Example.COM"}
	tests := []struct {
		opt  Options
		user string
		want error
	}{
		{Options{}, "anne@example.com", ErrFailed},
		{Options{LoginRealms: []string{"x", "EXAMPLE.com"}}, "anne@example.com", nil},
		{Options{Users: UserNames{Domains: true}}, "anne@example.com", nil},
		{Options{Users: UserNames{Domains: true}, LoginRealms: []string{"x"}}, "anne@example.com", ErrFailed},
		{Options{Users: domains, LoginRealms: []string{"x"}}, "anne@example.com", nil},
		{Options{Users: domains}, "anne%example.com", nil},
	}
	for _, tt := range tests {
		if err := login(tt.opt, tt.user); !errors.Is(err, tt.want) {
			t.Errorf("%+v %s: %v", tt.opt, tt.user, err)
		}
	}
}

func TestCanonical(t *testing.T) {
	plain := UserNames{}
	lowered := UserNames{ToLower: true}
	domains := UserNames{ToLower: true, Domains: true, DefaultDomain: "example.com"}
	tests := []struct {
		rules      UserNames
		name, want string
	}{
		{plain, "Anne", "Anne"}, {lowered, "ANNE", "anne"}, {plain, "a.b c", "a.b c"}, {plain, "anne@Example.com", "anne@Example.com"},
		{domains, "Anne@EXAMPLE.com", "anne"}, {domains, "anne%other.org", "anne@other.org"}, {domains, "a%b@other.org", ""},
		{domains, "anne%Example.com", "anne"}, {domains, "anne", "anne"}, {domains, "@example.com", ""},
		{plain, "", ""}, {plain, "a%b", ""}, {plain, "a/b", ""}, {plain, "group:wheel", ""}, {plain, "a\x00", ""}, {plain, "\u00e4", ""},
		{plain, "anonymous", ""}, {plain, "Anyone", ""}, {domains, "anybody@example.com", ""}, {plain, "anonymous@x", ""},
		{plain, strings.Repeat("a", 80), strings.Repeat("a", 80)}, {plain, strings.Repeat("a", 81), ""},
	}
	for _, tt := range tests {
		got, err := tt.rules.Canonical(tt.name)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v %q = %q, %v, want %q", tt.rules, tt.name, got, err, tt.want)
		}
	}
}

func TestAdmins(t *testing.T) {
	asked := 0
	a := Admins{Words: []string{"Boss", "group:backup"}, ToLower: true, Groups: func(user string) ([]string, error) {
		asked++
		switch user {
		case "member":
			return []string{"users", "backup"}, nil
		case "broken":
			return nil, errors.New("no name service")
		}
		return []string{"users"}, nil
	}}
	for user, want := range map[string]bool{"boss": true, "member": true, "other": false, "group:backup": false, "backup": false} {
		if got, err := a.Contains(user); got != want || err != nil {
			t.Errorf("%s: %v, %v", user, got, err)
		}
	}
	if _, err := a.Contains("broken"); err == nil {
		t.Error("an error of the groups was ignored")
	}
	before := asked
	if ok, _ := a.Contains("boss"); !ok || asked != before {
		t.Error("groups were looked up needlessly")
	}
	if ok, _ := (Admins{}).Contains(""); ok {
		t.Error("nobody is an admin")
	}
	if ok, _ := (Admins{Words: []string{"anyone"}}).Contains("x"); !ok {
		t.Error("anyone")
	}
}

func TestSystemGroups(t *testing.T) {
	groups, err := SystemGroups("root")
	if err != nil || !slices.Contains(groups, "root") {
		t.Errorf("root: %q %v", groups, err)
	}
	groups, err = SystemGroups("no-such-user-here")
	if err != nil || len(groups) != 0 {
		t.Errorf("unknown: %q %v", groups, err)
	}
}

// vector writes a credentials file that contains one user with the given salts.
func vector(t *testing.T, salt1, salt256 string) *Credentials {
	t.Helper()
	f := newCredentialFile()
	make := func(mech, salt string) scramKeys {
		raw, err := base64.StdEncoding.DecodeString(salt)
		if err != nil {
			t.Fatal(err)
		}
		k, err := derive(mech, "pencil", raw, 4096)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	f.Users["user"] = scramUser{SHA1: make(ScramSHA1, salt1), SHA256: make(ScramSHA256, salt256)}
	data, err := f.encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return OpenCredentials(path)
}
