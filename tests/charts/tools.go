package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// root is the repository: the folder above the nearest one that has charts.
var root = sync.OnceValue(func() string {
	here, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for at := here; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "charts", "cronmill", "Chart.yaml")); err == nil {
			return at
		}
	}
	panic("run this inside the repository: no charts/cronmill above " + here)
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
	set := name
	if name == "kubectl" {
		set = "kubernetes"
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
	// Helm keeps plugins and settings of the person who runs it; none may matter here.
	command.Env = append(os.Environ(), "HELM_CONFIG_HOME=/nonexistent", "HELM_PLUGINS=/nonexistent", "HELM_DATA_HOME=/nonexistent")
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out.String(), fmt.Errorf("%s %s: %s", name, strings.Join(arguments, " "), said(wrong.String()))
		}
		return "", err
	}
	return out.String(), nil
}

// The release that deploy/install.yaml is made of.
const (
	release   = "cronmill"
	namespace = "cronmill-system"
	chart     = "charts/cronmill"
	crdsChart = "charts/cronmill-crds"
)

// template renders a chart without a cluster.
func template(chart string, arguments ...string) (string, error) {
	return run("helm", append([]string{"template", release, chart, "--namespace", namespace}, arguments...)...)
}

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
