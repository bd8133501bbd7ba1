package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const alertsFile = chart + "/files/alerts.yaml"

// rules are what Prometheus reads.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// alertTests is what promtool reads.
type alertTests struct {
	Tests []struct {
		Name          string
		AlertRuleTest []struct {
			Alertname string
			ExpAlerts []any `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	}
}

// decode reads a file of the repository.
func decode[T any](t *testing.T, path string) T {
	t.Helper()
	var content T
	text, err := os.ReadFile(filepath.Join(root(), path))
	if err == nil {
		err = yaml.Unmarshal(text, &content)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return content
}

func testFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("alerts/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%v %v", paths, err)
	}
	for at, path := range paths {
		paths[at] = filepath.Join("tests/charts", path)
	}
	return paths
}

func TestAlertRulesPassPromtool(t *testing.T) {
	if _, err := run("promtool", "check", "rules", "--lint=all", "--lint-fatal", alertsFile); err != nil {
		t.Error(err)
	}
}

func TestAlertsFireWhenTheyShouldAndElseAreSilent(t *testing.T) {
	for _, path := range testFiles(t) {
		if out, err := run("promtool", "test", "rules", path); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestEveryAlertIsTestedFiringAndSilent(t *testing.T) {
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, path := range testFiles(t) {
		for _, test := range decode[alertTests](t, path).Tests {
			for _, about := range test.AlertRuleTest {
				if len(about.ExpAlerts) > 0 {
					firing[about.Alertname] = true
				} else {
					silent[about.Alertname] = true
				}
			}
		}
	}
	count := 0
	for _, group := range decode[rules](t, alertsFile).Groups {
		for _, rule := range group.Rules {
			count++
			if !firing[rule.Alert] || !silent[rule.Alert] {
				t.Errorf("%s: tested firing %v, silent %v", rule.Alert, firing[rule.Alert], silent[rule.Alert])
			}
			delete(firing, rule.Alert)
			delete(silent, rule.Alert)
		}
	}
	if len(firing)+len(silent) > 0 || count < 12 {
		t.Errorf("%d alerts; tested but not there: %v %v", count, firing, silent)
	}
}

var (
	metric   = regexp.MustCompile(`\b(?:cronmill|asynq)_[a-z_]+\b`)
	selected = regexp.MustCompile(`([a-z_]+)\{([^}]*)\}`)
	document = regexp.MustCompile("(?m)^\\| `((?:cronmill|asynq)_[a-z_]+)` \\| (\\w+) \\|([^|]*)\\|([^|]*)\\|$")
)

func TestAlertsAskForMetricsAndLabelsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	// A test compares that table with what is served.
	labels, kinds := map[string]string{}, map[string]string{}
	for _, row := range document.FindAllStringSubmatch(string(text), -1) {
		kinds[row[1]], labels[row[1]] = row[2], row[3]
	}
	for _, group := range decode[rules](t, alertsFile).Groups {
		for _, rule := range group.Rules {
			for _, name := range metric.FindAllString(rule.Expr, -1) {
				base := strings.TrimSuffix(name, "_bucket")
				if kinds[base] == "" || (base != name) != (kinds[base] == "histogram") {
					t.Errorf("%s asks for %s, of which README.md knows nothing", rule.Alert, name)
				}
				if kinds[base] == "counter" && !regexp.MustCompile(`(?:rate|increase)\(`+name).MatchString(rule.Expr) {
					t.Errorf("%s takes the value of the counter %s, which never falls", rule.Alert, name)
				}
			}
			for _, match := range selected.FindAllStringSubmatch(rule.Expr, -1) {
				for _, matcher := range strings.Split(match[2], ",") {
					label, _, _ := strings.Cut(strings.TrimSpace(matcher), "=")
					if match[1] != "up" && !strings.Contains(labels[match[1]], label) {
						t.Errorf("%s: %s has no label %s", rule.Alert, match[1], label)
					}
				}
			}
		}
	}
	if len(kinds) < 15 {
		t.Errorf("README.md has only the metrics %v", kinds)
	}
}

func TestTheRenderedRulesAreTheTestedOnes(t *testing.T) {
	var resource struct {
		Spec json.RawMessage
	}
	text := one(t, rendered(t, "--set", "metrics.prometheusRule.enabled=true"), "PrometheusRule").text
	if err := yaml.Unmarshal([]byte(text), &resource); err != nil {
		t.Fatal(err)
	}
	var got rules
	if err := json.Unmarshal(resource.Spec, &got); err != nil {
		t.Fatal(err)
	}
	if want := decode[rules](t, alertsFile); !reflect.DeepEqual(got, want) {
		t.Errorf("rendered as\n%+v\nwhere the file has\n%+v", got, want)
	}
}
