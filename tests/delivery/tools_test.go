// Package delivery has the tests of how cronmill comes onto a cluster: with Helm, with kubectl, from Git. Those that need
// a cluster run on a real control plane, which they start.
package delivery

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// root is the repository.
var root = sync.OnceValue(func() string {
	here, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(filepath.Dir(here))
})

var (
	toolsLock sync.Mutex
	tools     = map[string]string{}
)

// tool is the path of a program of tests/tools, built when the cache has none.
func tool(name string) (string, error) {
	toolsLock.Lock()
	defer toolsLock.Unlock()
	if path := tools[name]; path != "" {
		return path, nil
	}
	set := map[string]string{"kubectl": "kubernetes"}[name]
	if set == "" {
		set = name
	}
	build := exec.Command("python3", filepath.Join(root(), "tests/tools/build.py"), set)
	build.Stderr = os.Stderr
	folder, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	tools[name] = filepath.Join(strings.TrimSpace(string(folder)), name)
	return tools[name], nil
}

// run runs a program of tests/tools in the repository and returns what it printed. A failure has its errors as text.
func run(name string, arguments ...string) (string, error) {
	program, err := tool(name)
	if err != nil {
		return "", err
	}
	var out, wrong bytes.Buffer
	command := exec.Command(program, arguments...)
	command.Dir, command.Stdout, command.Stderr = root(), &out, &wrong
	// Helm and kubectl keep settings of the person who runs them; none may matter here.
	command.Env = append(os.Environ(), "HELM_CONFIG_HOME=/nonexistent", "HELM_PLUGINS=/nonexistent",
		"HELM_DATA_HOME=/nonexistent", "KUBECONFIG="+kubeconfig)
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, said(wrong.String()))
	}
	return out.String(), nil
}

// kubeconfig leads to the control plane, once it is there.
var kubeconfig = "/nonexistent"

// said is what a program complained of, without Helm's remarks that a link was followed.
func said(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "level=INFO ") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
