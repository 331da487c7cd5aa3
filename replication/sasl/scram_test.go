package sasl

import (
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

const (
	rfcSalt1   = "QSXCR+Q6sek8bf92"         // RFC 5802 section 5
	rfcSalt256 = "W22ZaJ0SNY7soEsUEjb6gQ==" // RFC 7677 section 3
)

// TestVectors holds the dialogues of RFC 5802 section 5 and RFC 7677 section 3.
func TestVectors(t *testing.T) {
	tests := []struct{ mech, nonce, c1, s1, c2, s2 string }{
		{ScramSHA1, "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		{ScramSHA256, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	}
	for _, tt := range tests {
		a := newAuth(t, Options{
			Credentials: vector(t, rfcSalt1, rfcSalt256),
			Admins:      Admins{Words: []string{"user"}},
			nonce:       func() string { return tt.nonce },
		})
		x := start(t, a, tt.mech, Layer{})
		for _, step := range []struct{ response, want string }{{tt.c1, tt.s1}, {tt.c2, tt.s2}} {
			got, done, err := x.Next(t.Context(), []byte(step.response))
			if string(got) != step.want || done || err != nil {
				t.Fatalf("%s: %q, %v, %v, want %q", tt.mech, got, done, err, step.want)
			}
		}
		got, done, err := x.Next(t.Context(), []byte{})
		if len(got) != 0 || !done || err != nil {
			t.Fatalf("%s: end: %q, %v, %v", tt.mech, got, done, err)
		}
		if want := (Identity{Authenticated: "user", User: "user", Admin: true, Mechanism: tt.mech}); x.Identity() != want {
			t.Errorf("%+v", x.Identity())
		}
	}
}

// scramTalk acts as the client and returns the salt from the server.
func scramTalk(t *testing.T, a *Authenticator, mech, user, password, authzid string) (*Exchange, string, error) {
	t.Helper()
	hash := scram.SHA256
	if mech == ScramSHA1 {
		hash = scram.SHA1
	}
	client, err := hash.NewClient(user, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	conv := client.NewConversation()
	x := start(t, a, mech, Layer{})
	var challenge []byte
	var salt string
	// The first call has no initial response: its answer is the empty challenge.
	challenge, done, err := x.Next(t.Context(), nil)
	if err != nil || done || challenge == nil {
		t.Fatalf("first challenge %v, %v", challenge, err)
	}
	for range 3 {
		response := ""
		if !conv.Done() {
			if response, err = conv.Step(string(challenge)); err != nil {
				t.Fatalf("client: %v", err)
			}
		}
		if challenge, done, err = x.Next(t.Context(), []byte(response)); err != nil {
			return x, salt, err
		}
		if salt == "" {
			_, salt, _ = strings.Cut(string(challenge), ",s=")
		}
	}
	if !done || !conv.Valid() {
		t.Fatalf("done %v, client content %v", done, conv.Valid())
	}
	return x, salt, nil
}

func TestScram(t *testing.T) {
	a := newAuth(t, Options{
		Credentials: credentials(t, "anne", "boss"),
		Users:       UserNames{ToLower: true},
		Admins:      Admins{Words: []string{"boss"}},
	})
	for _, mech := range []string{ScramSHA1, ScramSHA256} {
		x, _, err := scramTalk(t, a, mech, "Boss", "boss-pw", "")
		if err != nil || !x.Identity().Admin || x.Identity().User != "boss" || x.Claimed() != "Boss" {
			t.Errorf("%s: %+v %v", mech, x.Identity(), err)
		}
		x, _, err = scramTalk(t, a, mech, "boss", "boss-pw", "anne")
		if err != nil || x.Identity().Admin || x.Identity().User != "anne" {
			t.Errorf("%s: %+v %v", mech, x.Identity(), err)
		}
		for _, claim := range [][3]string{{"boss", "wrong", ""}, {"anne", "boss-pw", ""}, {"nobody", "boss-pw", ""}, {"a/b", "x", ""}} {
			x, _, err = scramTalk(t, a, mech, claim[0], claim[1], claim[2])
			if !errors.Is(err, ErrFailed) || x.Identity() != (Identity{}) {
				t.Errorf("%s %q: %+v %v", mech, claim, x.Identity(), err)
			}
		}
		if _, _, err = scramTalk(t, a, mech, "anne", "anne-pw", "boss"); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: a user acts as an admin: %v", mech, err)
		}
	}
}

// An unknown user looks the same as an existing user.
func TestScramUnknownUser(t *testing.T) {
	creds := credentials(t, "anne")
	a := newAuth(t, Options{Credentials: creds})
	_, known, err1 := scramTalk(t, a, ScramSHA256, "anne", "wrong", "")
	_, first, err2 := scramTalk(t, a, ScramSHA256, "nobody", "wrong", "")
	_, again, _ := scramTalk(t, newAuth(t, Options{Credentials: OpenCredentials(creds.path)}), ScramSHA256, "nobody", "wrong", "")
	_, other, _ := scramTalk(t, a, ScramSHA256, "nobody2", "wrong", "")
	if first != again || first == other || first == known || len(first) != len(known) {
		t.Errorf("salts: known %q, unknown %q and %q, another %q", known, first, again, other)
	}
	if ClientText(err1) != ClientText(err2) {
		t.Errorf("%q, %q", ClientText(err1), ClientText(err2))
	}
}

func TestScramProtocol(t *testing.T) {
	a := newAuth(t, Options{Credentials: vector(t, rfcSalt1, rfcSalt256), nonce: func() string { return "3rfcNHYJY1ZVvWVs7j" }})
	c1, c2 := "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
	tests := []struct {
		responses []string
		want      error
	}{
		{[]string{""}, ErrProtocol},
		{[]string{"x"}, ErrProtocol},
		{[]string{"p"}, ErrProtocol},
		{[]string{"y,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", c2}, ErrFailed}, // c2 has the flag n
		{[]string{c1, ""}, ErrFailed},
		{[]string{c1, strings.Replace(c2, "p=v0", "p=w0", 1)}, ErrFailed},
		{[]string{c1, strings.Replace(c2, "WVs7j,", "WVs7k,", 1)}, ErrFailed},
		{[]string{c1, c2, "more"}, ErrProtocol},
	}
	for _, tt := range tests {
		x := start(t, a, ScramSHA1, Layer{})
		var err error
		for _, r := range tt.responses {
			if err != nil {
				t.Fatalf("%q: too early: %v", tt.responses, err)
			}
			_, _, err = x.Next(t.Context(), []byte(r))
		}
		if !errors.Is(err, tt.want) || x.Identity() != (Identity{}) {
			t.Errorf("%q: %v", tt.responses, err)
		}
	}
}

// A client that supports channel binding logs in without it, and one that requires it is refused: no -PLUS is offered.
func TestChannelBinding(t *testing.T) {
	a := newAuth(t, Options{Credentials: credentials(t, "anne"), Admins: Admins{Words: []string{"anne"}}})
	tls := Layer{TLS: true, SSF: 256}
	for _, mech := range a.Mechanisms(tls) {
		if strings.HasSuffix(mech, "-PLUS") {
			t.Errorf("%s is offered", mech)
		}
		if _, err := a.Start(mech+"-PLUS", tls); !errors.Is(err, ErrMechanism) {
			t.Errorf("%s-PLUS: %v", mech, err)
		}
	}
	client, err := scram.SHA256.NewClient("anne", "anne-pw", "")
	if err != nil {
		t.Fatal(err)
	}
	x, conv := start(t, a, ScramSHA256, tls), client.NewConversationAdvertisingChannelBinding()
	var challenge []byte
	for step := range 3 {
		response := ""
		if !conv.Done() {
			if response, err = conv.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
		}
		if step == 0 && !strings.HasPrefix(response, "y,,") {
			t.Fatalf("the client begins with %q", response)
		}
		if challenge, _, err = x.Next(t.Context(), []byte(response)); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
	if !conv.Valid() || x.Identity().User != "anne" {
		t.Errorf("%v, %+v", conv.Valid(), x.Identity())
	}
	for _, kind := range []string{"tls-unique", "tls-exporter", "tls-server-end-point", "unknown", strings.Repeat("x", 4000)} {
		for _, mech := range []string{ScramSHA1, ScramSHA256} {
			_, _, err := start(t, a, mech, tls).Next(t.Context(), []byte("p="+kind+",,n=anne,r=fyko+d2lbbFgONRv9qkxdawL"))
			if !errors.Is(err, ErrBinding) || ClientText(err) != "channel binding failure" || len(err.Error()) > 150 {
				t.Errorf("%s, %s: %v", mech, kind, err)
			}
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), []byte("c=biws,r=x,p=v0X8"), uint8(0))
	f.Add([]byte("y,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), []byte("c=eSws,r=x,p=v0X8"), uint8(0))
	f.Add([]byte("p=tls-exporter,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), []byte(""), uint8(0))
	f.Add([]byte("\x00anne\x00pw"), []byte(""), uint8(1))
	f.Add([]byte("anne"), []byte("pw"), uint8(2))
	path := f.TempDir() + "/credentials"
	if err := SetPassword(path, "anne", "secret"); err != nil {
		f.Fatal(err)
	}
	a, err := New(Options{AllowPlaintext: true, Credentials: OpenCredentials(path), Passwords: []PasswordChecker{staticPasswords{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, which uint8) {
		defer fuzztest.Limit(t, 4<<20+1<<10*int64(len(first)+len(second)))()
		x := start(t, a, []string{ScramSHA256, Plain, Login, ScramSHA1}[which%4], Layer{})
		for _, r := range [][]byte{first, second, {}} {
			if _, done, err := x.Next(t.Context(), r); done {
				t.Fatalf("logged in as %+v", x.Identity())
			} else if err != nil {
				return
			}
		}
	})
}
