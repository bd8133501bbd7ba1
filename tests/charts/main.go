// Package main writes what is made of other files: the definitions that a chart holds, deploy/install.yaml, the table of
// values in the chart's README, and a ConfigMap of the scripts for Argo CD.
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

// file is a generated file, and what makes its text.
type file struct {
	path string
	make func() (string, error)
}

// generated are the files, each after those that it is made of.
func generated() ([]file, error) {
	definitions, err := filepath.Glob(filepath.Join(root(), "crds/*.yaml"))
	if err != nil {
		return nil, err
	}
	var files []file
	for _, definition := range definitions {
		copied := func() (string, error) {
			text, err := os.ReadFile(definition)
			return string(text), err
		}
		// Copies, not links: what Flux takes out of a Git repository has no links in it.
		files = append(files, file{crdsChart + "/files/" + filepath.Base(definition), copied})
	}
	return append(files,
		file{"deploy/install.yaml", install},
		file{"deploy/gitops/argocd/argocd-cm.yaml", argocdCM},
		file{chart + "/README.md", readme},
	), nil
}

func main() {
	if len(os.Args) != 2 || (os.Args[1] != "write" && os.Args[1] != "check") {
		fmt.Fprintln(os.Stderr, "usage: go run . write|check")
		os.Exit(2)
	}
	isWriting := os.Args[1] == "write"
	stale, err := compare(isWriting)
	if err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(3)
	}
	for _, path := range stale {
		if isWriting {
			fmt.Println("wrote", path)
		} else {
			fmt.Fprintf(os.Stderr, "%s is stale; run 'make generate' and commit the result\n", path)
		}
	}
	if !isWriting && len(stale) > 0 {
		os.Exit(1)
	}
}

// compare lists the files whose text is not what it should be, and writes them anew if asked to.
func compare(isWriting bool) ([]string, error) {
	files, err := generated()
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, file := range files {
		text, err := file.make()
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", file.path, err)
		}
		path := filepath.Join(root(), file.path)
		now, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if string(now) == text {
			continue
		}
		stale = append(stale, file.path)
		if isWriting {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
	}
	return stale, nil
}
