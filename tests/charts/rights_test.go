package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	rbac "k8s.io/api/rbac/v1"
)

// granted lists rules one right a line: group, resource, verb, and the name that they are bound to.
func granted(rules []rbac.PolicyRule) []string {
	var rights []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					rights = append(rights, strings.TrimSpace(strings.Join([]string{group, resource, verb, strings.Join(rule.ResourceNames, ",")}, " ")))
				}
			}
		}
	}
	sort.Strings(rights)
	return rights
}

// isHook says whether an object is only there before an uninstall.
func isHook(each object) bool { return each.Annotations["helm.sh/hook"] != "" }

// watching are the rights that the operator, or what comes before an uninstall, has where the operator watches, by
// namespace; "" stands for the cluster.
func watching(t *testing.T, atUninstall bool, arguments ...string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, each := range rendered(t, arguments...) {
		switch {
		case isHook(each) != atUninstall:
		case each.Kind == "ClusterRole" && !strings.HasSuffix(each.Name, ":view") && !strings.HasSuffix(each.Name, ":edit"):
			found[""] = granted(into[rbac.ClusterRole](t, each).Rules)
		case each.Kind == "Role" && strings.Contains(each.Name, ":"):
			found[each.Namespace] = granted(into[rbac.Role](t, each).Rules)
		}
	}
	return found
}

func TestRightsInSomeNamespacesAreThoseInTheCluster(t *testing.T) {
	for atUninstall, least := range map[bool]int{false: 15, true: 3} {
		everywhere := watching(t, atUninstall)[""]
		some := watching(t, atUninstall, "--set", "watchNamespaces={a,b},clusterId=east")
		if len(everywhere) < least || !slices.Equal(some["a"], everywhere) || !slices.Equal(some["b"], everywhere) || len(some) != 2 {
			t.Errorf("in the cluster %v, in namespaces %v", everywhere, some)
		}
	}
}

var aRow = regexp.MustCompile(`(?m)^\| (core|\x60[\w.]+\x60) \| ([^|]+) \| ([a-z, ]+) \| ([^|]+) \| [^|]+ \|$`)

// documented are the rights in the table of ARCHITECTURE.md that are had at an uninstall only, or else always; those in
// the operator's own namespace apart.
func documented(t *testing.T, atUninstall bool) (where, own []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range aRow.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(row[4], "at an uninstall") != atUninstall {
			continue
		}
		group := strings.Trim(strings.Replace(row[1], "core", "", 1), "`")
		for _, resource := range strings.Split(strings.ReplaceAll(row[2], "`", ""), ",") {
			for _, verb := range strings.Split(row[3], ",") {
				right := strings.TrimSpace(strings.Join([]string{group, strings.TrimSpace(resource), strings.TrimSpace(verb)}, " "))
				if strings.Contains(row[4], "the operator's namespace") {
					own = append(own, right)
				} else {
					where = append(where, right)
				}
			}
		}
	}
	sort.Strings(where)
	sort.Strings(own)
	return where, own
}

func TestRightsAreThoseOfTheArchitecture(t *testing.T) {
	for _, atUninstall := range []bool{false, true} {
		where, own := documented(t, atUninstall)
		if len(where) == 0 || len(own) == 0 {
			t.Fatal("no table in ARCHITECTURE.md")
		}
		if got := watching(t, atUninstall)[""]; !slices.Equal(got, where) {
			t.Errorf("the chart grants\n%s\nARCHITECTURE.md says\n%s", strings.Join(got, "\n"), strings.Join(where, "\n"))
		}
		for _, each := range rendered(t) {
			if each.Kind != "Role" || isHook(each) != atUninstall {
				continue
			}
			// The chart binds some to a name, which the table says in words.
			var got []string
			for _, right := range granted(into[rbac.Role](t, each).Rules) {
				words := strings.Fields(right)
				for len(words) > 0 && strings.HasPrefix(words[len(words)-1], "cronmill-") {
					words = words[:len(words)-1]
				}
				got = append(got, strings.Join(words, " "))
			}
			if !slices.Equal(got, own) {
				t.Errorf("in its own namespace the chart grants\n%s\nARCHITECTURE.md says\n%s", strings.Join(got, "\n"), strings.Join(own, "\n"))
			}
		}
	}
}

func TestNobodyMayListSecretsOrDoEverything(t *testing.T) {
	for _, values := range valueFiles(t) {
		for _, each := range rendered(t, with(values)...) {
			var rights []string
			switch each.Kind {
			case "ClusterRole":
				rights = granted(into[rbac.ClusterRole](t, each).Rules)
			case "Role":
				rights = granted(into[rbac.Role](t, each).Rules)
			}
			for _, right := range rights {
				words := strings.Fields(right)
				if strings.Contains(right, "*") || words[0] == "secrets" && slices.Contains([]string{"list", "watch", "deletecollection"}, words[1]) {
					t.Errorf("%s: %s may %s", values, each, right)
				}
			}
		}
	}
}

func TestEveryRuleHasItsReason(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(), chart, "templates/_rules.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	lines, last, count := strings.Split(string(text), "\n"), "", 0
	for at, line := range lines {
		if !strings.HasPrefix(line, "- apiGroups: ") {
			continue
		}
		count++
		about := line + lines[at+1]
		// What is bound to a name may go on with the rule above it, which cannot be.
		goesOn := about == last && strings.HasPrefix(lines[at+2], "  resourceNames: ")
		if !goesOn && !strings.HasPrefix(lines[at-1], "# ") {
			t.Errorf("no reason above the rule for %s", about)
		}
		last = about
	}
	if count < 10 {
		t.Errorf("only %d rules", count)
	}
}
