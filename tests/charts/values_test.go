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

// read is a file of YAML as plain values.
func read(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), path))
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := yaml.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	return content
}

// at is what stands at a path, and whether anything does.
func at(content map[string]any, path string) (any, bool) {
	key, rest, deeper := strings.Cut(path, ".")
	there, ok := content[key]
	if !deeper || !ok {
		return there, ok
	}
	below, ok := there.(map[string]any)
	if !ok {
		return nil, false
	}
	return at(below, rest)
}

// plain is a default of the schema as a plain value.
func plain(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestValuesAreTheDefaultsOfTheirSchema(t *testing.T) {
	for _, chart := range []string{chart, crdsChart} {
		content := read(t, chart+"/values.yaml")
		described, err := valuesOf(chart)
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, value := range described {
			known[value.path] = true
			got, there := at(content, value.path)
			if want := plain(t, value.fallback); !there || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: values.yaml has %s: %v, its schema says %v", chart, value.path, got, want)
			}
		}
		for _, path := range undescribed(content, "", known) {
			t.Errorf("%s: the schema does not describe %s", chart, path)
		}
	}
}

// undescribed lists the leaves that are not below a known path.
func undescribed(content map[string]any, path string, known map[string]bool) []string {
	var found []string
	for key, value := range content {
		path := strings.TrimPrefix(path+"."+key, ".")
		if known[path] {
			continue
		}
		if below, ok := value.(map[string]any); ok && len(below) > 0 {
			found = append(found, undescribed(below, path, known)...)
		} else {
			found = append(found, path)
		}
	}
	return found
}

func TestTheCrdsValuesAreThoseOfTheirChart(t *testing.T) {
	inner, err := valuesOf(crdsChart)
	if err != nil {
		t.Fatal(err)
	}
	content := read(t, chart+"/values.yaml")["crds"].(map[string]any)
	if len(content) != len(inner) {
		t.Errorf("crds has %v, the chart has %v", content, inner)
	}
	for _, value := range inner {
		if got, _ := at(content, value.path); !reflect.DeepEqual(got, plain(t, value.fallback)) {
			t.Errorf("crds.%s is %v here and %s there", value.path, got, value.fallback)
		}
	}
}

// Two sets of values that must render differently, where one value cannot be changed by itself.
var pairs = map[string][2]map[string]any{
	"image.tag":              {{"image.digest": "", "image.tag": "1"}, {"image.digest": "", "image.tag": ""}},
	"clusterId":              {{}, {"clusterId": "west"}},
	"redis.sharedNamespaces": {{}, {"redis.sharedNamespaces": []any{"billing"}}},
	"redis.bundled.enabled":  {{}, {"redis.bundled.enabled": false, "redis.existingSecret.name": "a"}},
	"redis.existingSecret.name": {
		{"redis.bundled.enabled": false, "redis.existingSecret.name": "a"},
		{"redis.bundled.enabled": false, "redis.existingSecret.name": "b"},
	},
	"redis.existingSecret.key": {
		{"redis.bundled.enabled": false, "redis.existingSecret": map[string]any{"name": "a", "key": "a"}},
		{"redis.bundled.enabled": false, "redis.existingSecret": map[string]any{"name": "a", "key": "b"}},
	},
}

func TestEveryValueHasAnEffect(t *testing.T) {
	described, err := valuesOf(chart)
	if err != nil {
		t.Fatal(err)
	}
	everything := textWith(t, nil)
	for _, value := range described {
		one, over := everything, map[string]any{}
		if pair, special := pairs[value.path]; special {
			one, over = textWith(t, pair[0]), pair[1]
		} else {
			set, _ := at(read(t, "tests/charts/values/everything.yaml"), value.path)
			fallback := plain(t, value.fallback)
			if isOn, isSwitch := set.(bool); isSwitch && set == fallback {
				over[value.path] = !isOn
			} else if set == nil || reflect.DeepEqual(set, fallback) {
				t.Errorf("everything.yaml does not set %s to other than its default", value.path)
			} else {
				over[value.path] = fallback
			}
		}
		if one == textWith(t, over) {
			t.Errorf("%s has no effect: with %v the same is rendered", value.path, over)
		}
	}
	if len(described) < 50 {
		t.Errorf("only %d values", len(described))
	}
}

