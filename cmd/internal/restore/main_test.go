package restore

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	flag.Bool("update", false, "write the manual page")
	flag.Parse()
	os.Exit(m.Run())
}
