// Package prices knows what stores charge: backup_prices, or the list prices of AWS.
package prices

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Prices are what a store charges.
type Prices struct {
	Currency string  `json:"currency"`
	Storage  float64 `json:"storage"` // for a gigabyte (2^30 bytes) and month
	Put      float64 `json:"put"`     // for 1,000 requests that put or list
	Get      float64 `json:"get"`     // for 1,000 requests that read; to delete is free
}

// aws returns the list prices of S3 Standard in us-east-1 (aws.amazon.com/s3/pricing).
func aws() Prices { return Prices{Currency: "USD", Storage: 0.023, Put: 0.005, Get: 0.0004} }

// Of returns the prices of a location: those of the option, or else those of AWS for a bucket
// at AWS. Other stores have no price that a program can know; then ok is false.
func Of(option, location string) (p Prices, ok bool, err error) {
	if option != "" {
		p, err = Parse(option)
		return p, err == nil, err
	}
	if strings.HasPrefix(location, "s3://") && !strings.Contains(location, "endpoint=") {
		return aws(), true, nil
	}
	return Prices{}, false, nil
}

// Parse parses backup_prices: "EUR storage=0.02 put=0.005 get=0.0004". A price that is left
// out is zero.
func Parse(option string) (p Prices, err error) {
	for i, word := range strings.Fields(option) {
		name, value, pair := strings.Cut(word, "=")
		if _, err := strconv.ParseFloat(word, 64); err == nil && i == 0 {
			break // a price without a currency
		}
		if !pair && i == 0 {
			p.Currency = word
			continue
		}
		at := map[string]*float64{"storage": &p.Storage, "put": &p.Put, "get": &p.Get}[name]
		if at == nil {
			return p, fmt.Errorf("backup_prices: %q: want a currency and then storage=, put= and get=, such as \"EUR storage=0.02 put=0.005\"", word)
		}
		if *at, err = strconv.ParseFloat(value, 64); err != nil || !(*at >= 0 && *at <= 1e9) { // not a number either
			return p, fmt.Errorf("backup_prices: %s: %q is not a price, want a number such as 0.02", name, value)
		}
	}
	if p.Currency == "" {
		return p, fmt.Errorf("backup_prices: %q: begin with the currency, such as EUR", option)
	}
	return p, nil
}

// gigabyte is what AWS and most others charge as a GB.
const gigabyte = 1 << 30

// Month returns the price of storage for a month.
func (p Prices) Month(bytes int64) float64 { return micros(float64(bytes) / gigabyte * p.Storage) }

// Puts returns the price of requests that put or list.
func (p Prices) Puts(n int64) float64 { return micros(float64(n) / 1000 * p.Put) }

// Gets returns the price of requests that read.
func (p Prices) Gets(n int64) float64 { return micros(float64(n) / 1000 * p.Get) }

// micros rounds to a millionth.
func micros(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// Money formats a price for people.
func Money(x float64) string {
	if x > 0 && x < 0.01 {
		return "<0.01"
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}
