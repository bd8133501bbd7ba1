package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// customizations are the keys of argocd-cm.yaml: what Argo CD itself reads.
func customizations(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), "deploy/gitops/argocd/argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var content struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	return content.Data
}

// actions are the scripts of a kind that change objects, by name, and the one that says which make sense.
type actions struct {
	Discovery   string `json:"discovery.lua"`
	Definitions []struct {
		Name   string `json:"name"`
		Script string `json:"action.lua"`
	}
}

func actionsOf(t *testing.T, kind string) actions {
	t.Helper()
	var found actions
	if err := yaml.UnmarshalStrict([]byte(customizations(t)["resource.customizations.actions.cronmill.dev_"+kind]), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// health is what the script for this kind says of an object.
func health(t *testing.T, object map[string]any) (string, string) {
	t.Helper()
	script := customizations(t)["resource.customizations.health.cronmill.dev_"+object["kind"].(string)]
	result := execute(t, script, object).(map[string]any)
	message, _ := result["message"].(string)
	return result["status"].(string), message
}

// execute runs a script as Argo CD does: with the object as `obj`, and nothing but the base and table libraries.
func execute(t *testing.T, script string, object map[string]any) any {
	t.Helper()
	if script == "" {
		t.Fatalf("no script for %v", object["kind"])
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", toLua(t, state, object))
	if err := state.DoString(script); err != nil {
		t.Fatalf("%v in\n%s", err, script)
	}
	return fromLua(t, state.Get(-1))
}

func toLua(t *testing.T, state *lua.LState, value any) lua.LValue {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, each := range value {
			table.Append(toLua(t, state, each))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, each := range value {
			table.RawSetString(key, toLua(t, state, each))
		}
		return table
	}
	t.Fatalf("%T is no JSON", value)
	return nil
}

func fromLua(t *testing.T, value lua.LValue) any {
	t.Helper()
	switch value := value.(type) {
	case *lua.LNilType:
		return nil
	case lua.LBool:
		return bool(value)
	case lua.LString:
		return string(value)
	case lua.LNumber:
		if float64(int64(value)) == float64(value) {
			return int64(value)
		}
		return float64(value)
	case *lua.LTable:
		if length := value.Len(); length > 0 {
			list := make([]any, 0, length)
			for at := 1; at <= length; at++ {
				list = append(list, fromLua(t, value.RawGetInt(at)))
			}
			return list
		}
		content := map[string]any{}
		value.ForEach(func(key, each lua.LValue) { content[fmt.Sprint(key)] = fromLua(t, each) })
		return content
	}
	t.Fatalf("a script returned %s", value.Type())
	return nil
}
