// Package main writes what is made of other files: deploy/install.yaml and the table of values in a README of the charts,
// and a ConfigMap of the scripts for Argo CD.
//
//	go run . write    writes them
//	go run . check    exits 1 and names each that is stale
//
// The tests of this module are those of the charts.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// generated are the files, each with what makes its text.
var generated = map[string]func() (string, error){
	"deploy/install.yaml":                 install,
	"deploy/gitops/argocd/argocd-cm.yaml": argocdCM,
	"charts/cronmill/README.md":           readme,
}

func main() {
	if len(os.Args) != 2 || (os.Args[1] != "write" && os.Args[1] != "check") {
		fmt.Fprintln(os.Stderr, "usage: go run . write|check")
		os.Exit(2)
	}
	stale, err := compare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(3)
	}
	for path, text := range stale {
		if os.Args[1] == "check" {
			fmt.Fprintf(os.Stderr, "%s is stale; run 'make generate' and commit the result\n", path)
			continue
		}
		if err := os.WriteFile(filepath.Join(root(), path), []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "charts:", err)
			os.Exit(3)
		}
		fmt.Println("wrote", path)
	}
	if os.Args[1] == "check" && len(stale) > 0 {
		os.Exit(1)
	}
}

// compare returns the files whose text is not what it should be, each with the text it should have.
func compare() (map[string]string, error) {
	stale := map[string]string{}
	for path, make := range generated {
		text, err := make()
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", path, err)
		}
		now, err := os.ReadFile(filepath.Join(root(), path))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if string(now) != text {
			stale[path] = text
		}
	}
	return stale, nil
}
