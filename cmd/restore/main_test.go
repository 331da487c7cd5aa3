package main

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	flag.Bool("update", false, "write the manual page anew")
	flag.Parse()
	os.Exit(m.Run())
}
