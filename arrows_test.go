// Package flightlog_test keeps the arrows of the house: schemas is the ground,
// broker stands on it, and producers, processors and sinks stand on both and
// never import each other.
package flightlog_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/flightlog/flightlog/"

// source is what the arrows go by in one Go file.
type source struct {
	name    string   // from the root of the module, with slashes
	imports []string // packages of this module without its path, others whole
	clock   []string // uses of the wall clock: time.Now, ...
}

// arrows says what of this module the files of a folder may import: the folder
// itself, and what is listed (tests also the second list). The longest folder
// that holds a file counts.
var arrows = map[string]struct{ code, tests []string }{
	"schemas":              {nil, []string{"loadtest/recordings"}},
	"broker":               {[]string{"schemas"}, []string{"loadtest/recordings"}},
	"producers":            {[]string{"schemas", "broker"}, []string{"loadtest/recordings"}},
	"processors":           {[]string{"schemas", "broker"}, []string{"loadtest/recordings"}},
	"processors/pricing":   {[]string{"schemas"}, []string{"loadtest/recordings"}},
	"processors/detectors": {[]string{"schemas"}, []string{"loadtest/recordings"}},
	"processors/directory": {[]string{"schemas"}, []string{"loadtest/recordings"}},
	"sinks":                {[]string{"schemas", "broker"}, []string{"loadtest/recordings"}},
	"loadtest":             {[]string{"schemas", "broker", "producers", "processors", "sinks"}, nil},
	"loadtest/recordings":  {[]string{"schemas"}, nil},
	"deploy":               {nil, []string{"schemas", "broker", "sinks"}},
	"docs":                 {[]string{"schemas"}, []string{"broker", "loadtest/recordings"}},
	"cmd":                  {[]string{"schemas", "broker", "producers", "processors", "sinks", "loadtest", "deploy"}, nil},
	"cmd/flightlog-hook":   {[]string{"producers/spool"}, []string{"loadtest/recordings"}},
}

// wired are the implementations of the broker: code stands on the interface,
// commands and tests choose one.
var wired = []string{"broker/jetstream", "broker/kafka", "broker/memory", "broker/simulated", "broker/brokertest"}

// pure are the rooms that hold rules only: no clock, no I/O.
var pure = []string{"processors/pricing", "processors/directory", "processors/detectors"}

func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func withinAny(name string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(name, f) })
}

// violations lists what in the files goes against the arrows.
func violations(files []source) (found []string) {
	for _, f := range files {
		dir := path.Dir(f.name)
		test := strings.HasSuffix(f.name, "_test.go")
		folder := dir
		for ; folder != "."; folder = path.Dir(folder) {
			if _, ok := arrows[folder]; ok {
				break
			}
		}
		if folder == "." && dir != "." {
			found = append(found, fmt.Sprintf("%s: %s is no room of the house", f.name, dir))
			continue
		}
		allowed := append([]string{folder}, arrows[folder].code...)
		if test {
			allowed = append(allowed, arrows[folder].tests...)
		}
		for _, part := range strings.Split(dir, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "misc"}, part) {
				found = append(found, fmt.Sprintf("%s: %q says nothing about what is in it", f.name, part))
			}
		}
		for _, imported := range f.imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			switch {
			case isOurs && !withinAny(ours, allowed):
				found = append(found, fmt.Sprintf("%s imports %s; %s may import %s", f.name, ours, folder, strings.Join(allowed, ", ")))
			case isOurs && !test && withinAny(ours, wired) && !withinAny(dir, []string{"broker", "cmd", "loadtest"}):
				found = append(found, fmt.Sprintf("%s imports %s: only commands and tests choose a broker", f.name, ours))
			case !test && withinAny(dir, pure) && withinAny(imported, []string{"os", "net", "syscall", "io/ioutil", "math/rand", "log"}):
				found = append(found, fmt.Sprintf("%s imports %s: %s is pure", f.name, imported, folder))
			}
		}
		if !test && withinAny(dir, pure) && len(f.clock) > 0 {
			found = append(found, fmt.Sprintf("%s uses %s: %s is pure", f.name, strings.Join(f.clock, ", "), folder))
		}
	}
	return found
}

// read parses what violations needs of a Go file.
func read(name string, content []byte) (source, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), name, content, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{name: name}
	for _, i := range parsed.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imported)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if use, ok := n.(*ast.SelectorExpr); ok {
			if from, ok := use.X.(*ast.Ident); ok && from.Name == "time" &&
				slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}, use.Sel.Name) {
				s.clock = append(s.clock, "time."+use.Sel.Name)
			}
		}
		return true
	})
	return s, nil
}

