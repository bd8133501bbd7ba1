package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"
)

// suites is what helm-unittest writes, in JUnit's format.
type suites struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Name    string `xml:"name,attr"`
			Failure string `xml:"failure"`
			Error   string `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func TestSuites(t *testing.T) {
	for _, chart := range []string{chart, crdsChart} {
		report := filepath.Join(t.TempDir(), "report.xml")
		// Its exit code says no more than the report; without a report it says all there is.
		out, wrong := run("helm-unittest", "--strict", "--with-subchart=false", "--output-type", "JUnit", "--output-file", report, chart)
		text, err := os.ReadFile(report)
		if err != nil {
			t.Fatalf("%s: %v\n%s", chart, wrong, out)
		}
		var all suites
		if err := xml.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		count := 0
		for _, suite := range all.Suites {
			for _, about := range suite.Cases {
				count++
				t.Run(suite.Name+": "+about.Name, func(t *testing.T) {
					if said := about.Failure + about.Error; said != "" {
						t.Error(said)
					}
				})
			}
		}
		if files, _ := filepath.Glob(filepath.Join(root(), chart, "tests", "*_test.yaml")); count == 0 || len(all.Suites) != len(files) {
			t.Errorf("%s: %d suites of %d files, %d cases: %v", chart, len(all.Suites), len(files), count, wrong)
		}
		if wrong != nil && !t.Failed() {
			t.Errorf("%s: no case failed, and yet: %v", chart, wrong)
		}
	}
}
