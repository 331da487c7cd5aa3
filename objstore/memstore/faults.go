package memstore

import (
	"errors"
	"sync"
)

// ErrInjected is the error of Nth.
var ErrInjected = errors.New("injected fault")

// Nth returns a hook that fails the n-th call (from 1) for which match is true, once. A nil
// match accepts every call. Calls are counted across all goroutines.
func Nth(n int, match func(op, key string) bool) Fault {
	var mu sync.Mutex
	seen := 0
	return func(op, key string) error {
		if match != nil && !match(op, key) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == n {
			return ErrInjected
		}
		return nil
	}
}
