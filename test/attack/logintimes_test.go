package attack

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// A wrong password and an unknown user take the same time: a rank test of the times, taken in turn,
// finds no difference.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	if !full() {
		t.Skip("measures times: make attack")
	}
	v := newVictim(t, 2500, "failedloginpause: 0")
	for name, login := range map[string]func(*guess) error{"PLAIN": (*guess).plain, "SCRAM-SHA-256": (*guess).scram} {
		t.Run(name, func(t *testing.T) {
			var wrong, unknown []time.Duration
			for range 1000 {
				wrong = append(wrong, v.guess(t, login, "repl", "wrong"))
				unknown = append(unknown, v.guess(t, login, "mallory", "wrong"))
			}
			z := rankDifference(wrong, unknown)
			t.Logf("wrong password: %s; unknown user: %s; z = %.1f", quartiles(wrong), quartiles(unknown), z)
			if math.Abs(z) > 4 {
				t.Error("the times distinguish an unknown user from a wrong password")
			}
		})
	}
}

// guess is a login on a new connection.
type guess struct {
	c              net.Conn
	in             *bufio.Reader
	user, password string
}

// guess returns the time of a refused login.
func (v *victim) guess(t *testing.T, login func(*guess) error, user, password string) time.Duration {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(v.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g := &guess{c: c, in: bufio.NewReader(c), user: user, password: password}
	for line := ""; !strings.HasPrefix(line, "* OK"); {
		if line, err = g.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	err = login(g)
	took := time.Since(start)
	if err == nil || !strings.Contains(err.Error(), "NO authentication failure") {
		t.Fatalf("login of %s: %v", user, err)
	}
	return took
}

// say sends a line and returns the challenge that answers it; any other answer is an error.
func (g *guess) say(line string) ([]byte, error) {
	if _, err := fmt.Fprintf(g.c, "%s\r\n", line); err != nil {
		return nil, err
	}
	answer, err := g.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	challenge, ok := strings.CutPrefix(answer, "+ ")
	if !ok {
		return nil, fmt.Errorf("answer %q", answer)
	}
	return base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
}

func (g *guess) plain() error {
	_, err := g.say("AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+g.user+"\x00"+g.password)))
	return err
}

func (g *guess) scram() error {
	c, err := scram.SHA256.NewClient(g.user, g.password, "")
	if err != nil {
		return err
	}
	conversation, challenge, verb := c.NewConversation(), []byte(nil), "AUTHENTICATE SCRAM-SHA-256 "
	for {
		response, err := conversation.Step(string(challenge))
		if err != nil {
			return err
		}
		if challenge, err = g.say(verb + base64.StdEncoding.EncodeToString([]byte(response))); err != nil {
			return err
		}
		verb = ""
	}
}

// rankDifference is the z value of the Mann-Whitney test: how many standard deviations the ranks of a
// are from what they are if a and b have one distribution.
func rankDifference(a, b []time.Duration) float64 {
	b = slices.Sorted(slices.Values(b))
	var u float64
	for _, d := range a {
		below, _ := slices.BinarySearch(b, d)
		upTo, _ := slices.BinarySearch(b, d+1)
		u += float64(below+upTo) / 2
	}
	n, m := float64(len(a)), float64(len(b))
	return (u - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
}

func quartiles(d []time.Duration) string {
	d = slices.Sorted(slices.Values(d))
	at := func(share float64) time.Duration { return d[int(share*float64(len(d)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("%s / %s / %s", at(0.25), at(0.5), at(0.75))
}