// put sets what stands at a path.
func put(content map[string]any, path string, value any) {
	key, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		content[key] = value
		return
	}
	below, ok := content[key].(map[string]any)
	if !ok {
		below = map[string]any{}
		content[key] = below
	}
	put(below, rest, value)
}

// textWith renders with everything on and these values over it.
func textWith(t *testing.T, over map[string]any) string {
	t.Helper()
	content := read(t, "tests/charts/values/everything.yaml")
	for path, value := range over {
		put(content, path, value)
	}
	out, err := template(chart, "--values", written(t, content))
	if err != nil {
		t.Fatalf("with %v: %v", over, err)
	}
	return withoutPasswords(out)
}

// written is a file with these values.
func written(t *testing.T, content map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	password = regexp.MustCompile(`(?m)^  password: (\w+)$`)
	mark     = regexp.MustCompile(`cronmill\.dev/redis-secret: \w+`)
)

// withoutPasswords leaves out what is different each time.
func withoutPasswords(text string) string {
	for _, found := range password.FindAllStringSubmatch(text, -1) {
		text = strings.ReplaceAll(text, found[1], "PASSWORD")
	}
	return mark.ReplaceAllString(text, "")
}

func TestRenderingTwiceIsTheSameButForNewPasswords(t *testing.T) {
	if one, other := textWith(t, nil), textWith(t, nil); one != other {
		t.Errorf("%s\nand then\n%s", one, other)
	}
}

func TestTheSchemaRefuses(t *testing.T) {
	for _, wrong := range []string{
		"replica=2", "image.tags=1", "replicas=0", "replicas=two", "replicas=1.5", "log.format=xml", "image.digest=sha256:1",
		"watchNamespaces=shop", "watchNamespaces={Shop}", "watchNamespaces={a,a}", "redis.bundled.command={}",
		"redis.bundled.persistence.size=big", "metrics.serviceMonitor.interval=often", "service.port=70000",
		"admissionPolicy.validationActions={Refuse}", "admissionPolicy.checks.other=true", "resources.limit.cpu=1",
		"crds.keep=maybe", "crds.kept=true", "env[0].value=x", "statusWritesPerSecond=0", "podLabels.a.b=c",
	} {
		if _, err := template(chart, "--set", wrong); err == nil {
			t.Errorf("%s is accepted", wrong)
		} else if !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s is refused for another reason: %v", wrong, err)
		}
	}
	for _, wrong := range []string{"keep=maybe", "kept=true", "labels.a.b=c"} {
		if _, err := template(crdsChart, "--set", wrong); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestValuesThatContradictEachOtherAreRefusedWithWhatToDo(t *testing.T) {
	for sets, say := range map[string]string{
		"redis.bundled.enabled=true,redis.existingSecret.name=a,redis.sharedNamespaces={a}": "leave one of them out",
		"redis.sharedNamespaces={a}":  "set redis.existingSecret.name",
		"redis.existingSecret.name=a": "list namespaces in redis.sharedNamespaces",
		"redis.bundled.enabled=true":  "list namespaces in redis.sharedNamespaces",
		"watchNamespaces={b},clusterId=e,redis.existingSecret.name=a,redis.sharedNamespaces={a}": "add it to watchNamespaces too",
		"watchNamespaces={b}":         "say in clusterId",
		"serviceAccount.create=false": "name the account to run as",
		"metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled={CronmillNo}":                                                                     "there is no such alert",
		"admissionPolicy.enabled=true,admissionPolicy.checks.sharedRedis=false,admissionPolicy.checks.podTemplates=false,admissionPolicy.checks.targets=false": "every check is off",
	} {
		if _, err := template(chart, "--set", sets); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v", sets, err)
		}
	}
}