func TestEveryImportFollowsTheArrows(t *testing.T) {
	var files []source
	seen := map[string]bool{}
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		s, err := read(name, content)
		files = append(files, s)
		seen[strings.Split(name, "/")[0]] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"schemas", "broker", "producers", "processors", "sinks", "loadtest", "deploy", "cmd"} {
		if !seen[room] {
			t.Errorf("no Go file of %s was looked at", room)
		}
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

func TestTheArrowsTellRightFromWrong(t *testing.T) {
	ours := func(packages ...string) (imports []string) {
		for _, p := range packages {
			imports = append(imports, module+p)
		}
		return imports
	}
	for _, c := range []struct {
		file source
		want string // part of the violation; empty = none
	}{
		{source{name: "schemas/event.go", imports: []string{"time", "os"}}, ""},
		{source{name: "schemas/internal/generate/main.go", imports: ours("schemas", "schemas/internal/avsc")}, ""},
		{source{name: "schemas/event.go", imports: ours("broker")}, "schemas/event.go imports broker"},
		{source{name: "schemas/event_test.go", imports: ours("loadtest/recordings")}, ""},
		{source{name: "schemas/event.go", imports: ours("loadtest/recordings")}, "imports loadtest/recordings"},
		{source{name: "broker/memory/memory.go", imports: ours("schemas", "broker", "broker/internal/commitlog")}, ""},
		{source{name: "broker/broker.go", imports: ours("sinks/files")}, "imports sinks/files"},
		{source{name: "producers/otlp/otlp.go", imports: ours("schemas", "broker", "producers", "producers/extraction")}, ""},
		{source{name: "producers/otlp/otlp.go", imports: ours("processors/pricing")}, "imports processors/pricing"},
		{source{name: "producers/otlp/otlp_test.go", imports: ours("processors/sessions")}, "imports processors/sessions"},
		{source{name: "producers/otlp/otlp_test.go", imports: ours("loadtest/recordings")}, ""},
		{source{name: "producers/otlp/otlp_test.go", imports: ours("loadtest")}, "imports loadtest;"},
		{source{name: "processors/sessions/fold.go", imports: ours("processors/pricing")}, ""},
		{source{name: "processors/sessions/fold.go", imports: ours("producers/otlp")}, "imports producers/otlp"},
		{source{name: "processors/sessions/fold.go", imports: ours("broker/memory")}, "choose a broker"},
		{source{name: "processors/sessions/fold_test.go", imports: ours("broker/memory")}, ""},
		{source{name: "processors/pricing/pricing.go", imports: ours("schemas")}, ""},
		{source{name: "processors/pricing/pricing.go", imports: ours("broker")}, "imports broker"},
		{source{name: "processors/pricing/pricing.go", imports: ours("processors/sessions")}, "imports processors/sessions"},
		{source{name: "processors/detectors/loops/loops.go", imports: []string{"os"}}, "imports os: processors/detectors is pure"},
		{source{name: "processors/pricing/pricing.go", imports: []string{"net/http"}}, "imports net/http"},
		{source{name: "processors/directory/directory.go", imports: ours("schemas")}, ""},
		{source{name: "processors/directory/directory.go", imports: ours("processors/pricing")}, "imports processors/pricing"},
		{source{name: "processors/directory/directory.go", clock: []string{"time.Now"}}, "uses time.Now"},
		{source{name: "processors/pricing/pricing_test.go", imports: []string{"os", "net/http"}}, ""},
		{source{name: "processors/pricing/pricing.go", clock: []string{"time.Now"}}, "uses time.Now"},
		{source{name: "processors/engine/engine.go", clock: []string{"time.Now"}}, ""},
		{source{name: "sinks/files/files.go", imports: ours("broker", "broker/failpoint", "schemas", "sinks/delivery")}, ""},
		{source{name: "sinks/files/files.go", imports: ours("producers")}, "imports producers"},
		{source{name: "sinks/files/files.go", imports: ours("cmd/flightlog")}, "imports cmd/flightlog"},
		{source{name: "loadtest/recordings/recordings.go", imports: ours("broker")}, "imports broker"},
		{source{name: "loadtest/replay/replay.go", imports: ours("producers", "broker/jetstream", "sinks/files")}, ""},
		{source{name: "deploy/openobserve/openobserve.go", imports: []string{"embed"}}, ""},
		{source{name: "deploy/openobserve/openobserve.go", imports: ours("sinks/openobserve")}, "imports sinks/openobserve"},
		{source{name: "deploy/openobserve/overview_test.go", imports: ours("deploy/openobserve", "sinks/openobserve/o2test", "schemas")}, ""},
		{source{name: "sinks/openobserve/provision.go", imports: ours("deploy/openobserve")}, "imports deploy/openobserve"},
		{source{name: "cmd/flightlog/provisionopenobserve.go", imports: ours("deploy/openobserve", "sinks/openobserve")}, ""},
		{source{name: "cmd/flightlog/main.go", imports: ours("producers", "processors/engine", "sinks/files", "broker/jetstream", "loadtest/recordings")}, ""},
		{source{name: "cmd/flightlog-hook/main.go", imports: ours("producers/spool")}, ""},
		{source{name: "cmd/flightlog-hook/main.go", imports: ours("schemas")}, "imports schemas"},
		{source{name: "producers/helpers/strings.go"}, `"helpers" says nothing`},
		{source{name: "lib/lib.go"}, "lib is no room"},
		{source{name: "schemas/x.go", imports: ours("brokerage")}, "imports brokerage"},
		{source{name: "arrows_test.go", imports: ours("schemas")}, "imports schemas"},
	} {
		got := strings.Join(violations([]source{c.file}), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.file, got, c.want)
		}
	}

	got, err := read("a.go", []byte("package a\nimport (\n\t\"time\"\n\tx \"os\"\n)\nvar t, u = time.Now(), time.UnixMicro(0)\n"))
	if want := []string{"time", "os"}; err != nil || !slices.Equal(got.imports, want) || !slices.Equal(got.clock, []string{"time.Now"}) {
		t.Errorf("%+v, %v", got, err)
	}
}
