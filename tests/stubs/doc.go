// Package stubs has the tests of what anybody may make of proto/: stubs, generated from it, call the shop's services.
// They are Go, and written anew by
//
//	go generate && go test
//
// The tests see the shop as its callers do: one program at an address, with a database and a Redis behind it.
package stubs

//go:generate go run ./generate
