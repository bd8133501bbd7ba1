// Command generate writes the Go stubs of proto/ into generated/, anew each time.
//
// It does what protoc and buf do: it compiles the sources and hands their descriptors to the two plug-ins for Go. The
// sources name no Go packages, so it chooses them; a package cronmill.shop.order.v1 becomes orderv1.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	sources = "../../proto"
	target  = "generated"
	// What import paths of the stubs begin with.
	prefix = "cronmill.dev/stubs/" + target
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate() error {
	files, err := compile()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := run(plugin, request(files)); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// compile reads every source.
func compile() (linker.Files, error) {
	var names []string
	err := fs.WalkDir(os.DirFS(sources), ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".proto" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{sources}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	return compiler.Compile(context.Background(), names...)
}

// request is what plug-ins read: all files, each after those it imports, and the Go package of each of ours.
func request(files linker.Files) *pluginpb.CodeGeneratorRequest {
	made := &pluginpb.CodeGeneratorRequest{}
	options := []string{"paths=source_relative"}
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for at := range file.Imports().Len() {
			add(file.Imports().Get(at).FileDescriptor)
		}
		made.ProtoFile = append(made.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
	}
	for _, file := range files {
		add(file)
		made.FileToGenerate = append(made.FileToGenerate, file.Path())
		of, version := file.Package().Parent().Name(), file.Package().Name()
		options = append(options, fmt.Sprintf("M%s=%s/%s;%s%s", file.Path(), prefix, path.Dir(file.Path()), of, version))
	}
	made.Parameter = proto.String(strings.Join(options, ","))
	return made
}

// run has a plug-in, a `tool` of go.mod, make its files and writes them.
func run(plugin string, request *pluginpb.CodeGeneratorRequest) error {
	asked, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.Command("go", "tool", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(asked), os.Stderr
	said, err := command.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(said, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, file := range response.File {
		place := filepath.Join(target, file.GetName())
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(place, []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
